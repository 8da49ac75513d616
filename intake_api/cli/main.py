"""`casevault`: the whole program, and how it ends.

Whatever a person can mend is one line on stderr and an exit code (cli_errors.py); a traceback is a defect of ours.
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

from intake_api.cli.cli_errors import FAILED, INTERRUPTED, MISUSED, CliError, mendable, one_line, said
from intake_api.cli.options import Entry, Sections

_EXAMPLES = (
    "casevault demo                                   see the whole life of a bundle, here, in a minute",
    "casevault serve --development                    a service to try things on",
    "casevault cases list --as engineer:alice         as somebody, in development",
    "casevault send /var/log --case 123456789012345   with a token in CASEVAULT_TOKEN",
)


_SECTIONS = {
    "Start here": [
        Entry(
            "intake_api.cli.demo.command",
            "demo",
            "Show the whole life of a bundle on this machine, every step checked.",
        ),
        Entry("intake_api.cli.commands.machine", "serve", "Start the service: HTTPS, and the clock process."),
        Entry(
            "intake_api.cli.doctor.command",
            "doctor",
            "Check this installation, every setting and every part, and say what to do about each fault.",
        ),
    ],
    "For operators and stamps": [
        Entry(
            "intake_api.cli.commands.send",
            "send",
            "Send logs: a file, a folder, a bundle that `casevault save` made, or (-) what comes on standard input.",
        ),
        Entry(
            "intake_api.cli.commands.save",
            "save",
            "Save logs as a bundle that can be sent later, from another machine.",
        ),
        Entry("intake_api.cli.commands.access", "collections", "List the collection history, newest first."),
        Entry("intake_api.cli.commands.cases", "stamps", "Stamps: register, list, deregister, consent."),
        Entry("intake_api.cli.commands.access", "consent", "Let a partner's engineers read a CASE of yours."),
        Entry(
            "intake_api.cli.commands.links",
            "links",
            "Upload links, for senders without a token: issue, list, renew, revoke, check.",
        ),
        Entry(
            "intake_api.cli.commands.access",
            "consents",
            "List the consents of a CASE, including revoked ones.",
        ),
        Entry("intake_api.cli.commands.access", "revoke", "Revoke a grant or a consent."),
        Entry(
            "intake_api.cli.commands.approvals",
            "approvals",
            "Approval of access: list, show, give, decline, withdraw, policy.",
        ),
        Entry(
            "intake_api.cli.commands.notices",
            "notices",
            "Notices by mail and webhook: add, receivers, list, test, remove.",
        ),
        Entry(
            "intake_api.cli.commands.access",
            "erase",
            "Erase data now: all of a case, or one bundle.",
        ),
    ],
    "For engineers": [
        Entry(
            "intake_api.cli.commands.access", "claim", "Claim a proactive bundle for a case assigned to you."
        ),
        Entry(
            "intake_api.cli.commands.misdirected", "move", "Move a BUNDLE that was sent for the wrong case."
        ),
        Entry(
            "intake_api.cli.commands.misdirected",
            "report",
            "Report sensitive data that was received inadvertently: it is erased at once.",
        ),
        Entry("intake_api.cli.commands.access", "grant", "Grant yourself read-only access to a CASE."),
        Entry("intake_api.cli.commands.access", "grants", "List the grants of a CASE, including ended ones."),
        Entry("intake_api.cli.commands.access", "release", "Give your own GRANT back before it expires."),
        Entry(
            "intake_api.cli.commands.fetch", "files", "List the files inside a bundle, without fetching it."
        ),
        Entry("intake_api.cli.commands.fetch", "fetch", "Fetch a BUNDLE, or one file inside it (PATH)."),
        Entry(
            "intake_api.cli.commands.read_text",
            "view",
            "Show lines of one file inside a BUNDLE: from a line, a time, or the end.",
        ),
        Entry(
            "intake_api.cli.commands.read_text",
            "grep",
            "Search PATTERN in a BUNDLE, in one file inside it (PATH), or in all bundles of a case.",
        ),
        Entry(
            "intake_api.cli.commands.events",
            "events",
            "Show the events of a Windows event log (.evtx) inside a BUNDLE, in the order of the file.",
        ),
    ],
    "For the case system and the administrator": [
        Entry(
            "intake_api.cli.commands.cases",
            "cases",
            "Cases: list, show, open, assign, unassign, close, reopen.",
        ),
        Entry("intake_api.cli.commands.cases", "tenants", "Tenants (the customers): register, list."),
    ],
    "For auditors, and for anybody who wants to check": [
        Entry(
            "intake_api.cli.commands.audit",
            "audit",
            "The audit log: entries, readers, unused-grants, export, verify, overdue, unaccounted, redact, keys.",
        ),
        Entry(
            "intake_api.cli.commands.reviews",
            "reviews",
            "Reviews of grants that are over: list, show, sign-off, question.",
        ),
        Entry(
            "intake_api.cli.commands.receipts",
            "receipts",
            "Receipts, of intake and of erasure: show, verify.",
        ),
    ],
    "On the service's own machine": [
        Entry(
            "intake_api.cli.commands.machine",
            "init",
            "Make what a new service needs, once: keys, containers, database.",
        ),
        Entry("intake_api.cli.commands.machine", "sweep", "Do now what the clock process does regularly."),
        Entry(
            "intake_api.cli.commands.reconcile",
            "reconcile",
            "Check the records against the log and the key store, as after a restore.",
        ),
        Entry(
            "intake_api.cli.commands.reconcile",
            "rebind",
            "End every assignment, grant and consent of a case, and bind its records anew.",
        ),
        Entry("intake_api.cli.commands.machine", "keys", "The key-encryption key: rotate."),
        Entry(
            "intake_api.cli.commands.machine",
            "time",
            "The time that erasure by deadline goes by: show, confirm.",
        ),
    ],
}


@click.group(
    cls=Sections, sections=_SECTIONS, examples=_EXAMPLES, context_settings={"max_content_width": 100}
)
@click.version_option(package_name="casevault", message="%(package)s %(version)s")
def casevault() -> None:
    """Sealed custody for diagnostic log bundles: received, encrypted, read case by case, logged, erased on time.

    Each command has its own help with examples. Options or CASEVAULT_... variables say where the service is and who you
    are; --json makes any output readable for scripts.
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    _stand_in_for_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # None when closed; a name that it cannot encode is no failure
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
    except Exception as error:
        if not isinstance(error, mendable()):
            raise
        if isinstance(error, OSError) and _of_stdout(error):
            _drop_stdout()
            return _end(f"standard output cannot be written: {error.strerror}", FAILED)
        return _end(said(error), FAILED)
    return code if isinstance(code, int) else 0


def _end(line: str, code: int) -> int:
    print(f"casevault: {one_line(line)}", file=sys.stderr)
    return code


class _Closed(io.TextIOBase):
    """A stand-in for closed standard output: output that gets nowhere is a failure, not silence."""

    encoding = "utf-8"

    @property
    def buffer(self) -> _Closed:
        return self

    def writable(self) -> bool:
        return True

    def write(self, _text: object, /) -> int:
        raise OSError(errno.EBADF, "it is closed")


def _stand_in_for_closed() -> None:
    """Fill closed standard streams: no file opened later may take their numbers, and no code finds None there."""
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
    """Tell a failed write to stdout from others: those name their file (output.py)."""
    return error.filename is None and error.errno in (errno.EBADF, errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


def _drop_stdout() -> None:
    """Close stdout when nobody reads it any more, so that the interpreter does not complain at exit."""
    with suppress(io.UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """Run the console script."""
    sys.exit(run(sys.argv[1:]))
