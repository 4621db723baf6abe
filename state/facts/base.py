"""Base of all facts, and a fact with its place in the log."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from stages.documents import Document


@dataclass(frozen=True, kw_only=True)
class Fact(Document):
    """Something that happened to a run. `name` is stored in the database and must never change."""

    name: ClassVar[str]


@dataclass(frozen=True, kw_only=True)
class SessionFact(Fact):
    """Something that happened to one session."""

    number: int
    attempt: int


@dataclass(frozen=True, kw_only=True)
class LoggedFact:
    """A fact with its number in the log of all runs; the number increases with each fact."""

    number: int
    run: str
    at: datetime
    fact: Fact
