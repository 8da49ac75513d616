"""Reads a Containerfile, and does its steps without a container engine.

`stages` gives the instructions. `Image.build` carries them out, each stage in a root of its own: the base is this
machine's programs, libraries and Python, everything else is empty. RUN happens by chroot in that root, COPY takes what
.dockerignore leaves. `Image.start` starts the entry point as the image's user, with no capability, on a
root that is mounted read-only, its volumes apart. It needs root; nothing of the machine itself is changed.

What it cannot show: the base image itself (here Debian's and this machine's Python), and an engine's own limits.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONTAINERFILE = ROOT / "docs/deploy/Containerfile"
PYTHON = sys.base_prefix.lstrip("/")
FROM_THE_MACHINE = ("usr", "bin", "sbin", "lib", "lib64", *(() if PYTHON.startswith("usr") else (PYTHON,)))
BASE_PATH = f"/{PYTHON}/bin:/usr/local/bin:/usr/bin:/bin"
EMPTY = ("tmp", "var/lib", "run/casevault", "dev", "proc", "opt")


@dataclass
class Stage:
    """One FROM and what follows it."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def last(self, instruction: str) -> str:
        """What was said last by an instruction of which the last one counts."""
        return [rest for word, rest in self.steps if word == instruction][-1]

    def command(self, instruction: str) -> list[str]:
        """The same in the form of a JSON list."""
        found: list[str] = json.loads(self.last(instruction))
        return found

    @property
    def environment(self) -> dict[str, str]:
        said = [rest for word, rest in self.steps if word == "ENV"]
        return dict(part.split("=", 1) for rest in said for part in shlex.split(rest))

    @property
    def copies(self) -> list[tuple[str | None, list[str], str]]:
        """Of each COPY: the stage it takes from, or None for the repository; what; where to."""
        found = []
        for word, rest in self.steps:
            if word == "COPY":
                words = shlex.split(rest)
                stage = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else None
                found.append((stage, words[:-1], words[-1]))
        return found


def stages(text: str) -> list[Stage]:
    """The stages of a Containerfile, in order."""
    lines = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.M))
    found: list[Stage] = []
    arguments: dict[str, str] = {}
    for line in filter(None, map(str.strip, lines.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "ARG" and not found:
            arguments.update([rest.split("=", 1)])
        elif word == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(re.sub(r"\$\{(\w+)\}", lambda m: arguments[m[1]], base), name))
        else:
            found[-1].steps.append((word, rest.strip()))
    return found


def sent(names: Sequence[str], text: str) -> set[str]:
    """What is left of `names` by a .dockerignore: the last pattern that matches a file or a folder above it decides."""
    patterns = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name for name in names if not _ignored(name, patterns)}


def _ignored(name: str, patterns: Sequence[str]) -> bool:
    above = [name, *map(str, Path(name).parents)][:-1] if "/" in name else [name]
    ignored = False
    for pattern in patterns:
        bare = pattern.removeprefix("!").removeprefix("**/")
        deep = "**/" in pattern
        if any(_fits(part, bare, deep) for part in above):
            ignored = not pattern.startswith("!")
    return ignored


def _fits(path: str, pattern: str, deep: bool) -> bool:
    if deep:
        return fnmatch.fnmatchcase(path.rsplit("/", 1)[-1], pattern)
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)


class Image:
    """The last stage of our Containerfile, built below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.stages = stages(CONTAINERFILE.read_text())
        self.final = self.stages[-1]

    @property
    def root(self) -> Path:
        return self._folder / self.final.name

    def build(self) -> None:
        """Every stage, step by step. CalledProcessError as soon as one fails."""
        for stage in self.stages:
            root = self._folder / stage.name
            _lay_base(root)
            copies = iter(stage.copies)
            for word, rest in stage.steps:
                if word == "RUN":
                    environment = {**os.environ, "PATH": BASE_PATH, **stage.environment}
                    command = _in_root(root, ["sh", "-c", rest])
                    subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
                elif word == "COPY":
                    self._copy(root, *next(copies))

    def _copy(self, root: Path, stage: str | None, sources: Sequence[str], target: str) -> None:
        for source in sources:
            if stage is not None:
                shutil.copytree(
                    self._folder / stage / source.lstrip("/"), root / target.lstrip("/"), symlinks=True
                )
                continue
            for name in sorted(sent_files()):
                if name == source or name.startswith(source + "/"):
                    inner = Path(name).name if name == source else name.removeprefix(source + "/")
                    place = root / target.lstrip("/") / inner
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / name, place)

    def start(
        self,
        arguments: Sequence[str] = (),
        *,
        entry: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        volumes: Mapping[str, Path] | None = None,
    ) -> subprocess.Popen[str]:
        """The entry point, or `entry`, as the image's user. `volumes`: place in the image, folder here."""
        user, _, group = self.final.last("USER").partition(":")
        folder = self.final.last("WORKDIR")
        within = [
            *("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"),
            *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"),
            *("sh", "-c", f'cd {folder} && exec "$@"', "sh"),
            *(entry or self.final.command("ENTRYPOINT")),
            *(arguments or (() if entry else self.final.command("CMD"))),
        ]
        return subprocess.Popen(
            _in_root(self.root, within, read_only=True, volumes=volumes or {}),
            env={**self.final.environment, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def sent_files() -> set[str]:
    """The repository's files that .dockerignore lets through."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    names = [name for name in listed.stdout.split() if (ROOT / name).is_file()]
    return sent(names, (ROOT / ".dockerignore").read_text())


def _lay_base(root: Path) -> None:
    root.mkdir(mode=0o755)
    for name in FROM_THE_MACHINE:
        there = Path("/") / name
        if there.is_symlink():
            (root / name).symlink_to(there.readlink())
        else:
            (root / name).mkdir(parents=True)
    for name in EMPTY:
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    shutil.copytree("/etc", root / "etc", symlinks=True)


def _in_root(
    root: Path,
    command: Sequence[str],
    *,
    read_only: bool = False,
    volumes: Mapping[str, Path] | None = None,
) -> list[str]:
    """A command line that runs `command` in `root`, with mounts of its own that end with it."""
    q = shlex.quote
    steps = ["set -e", f"mount --bind {q(str(root))} {q(str(root))}"]
    for name in FROM_THE_MACHINE:
        if not (root / name).is_symlink():
            steps += [
                f"mount --bind /{name} {q(str(root / name))}",
                f"mount -o remount,bind,ro {q(str(root / name))}",
            ]
    steps += [f"mount --rbind /{name} {q(str(root / name))}" for name in ("dev", "proc")]
    if read_only:
        steps.append(f"mount -o remount,bind,ro {q(str(root))}")
    for place, folder in (volumes or {}).items():
        steps.append(f"mount --bind {q(str(folder))} {q(str(root / place.lstrip('/')))}")
    steps.append('exec /usr/sbin/chroot "$0" "$@"')
    return ["unshare", "--mount", "sh", "-c", "\n".join(steps), str(root), *command]
