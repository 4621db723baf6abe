"""What may be asked of an expression's tree without computing anything. Standard library only.

A node is a tuple: the operation's name, then its operands, which are nodes or texts. `relation` has its signs, then its
terms; `group` its brackets, then its items; `matrix` its rows.
"""

from typing import Any, TypeGuard

from stages.rewards.symbols import FUNCTIONS

Node = tuple[Any, ...]
_TERM = frozenset(["number", "constant", "degree", "mixed", "negative", "*", "/", "^", "root", "factorial", "binomial"])


def is_one_term(node: Node) -> bool:
    """Whether a tree is numbers multiplied, divided, raised, rooted or their factorials: no sum, function or variable."""
    return node[0] in _TERM and all(is_one_term(part) for part in _parts(node))


def functions_of(node: Node) -> frozenset[str]:
    """Families of the functions in a tree, such as `trigonometric`."""
    own = frozenset({FUNCTIONS[node[1]]}) if node[0] == "call" else frozenset()
    return own.union(*(functions_of(part) for part in _parts(node)))


def has_variables(node: Node) -> bool:
    """Whether the value of a tree depends on a name."""
    return node[0] in ("name", "apply") or any(has_variables(part) for part in _parts(node))


def _parts(node: Node) -> list[Node]:
    return [part for part in node[1:] if _is_node(part)]


def _is_node(part: Any) -> TypeGuard[Node]:
    return isinstance(part, tuple)
