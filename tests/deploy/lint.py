"""What a Bicep compiler would say first: names that are nowhere declared, declared twice, or used by nobody; a module's
parameters; two properties on one line. Over the text, so that what stands under a condition counts too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tree_sitter import Node

from tests.deploy.bicep import named, parse, text_of, walk

LOCAL = {"loop_variable", "loop_enumerator"}
MUST_BE_USED = {"parameter_declaration", "variable_declaration"}


def lint(path: Path) -> list[str]:
    """What is wrong with the file, one line each."""
    root = parse(path)
    declared = _declarations(root)
    return [
        f"{path.name}: {problem}"
        for problem in (
            *_names(root, declared),
            *_crowded(root),
            *(p for node in named(root) if node.type == "module_declaration" for p in _module(path, node)),
        )
    ]


def parameters(path: Path) -> dict[str, bool]:
    """The file's parameters, and whether each must be given."""
    found = [node for node in named(parse(path)) if node.type == "parameter_declaration"]
    return {text_of(named(node)[0]): len(named(node)) < 3 for node in found}


def _declarations(root: Node) -> list[tuple[str, Node]]:
    kinds = [node for node in named(root) if node.type.endswith("_declaration") and node.type[0] != "o"]
    return [(text_of(named(node)[0]), node) for node in kinds]


def _names(root: Node, declared: list[tuple[str, Node]]) -> Iterator[str]:
    for name, times in Counter(name for name, _ in declared).items():
        if times > 1:
            yield f"{name} is declared {times} times"
    used = Counter(_used(root))
    known = {name for name, _ in declared} | _local(root)
    for name in sorted(set(used) - known):
        yield f"{name} is nowhere declared"
    for name, node in declared:
        existing = any(child.type == "existing" for child in node.children)
        if (node.type in MUST_BE_USED or existing) and not used[name]:
            yield f"{name} is used by nobody"


def _used(root: Node) -> Iterator[str]:
    """Every identifier that refers to something."""
    for node in walk(root):
        parent = node.parent
        if node.type != "identifier" or parent is None:
            continue
        first = named(parent)[0].id == node.id
        names_itself = parent.type.endswith("_declaration") or parent.type in (
            "object_property",
            "call_expression",
        )
        binds = parent.type in ("lambda_expression", "for_statement") and first
        if not binds and not (names_itself and first):
            yield text_of(node)


def _local(root: Node) -> set[str]:
    """Names that a loop or a lambda binds."""
    found = {text_of(node) for node in walk(root) if node.type in LOCAL}
    for node in walk(root):
        if node.type in ("lambda_expression", "for_statement"):
            found.add(text_of(named(node)[0]))
    return found


def _crowded(root: Node) -> Iterator[str]:
    """Two properties or items on one line need a comma between them; the grammar does not ask for it."""
    for node in walk(root):
        if node.type not in ("object", "array"):
            continue
        for before, after in zip(node.children, node.children[1:], strict=False):
            if (
                before.is_named
                and after.is_named
                and "comment" not in (before.type, after.type)
                and before.end_point.row == after.start_point.row
            ):
                yield f"line {after.start_point.row + 1}: a comma or a new line is missing"


def _module(path: Path, node: Node) -> Iterator[str]:
    symbol, place = text_of(named(node)[0]), text_of(named(node)[1]).strip("'")
    target = path.parent / place
    if not target.is_file():
        yield f"{symbol}: {place} is not there"
        return
    given = {text_of(named(prop)[0]) for prop in _params_of(node)}
    wanted = parameters(target)
    for name in sorted({name for name, needed in wanted.items() if needed} - given):
        yield f"{symbol}: {place} needs {name}"
    for name in sorted(given - set(wanted)):
        yield f"{symbol}: {place} knows no {name}"


def _params_of(module: Node) -> list[Node]:
    for node in walk(module):
        if node.type == "object_property" and text_of(named(node)[0]) == "params":
            return named(named(node)[1])
    return []
