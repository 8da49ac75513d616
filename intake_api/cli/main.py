"""`casevault`: the whole program, and how it ends.

Whatever goes wrong that a person can mend is one line on stderr and an exit code (errors.py); a traceback is a defect
of ours.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from intake_api.cli import (
    access,
    auditing,
    cases,
    fetching,
    links,
    local,
    moving,
    receipting,
    reconciling,
    saving,
    sending,
)
from intake_api.cli.commands import Sections
from intake_api.cli.demo.command import demo
from intake_api.cli.doctor.command import doctor
from intake_api.cli.errors import FAILED, INTERRUPTED, MENDABLE, MISUSED, CliError, one_line, said

_EXAMPLES = (
    "casevault demo                                   see the whole life of a bundle, here, in a minute",
    "casevault serve --development                    a service to try things on",
    "casevault cases list --as engineer:alice         as somebody, in development",
    "casevault send /var/log --case 123456789012345   with a token in CASEVAULT_TOKEN",
)


@click.group(cls=Sections, examples=_EXAMPLES, context_settings={"max_content_width": 100})
@click.version_option(package_name="casevault", message="%(package)s %(version)s")
def casevault() -> None:
    """Sealed custody for diagnostic log bundles: received, encrypted, read case by case, logged, erased on time.

    Each command has its own help with examples. Where the service is and who you are is said by options or by
    CASEVAULT_... variables; --json makes any answer readable for scripts.
    """


casevault.under("Start here", demo, local.serve, doctor)
casevault.under(
    "For operators and stamps", sending.send, saving.save, access.collections, cases.stamps, access.consent
)
casevault.under("For operators and stamps", links.links, access.consents, access.revoke, access.erase)
casevault.under(
    "For engineers", access.claim, moving.move, moving.report, access.grant, access.grants, access.release
)
casevault.under("For engineers", fetching.files, fetching.fetch)
casevault.under("For the case system and the administrator", cases.cases, cases.tenants)
casevault.under("For auditors, and for anybody who wants to check", auditing.audit, receipting.receipts)
casevault.under(
    "On the service's own machine",
    local.init,
    local.sweep,
    reconciling.reconcile,
    reconciling.rebind,
    local.keys,
    local.time,
)


def run(arguments: Sequence[str]) -> int:
    """The exit code of one command line."""
    _stand_in_for_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None when closed; a name that its encoding lacks is no end
            stream.reconfigure(errors="backslashreplace")
    try:
        code = casevault.main(list(arguments), prog_name="casevault", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return MISUSED
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "casevault"
        return _end(f"{error.format_message().rstrip('.')} (see `{where} --help`)", MISUSED)
    except click.ClickException as error:
        return _end(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _end("stopped", INTERRUPTED)
    except CliError as error:
        return _end(str(error), error.exit_code)
    except BrokenPipeError:
        _drop_stdout()
        return FAILED
    except MENDABLE as error:
        if isinstance(error, OSError) and _of_stdout(error):
            _drop_stdout()
            return _end(f"standard output cannot be written: {error.strerror}", FAILED)
        return _end(said(error), FAILED)
    return code if isinstance(code, int) else 0


def _end(line: str, code: int) -> int:
    print(f"casevault: {one_line(line)}", file=sys.stderr)
    return code


class _Closed(io.TextIOBase):
    """Standard output where there is none: an answer that gets nowhere is a failure, not silence."""

    encoding = "utf-8"

    @property
    def buffer(self) -> _Closed:
        return self

    def writable(self) -> bool:
        return True

    def write(self, _text: object, /) -> int:
        raise OSError(errno.EBADF, "it is closed")


def _stand_in_for_closed() -> None:
    """Nothing that is opened later may become what others take for standard output, and nothing finds None there."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - as long as the process
    if sys.stderr is None:  # print() would take standard output instead
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = _Closed()


def _of_stdout(error: OSError) -> bool:
    """What is written elsewhere names its file (output.py)."""
    return error.filename is None and error.errno in (errno.EBADF, errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


def _drop_stdout() -> None:
    """Nobody reads us any more: keep the interpreter from complaining about it at exit."""
    with suppress(io.UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))
