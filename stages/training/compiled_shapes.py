"""Keeps account of the shapes for which a session has compiled a stage's programs."""

from collections.abc import Hashable, Iterable

from stages.stage import Context


class CompiledShapes:
    """Tells the session after each use of shapes how many of a stage's are left to compile.

    A shape is whatever its steps may differ in, such as a width. Programs are compiled when a shape is first used: most
    stages never need some of theirs, and compiling all of them first would cost minutes of every session.
    """

    def __init__(self, context: Context, shapes: Iterable[Hashable]) -> None:
        self._context, self._left = context, set(shapes)
        context.may_compile(len(self._left))

    def used(self, shapes: Iterable[Hashable]) -> None:
        """Record that the programs are now compiled for these shapes."""
        self._left.difference_update(shapes)
        self._context.may_compile(len(self._left))
