"""Queries on expression trees that need no computation. Standard library only.

A node is a tuple: the operation's name, then its operands, which are nodes or strings. `relation` has its signs, then
its terms; `group` its brackets, then its items; `matrix` its rows.
"""

from typing import Any, TypeGuard

from stages.rewards.symbols import FUNCTIONS

Node = tuple[Any, ...]
_TERM = frozenset(["number", "constant", "degree", "mixed", "negative", "*", "/", "^", "root", "factorial", "binomial"])


def is_one_term(node: Node) -> bool:
    """Return True if a tree has only numbers, products, quotients, powers, roots and factorials: no sum or variable."""
    return node[0] in _TERM and all(is_one_term(part) for part in _parts(node))


def functions_of(node: Node) -> frozenset[str]:
    """Return the families of the functions in a tree, such as `trigonometric`."""
    own = frozenset({FUNCTIONS[node[1]]}) if node[0] == "call" else frozenset()
    return own.union(*(functions_of(part) for part in _parts(node)))


def has_variables(node: Node) -> bool:
    """Return True if a tree contains a variable or an unknown function."""
    return node[0] in ("name", "apply") or any(has_variables(part) for part in _parts(node))


def _parts(node: Node) -> list[Node]:
    return [part for part in node[1:] if _is_node(part)]


def _is_node(part: Any) -> TypeGuard[Node]:
    return isinstance(part, tuple)
