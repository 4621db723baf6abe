"""Findings of the checks, and the input that all checks share."""

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
    """Severity of a finding: only a `problem` stops a run."""

    OK = "ok"
    NOTE = "note"
    """Information, or something that cannot be determined from this machine."""
    WARNING = "warning"
    """The run works, but not as the user would want."""
    PROBLEM = "problem"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Result of checking one thing."""

    key: str
    """Subject in one word; several findings may share it."""
    state: Severity
    sentence: str
    remedy: str = ""
    """Action for the user, in the imperative; empty if there is nothing to do."""
    link: str = ""


@dataclass(frozen=True)
class CheckSubject:
    """Input of every check."""

    path: Path
    pipeline: Pipeline
    home: Path
    """relay's home folder, which need not exist."""
    user_home: Path
    environ: Mapping[str, str]
    now: datetime


class Person(Protocol):
    """User whose credentials are checked."""

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
    """Return all findings as JSON, described in docs/check.md; `name` is None if relay cannot read the file."""
    return {
        "format": 1,
        "path": str(path),
        "pipeline": name,
        "offline": offline,
        "problems": sum(finding.state is Severity.PROBLEM for finding in findings),
        "warnings": sum(finding.state is Severity.WARNING for finding in findings),
        "findings": [asdict(finding) for finding in findings],
    }
