"""The mutants of a module: which there are, where, and what the module's text is with one of them in it.

- Cosmic Ray's operators, those that make a plausible mistake, and one of our own that drops a statement: the check that
  somebody forgets.
- Annotations are left alone: none of them is evaluated here, so a change there changes nothing.
- A line is drawn first, then one of its mutants, so that a long expression does not outweigh a short check.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import parso
from cosmic_ray.ast import ast_nodes
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator, operator_names

# What a programmer mistakes. The others (`+` for `<<`, a decorator gone) only raise TypeError: they would flatter the
# figure.
_TAKEN = re.compile(
    r"core/(AddNot|ReplaceAndWithOr|ReplaceOrWithAnd|ReplaceTrueWithFalse|ReplaceFalseWithTrue|NumberReplacer"
    r"|ReplaceBreakWithContinue|ReplaceContinueWithBreak|ZeroIterationForLoop|ReplaceUnaryOperator_Delete_Not"
    r"|ReplaceComparisonOperator_(Is_IsNot|IsNot_Is|(Eq|NotEq|Lt|LtE|Gt|GtE)_(Eq|NotEq|Lt|LtE|Gt|GtE))"
    r"|ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_FloorDiv|FloorDiv_Mul|BitOr_BitAnd|BitAnd_BitOr))"
)
_DROP = "drop-statement"


@dataclass(frozen=True, slots=True, order=True)
class Mutant:
    """One change of one module: an operator, and the how-manieth place where it applies."""

    path: str
    line: int
    operator: str
    occurrence: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.operator.removeprefix('core/')} #{self.occurrence}"


class DropStatement(Operator):  # type: ignore[misc]
    """Puts `...` in place of a statement that is a call or raises."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        if node.type == "raise_stmt" or (_is_call(node) and node.parent.type == "simple_stmt"):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        dropped = parso.parse("...").children[0]
        dropped.prefix = node.get_first_leaf().prefix
        return dropped

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


def _is_call(node: Any) -> bool:
    return node.type == "atom_expr" and node.children[-1].get_code().startswith("(")


def mutants_of(path: str, source: str) -> Iterator[Mutant]:
    """Yield every mutant of a module."""
    tree, unevaluated = parso.parse(source), _annotations(source)
    for name in (*operator_names(), _DROP):
        if name != _DROP and not _TAKEN.fullmatch(name):
            continue
        operator, occurrence = _operator(name), 0
        for node in ast_nodes(tree):
            for (line, column), _end in operator.mutation_positions(node):
                if not any(start <= (line, column) < end for start, end in unevaluated):
                    yield Mutant(path, line, name, occurrence)
                occurrence += 1


def mutated(mutant: Mutant, source: str) -> str:
    """Return the module's text with the mutant in it; ValueError if the text has no such place any more."""
    text = mutate_code(source, _operator(mutant.operator), mutant.occurrence)
    if text is None:
        raise ValueError(f"{mutant} is not in this version of the module")
    return str(text)


def draw(root: Path, paths: Iterable[str], seed: int, count: int) -> list[Mutant]:
    """Draw `count` mutants of these modules, each of another line; the same for the same seed and text."""
    by_line: dict[tuple[str, int], list[Mutant]] = {}
    for path in sorted(paths):
        for mutant in mutants_of(path, (root / path).read_text()):
            by_line.setdefault((mutant.path, mutant.line), []).append(mutant)
    chosen = random.Random(seed)
    lines = sorted(by_line)
    chosen.shuffle(lines)
    drawn = (chosen.choice(sorted(by_line[line])) for line in lines)
    return list(islice((one for one in drawn if _compiles(root, one)), count))


def _compiles(root: Path, mutant: Mutant) -> bool:
    try:
        compile(mutated(mutant, (root / mutant.path).read_text()), mutant.path, "exec")
    except SyntaxError:  # `*` of a parameter list, for one: it would be killed by anything
        return False
    return True


def _operator(name: str) -> Any:
    return DropStatement() if name == _DROP else get_operator(name)()


def _annotations(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where annotations and names of types stand: from and to, as line and column."""
    found = []
    for node in ast.walk(ast.parse(source)):
        for held in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(held, ast.expr):
                end = (held.end_lineno or 0, held.end_col_offset or 0)
                found.append(((held.lineno, held.col_offset), end))
    return found
