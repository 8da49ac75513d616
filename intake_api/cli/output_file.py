"""Where `-o` leads: the one writer for commands that keep their output in a file.

| what is at the path, links followed | what happens |
|---|---|
| nothing | a file of mode 0600, which gets its name when complete and replaces nothing that appeared there meanwhile |
| a regular file | refused before the service is asked anything; with --force replaced when the new one is complete |
| a FIFO, a device, a descriptor of ours (/dev/stdout) | written into; nothing is made or replaced |
| a folder, or a socket | refused |

`-`, or no path, is standard output. A link stays a link. A failed write names the file. A file kept by --receipt is
never replaced: there is no --force for it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import click
from click.decorators import FC

from intake_api.cli.cli_errors import CliError

STDOUT = Path("-")
_MOST_LINKS = 40  # as path_resolution(7) has it

with_force = click.option("--force", is_flag=True, help="Replace a file that exists.")


def with_output(words: str) -> Callable[[FC], FC]:
    """Add -o and its --force."""

    def both(command: FC) -> FC:
        path = click.Path(path_type=Path)
        return click.option("-o", "--output", type=path, help=words)(with_force(command))

    return both


class Target(Protocol):
    """Something that can be written to."""

    def write(self, piece: bytes, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Output:
    """A place to write to. `real` is where the links lead; `streams`: it is not a regular file."""

    named: Path
    real: Path
    streams: bool
    force: bool | None

    @classmethod
    def at(cls, path: Path | None, *, force: bool | None = None) -> Output:
        """Check the place; CliError when nothing could be kept there, or something would be lost.

        `force` is None where a command has no such option.
        """
        ours = None if path is None else _descriptor(path)
        if path is None or path == STDOUT or ours == 1:
            return cls(STDOUT, STDOUT, streams=True, force=force)
        if ours is not None:
            return cls(path, path, streams=True, force=force)
        real = Path(os.path.realpath(path))
        with _naming_errors(path):
            try:
                mode = path.stat().st_mode
            except FileNotFoundError:
                mode = 0
        if stat.S_ISDIR(mode) or stat.S_ISSOCK(mode):
            raise CliError(
                f"{path} cannot be written: it is a {'folder' if stat.S_ISDIR(mode) else 'socket'}"
            )
        streams = mode != 0 and not stat.S_ISREG(mode)
        if stat.S_ISREG(mode) and not force:
            raise _exists(path, force)
        if not os.access(real if streams else real.parent, os.W_OK):
            raise CliError(f"{path} cannot be written: its folder does not exist, or is not writable for you")
        return cls(path, real, streams=streams, force=force)

    @contextmanager
    def writing(self) -> Iterator[Target]:
        """Open the place; a new file gets its name after the block, and is removed if the block fails."""
        if self.streams:
            with self._opened() as stream:
                yield Named(stream, self.named)
                with _naming_errors(self.named):
                    stream.flush()
            return
        with _naming_errors(self.named):
            descriptor, fresh = tempfile.mkstemp(prefix=".casevault-", suffix=".part", dir=self.real.parent)
        part = Path(fresh)
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                yield Named(file, self.named)
                with _naming_errors(self.named):
                    os.fsync(file.fileno())
            self.settle(part)
        finally:
            part.unlink(missing_ok=True)

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        if self.named == STDOUT:
            yield sys.stdout.buffer
            return
        ours = _descriptor(self.named)
        with _naming_errors(self.named):
            # Opened anew, a descriptor would overwrite what `>>` leads to.
            descriptor = os.open(self.real, os.O_WRONLY | os.O_NOCTTY) if ours is None else os.dup(ours)
        with os.fdopen(descriptor, "wb", buffering=0) as stream:
            yield stream

    def settle(self, part: Path) -> None:
        """Rename a complete file beside `real` to it."""
        with _naming_errors(self.named):
            if self.force:
                part.replace(self.real)
                return
            try:
                os.link(part, self.real)
            except FileExistsError:
                raise _exists(self.named, self.force) from None
            except OSError:  # a file system without hard links
                if os.path.lexists(self.real):
                    raise _exists(self.named, self.force) from None
                part.replace(self.real)
            else:
                part.unlink()


class Named:
    """A file or stream that writes a piece whole or fails, and is named in the failure."""

    def __init__(self, stream: BinaryIO, name: Path) -> None:
        self._stream, self._name = stream, name

    def write(self, piece: bytes, /) -> None:
        with _naming_errors(self._name):
            left = memoryview(piece)
            while left:
                left = left[self._stream.write(left) :]


@contextmanager
def _naming_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # the reader has enough: main.py ends quietly
    except OSError as error:
        name = "standard output" if path == STDOUT else path
        raise CliError(f"{name} cannot be written: {error.strerror or error}") from None


def _exists(path: Path, force: bool | None) -> CliError:
    way = "" if force is None else ", or replace it with --force"
    return CliError(f"{path} exists: choose another name{way}")


def _descriptor(path: Path) -> int | None:
    """Return the descriptor of this process that `path` names, as /dev/stdout does."""
    ours = Path(f"/proc/{os.getpid()}/fd")
    for _ in range(_MOST_LINKS):
        path = Path(os.path.realpath(path.parent), path.name)
        if path.parent == ours and path.name.isdecimal():
            return int(path.name)
        with contextlib.suppress(OSError):
            path = path.parent / path.readlink()
            continue
        return None
    return None
