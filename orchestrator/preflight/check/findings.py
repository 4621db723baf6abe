"""What a look found, and what all checks look at."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from orchestrator.kaggle.gateway import Gateway
from orchestrator.pipeline.model import Pipeline

SETTINGS = "https://www.kaggle.com/settings"


class Severity(StrEnum):
    """How much a finding matters: only a `problem` stops a run."""

    OK = "ok"
    NOTE = "note"
    """Cannot be known from here, or is good to know."""
    WARNING = "warning"
    """The run goes, but not as one would wish."""
    PROBLEM = "problem"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    key: str
    """What it is about, in one word; several findings may share it."""
    state: Severity
    sentence: str
    remedy: str = ""
    """What to do, in the imperative; empty where there is nothing to do."""
    link: str = ""


@dataclass(frozen=True)
class CheckSubject:
    """What every check is given."""

    path: Path
    pipeline: Pipeline
    home: Path
    """relay's own folder, which need not exist."""
    user_home: Path
    environ: Mapping[str, str]
    now: datetime


class Person(Protocol):
    """Whose credentials are looked at."""

    @property
    def user_home(self) -> Path: ...

    @property
    def environ(self) -> Mapping[str, str]: ...


Check = Callable[[CheckSubject], Iterable[Finding]]
KaggleCheck = Callable[[CheckSubject, Gateway], Iterable[Finding]]


def ok(key: str, sentence: str, link: str = "") -> Finding:
    return Finding(key=key, state=Severity.OK, sentence=sentence, link=link)


def note(key: str, sentence: str, remedy: str = "", link: str = "") -> Finding:
    return Finding(key=key, state=Severity.NOTE, sentence=sentence, remedy=remedy, link=link)


def warning(key: str, sentence: str, remedy: str, link: str = "") -> Finding:
    return Finding(key=key, state=Severity.WARNING, sentence=sentence, remedy=remedy, link=link)


def problem(key: str, sentence: str, remedy: str, link: str = "") -> Finding:
    return Finding(key=key, state=Severity.PROBLEM, sentence=sentence, remedy=remedy, link=link)


def document(path: Path, name: str | None, findings: Sequence[Finding], *, offline: bool) -> dict[str, Any]:
    """All findings as JSON, described in docs/check.md; `name` is None where the file is none that relay can read."""
    return {
        "format": 1,
        "path": str(path),
        "pipeline": name,
        "offline": offline,
        "problems": sum(finding.state is Severity.PROBLEM for finding in findings),
        "warnings": sum(finding.state is Severity.WARNING for finding in findings),
        "findings": [asdict(finding) for finding in findings],
    }
