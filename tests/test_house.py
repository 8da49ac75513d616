"""The house: which part may know of which; who reads the environment, who names adapters, who is pure."""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from audit.entry import Action
from audit.tlog.unaccounted import READS
from tests.conftest import REAL, SLOW, within

ROOT = Path(__file__).parent.parent
PACKAGES = ("audit", "functions", "intake_api", "retention")

PURE = (
    "retention/domain/trusted_time.py",
    "audit/entry.py",
    "audit/tlog/merkle.py",
    "audit/tlog/checkpoint.py",
    "audit/tlog/approvals.py",
    "audit/tlog/kept.py",
    "audit/tlog/overdue.py",
    "audit/tlog/unaccounted.py",
    "audit/times.py",
    "retention/domain/approval.py",
    "retention/domain/case.py",
    "retention/domain/bundle.py",
    "retention/domain/characters.py",
    "retention/domain/grants.py",
    "retention/domain/deadline.py",
    "retention/domain/actor.py",
    "retention/domain/faults.py",
    "retention/domain/notice.py",
    "retention/domain/receipt.py",
    "retention/domain/review.py",
    "retention/domain/upload_link.py",
    "retention/envelope/format.py",
    "retention/envelope/format.py",
    "retention/envelope/manifest.py",
    "retention/telemetry/exposition.py",
    "retention/objects/object_names.py",
)
IMPURE_MODULES = {
    *("os", "io", "pathlib", "tempfile", "shutil", "mmap", "fcntl", "logging"),
    *("socket", "http", "urllib", "requests", "flask", "azure"),
    *("sqlite3", "sqlalchemy", "subprocess", "threading", "asyncio", "time", "random"),
}
IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval"})
ADAPTERS = frozenset(
    {
        "LocalObjectStore",
        "LocalKeyStore",
        "LocalKeyWrapper",
        "LocalTileStore",
        "LocalMirrorStore",
        "S3MirrorStore",
        "SqliteRecords",
        "sqlite_engine",
        "PostgresRecords",
        "postgres_engine",
        "AzureBlobObjectStore",
        "AzureBlobKeyStore",
        "AzureTileStore",
        "KeyVaultWrapper",
        "Telemetry",
        "SigningKeyFiles",
        "SigningSecrets",
        "MailSender",
        "WebhookSender",
    }
)


FOR_A_CHILD = {"intake_api/cli/demo/rehearsal.py", "intake_api/cli/commands/machine.py"}
"""They read no setting: they make the environment of a process that they start."""
OUTSIDERS = {
    "intake_api/cli/local_log.py": {"LocalTileStore"},  # checks a log's mirror: a folder, and no service
}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def modules() -> list[Path]:
    found = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return sorted([*found, *ROOT.glob("function_app.py")])


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """Module and name of every import; the name is empty for `import module`."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def test_the_import_contract_of_pyproject_is_kept() -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 kept, 0 broken" in done.stdout


def environment(path: Path) -> Iterator[ast.AST]:
    """Every use of the process's environment that does not merely hand it to a settings module."""
    handed = {
        id(argument)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("from_environment")
        for argument in node.args
    }
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in (
            "os.environ",
            "os.environb",
            "os.getenv",
        ):
            if id(node) not in handed:
                yield node
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from (node for alias in node.names if alias.name in ("environ", "environb", "getenv"))


def test_only_settings_modules_read_the_environment() -> None:
    users = {
        name_of(path)
        for path in modules()
        if path.name not in ("config.py", "config_azure.py", "config_notices.py", "config_telemetry.py")
        and any(environment(path))
    }
    assert users <= FOR_A_CHILD, "only settings modules read the environment"


def defines(path: Path) -> set[str]:
    return {node.name for node in tree(path).body if isinstance(node, ast.ClassDef | ast.FunctionDef)}


def test_only_one_module_names_concrete_adapters() -> None:
    known = set()
    for path in modules():
        known |= defines(path) & ADAPTERS
        if path.name == "adapters.py":
            continue
        named = {name for _module, name in imported(path) if name in ADAPTERS - defines(path)}
        named -= OUTSIDERS.get(name_of(path), set())
        assert named == set(), f"{name_of(path)} names {named}: that is for adapters.py"
    assert known == ADAPTERS, "the list of adapters is out of date"


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_does_no_io_and_asks_no_clock(name: str) -> None:
    path = ROOT / name
    impure = [module for module, _name in imported(path) if module.split(".")[0] in IMPURE_MODULES]
    assert impure == []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            called = node.func
            assert not (isinstance(called, ast.Name) and called.id in IMPURE_CALLS), ast.unparse(node)
            if isinstance(called, ast.Attribute):
                assert called.attr not in ("utcnow", "today"), ast.unparse(node)
                assert not (called.attr == "now" and not isinstance(called.value, ast.Attribute)), (
                    ast.unparse(node)
                )


def test_a_pure_module_of_custody_needs_only_pure_ones() -> None:
    """What it imports of ours is pure as well, or the audit package's pure half."""
    pure = {name.removesuffix(".py").replace("/", ".") for name in PURE}
    pure |= {
        "audit.tlog.proofs",
        "audit.tlog.tile_store",
    }  # a receipt is checked with the proofs' own reading of their text
    for name in PURE:
        ours = {
            f"{module}.{what}" if (ROOT / module.replace(".", "/")).is_dir() else module
            for module, what in imported(ROOT / name)
            if module.split(".")[0] in PACKAGES
        }
        unknown = {module for module in ours - pure if not module.endswith("errors")}
        assert unknown == set(), f"{name} imports {unknown}"


