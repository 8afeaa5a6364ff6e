"""Every condition and number in policy is altered, one at a time: the same stories must find each."""

from __future__ import annotations

import ast
import copy
import inspect
import random
import types
from collections.abc import Iterator

from edge import policy
from tests.limits import Story, broken, story

STORIES = 1500
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
}
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "sum": "max"}

ALIKE = {"action.at - a.at < DAY_S -> LtE"}  # what is a day old to the microsecond limits nothing any more, kept or not


def alterations(tree: ast.Module) -> Iterator[tuple[ast.Module, str]]:
    """Each altered copy, and what was altered where."""
    for number, node in enumerate(ast.walk(tree)):
        for field, old, new in replacements(node):
            altered = copy.deepcopy(tree)
            there = next(n for count, n in enumerate(ast.walk(altered)) if count == number)
            setattr(there, field, new)
            line = getattr(node, "lineno", 0)
            what = f"{old} -> {_shown(new)}"
            if what not in ALIKE:
                yield altered, f"line {line}: {what}"


def replacements(node: ast.AST) -> Iterator[tuple[str, str, object]]:
    """Which field of a node to replace, what stood there, and by what."""
    always, never = ast.Constant(True), ast.Constant(False)
    if isinstance(node, ast.If | ast.IfExp):
        # The test stays: what it names is used further down.
        yield "test", ast.unparse(node.test), ast.BoolOp(ast.Or(), [node.test, always])
        yield "test", ast.unparse(node.test), ast.BoolOp(ast.And(), [node.test, never])
    elif isinstance(node, ast.comprehension) and node.ifs:
        yield "ifs", ast.unparse(node.ifs[0]), [always]
        yield "ifs", ast.unparse(node.ifs[0]), [never]
    elif isinstance(node, ast.BoolOp):
        for place, value in enumerate(node.values):
            for constant in (always, never):
                yield "values", ast.unparse(value), [*node.values[:place], constant, *node.values[place + 1 :]]
        yield "op", ast.unparse(node), SWAPS[type(node.op)]()
    elif isinstance(node, ast.Compare):
        yield "ops", ast.unparse(node), [SWAPS[type(node.ops[0])]()]
    elif isinstance(node, ast.BinOp) and type(node.op) in SWAPS:
        yield "op", ast.unparse(node), SWAPS[type(node.op)]()
    elif isinstance(node, ast.UnaryOp):
        yield "op", ast.unparse(node), ast.UAdd()
    elif isinstance(node, ast.Name) and node.id in NAMES:
        yield "id", node.id, NAMES[node.id]
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield "value", str(node.value), node.value * 2 + 1


def _shown(new: object) -> str:
    parts = new if isinstance(new, list) else [new]
    return ", ".join(type(p).__name__ if isinstance(p, ast.cmpop | ast.boolop | ast.operator | ast.unaryop)
                     else ast.unparse(p) if isinstance(p, ast.AST) else str(p) for p in parts)  # fmt: skip


def module(tree: ast.Module) -> types.ModuleType:
    made = types.ModuleType(policy.__name__)
    exec(compile(ast.fix_missing_locations(tree), "policy", "exec"), made.__dict__)
    return made


def found(altered: types.ModuleType, stories: list[Story]) -> bool:
    """Whether a story tells the altered policy from what the limits ask for."""
    for one in stories:
        try:
            if broken(altered, one):
                return True
        except (ArithmeticError, AttributeError, IndexError, KeyError, NameError, TypeError, ValueError):
            return True
    return False


def test_each_altered_limit_is_found() -> None:
    stories = [story(random.Random(number).choice) for number in range(STORIES)]
    tree = ast.parse(inspect.getsource(policy))
    assert not found(module(tree), stories)
    survivors = [what for altered, what in alterations(tree) if not found(module(altered), stories)]
    assert survivors == []