def test_one_module_knows_of_opentelemetry() -> None:
    users = {
        name_of(path)
        for path in modules()
        if {module.split(".")[0] for module, _ in imported(path)} & {"opentelemetry", "prometheus_client"}
    }
    assert users == {"retention/telemetry/opentelemetry.py"}


def test_flask_stays_at_one_door_and_functions_at_the_other() -> None:
    for path in modules():
        top = {module.split(".")[0] for module, _ in imported(path)}
        package = name_of(path).split("/")[0]
        assert not (top & {"flask", "flask_smorest", "werkzeug"} and package != "intake_api"), name_of(path)
        functions = any(module.startswith("azure.functions") for module, _ in imported(path))
        assert not (functions and package not in ("functions", "function_app.py")), name_of(path)


def test_only_the_read_back_reads_before_the_digest_is_checked() -> None:
    """`read_through` proves a bundle when it has ended: whoever shows bytes to somebody must not use it (P1)."""
    users = {name_of(path) for path in modules() if ".read_through(" in path.read_text()}
    assert users == {"retention/custody/uploads/completion.py", "retention/envelope/bundle_file.py"}


def test_every_way_to_plaintext_is_a_read_by_the_log_alone() -> None:
    """An action under which a door opens bundles is one that `audit.tlog.unaccounted` asks a grant for (P2)."""
    opened = [
        keyword.value
        for path in modules()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("open_bundle")
        for keyword in node.keywords
        if keyword.arg == "action"
    ]
    named = {Action.BUNDLE_OPENED, *(Action[ast.unparse(value).removeprefix("Action.")] for value in opened)}
    assert named == READS


def test_opening_is_imported_by_the_read_back_and_by_reading_alone() -> None:
    """`opener` gives plaintext: no door may come by it around the decision (P2). Concatenation gives it to the sealer
    of the bundle that the bytes are for, the making of the contents index to the sealer of that, and to nobody else."""
    users = {name_of(path) for path in modules() if "opener" in {name for _, name in imported(path)}}
    assert users == {
        "retention/custody/contents_index.py",
        "retention/custody/reading/bundle_reads.py",
        "retention/custody/uploads/concatenation.py",
    }
    makers = {name_of(path) for path in modules() if "BundleOpener" in {name for _, name in imported(path)}}
    allowed = {
        "retention/custody/uploads/completion.py",
        "retention/custody/reading/bundle_reads.py",
        "retention/archive/source.py",
    }
    assert makers <= allowed


def test_each_package_maps_each_of_its_files_once() -> None:
    for package in {path.parent for path in modules()} - {
        ROOT,
        *(ROOT / "retention/records/migrations").rglob("*"),
    }:
        if package.name in ("migrations", "versions"):
            continue
        page = ast.get_docstring(tree(package / "__init__.py")) or ""
        here = {path.name for path in package.glob("*.py")} - {"__init__.py"}
        rooms = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
        named = re.findall(r"^([\w.]+(?:\.py|/))(?=  )", page, flags=re.M)
        assert sorted(named) == sorted({*here, *rooms}), name_of(package)


def picture() -> str:
    """The import contract of pyproject.toml as a flow chart in Mermaid's text."""
    lines = ["```mermaid", "flowchart TD"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]:
        for package in contract.get("containers", []):
            lines.append(f"    subgraph {package}")
            rows = [
                [f"{package}.{room.strip()}[{room.strip()}]" for room in row.split("|")]
                for row in contract["layers"]
            ]
            lines += [
                f"        {' & '.join(above)} --> {' & '.join(below)}"
                for above, below in itertools.pairwise(rows)
            ]
            lines.append("    end")
    return "\n".join([*lines, "    intake_api & functions --> retention --> audit", "```"])


def test_the_picture_of_the_rooms_is_the_import_contract() -> None:
    assert picture() in (ROOT / "docs/architecture.md").read_text()


def test_every_file_of_the_packages_is_in_an_installed_one() -> None:
    """A page, its icon or a table that only the checkout has would be missed where the package is installed."""
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["*"]
    listed = subprocess.run(
        ["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = [Path(line) for line in listed.stdout.splitlines()]
    assert len(files) > 200
    assert [f for f in files if not any(f.match(shape) for shape in ("*.py", *shipped))] == []


def test_make_fast_runs_at_least_1500_tests_and_none_that_needs_real_parts() -> None:
    """Counted by collecting what the Makefile says; conftest.py refuses each of them a PostgreSQL when it runs."""
    makefile = (ROOT / "Makefile").read_text()
    assert "-m fast $(FAST)\n" in makefile
    listing = re.search(r"^FAST := \$\(addprefix tests/,([^)]*)\)$", makefile, re.MULTILINE)
    assert listing is not None
    folders = [f"tests/{folder}" for folder in listing[1].replace("\\\n", " ").split()]
    assert not [folder for folder in folders if within(folder.removeprefix("tests/"), (*REAL, *SLOW))]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--collect-only",
        "-p",
        "no:cacheprovider",
        "-m",
        "fast",
        *folders,
    ]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    named = [line for line in listed.splitlines() if "::" in line]
    assert len(named) >= 1500
    assert {folder for folder in folders if not any(line.startswith(f"{folder}/") for line in named)} == set()
