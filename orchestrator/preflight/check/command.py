"""Runs every check in order. A check that cannot reach Kaggle reports that, and the others still run."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.base.errors import BadInput, RelayError, Unreachable
from orchestrator.kaggle.endpoint import limits_for, server_url
from orchestrator.kaggle.gateway import Gateway
from orchestrator.pipeline import loader
from orchestrator.pipeline.key_lines import line_of, lines_of
from orchestrator.preflight.check import account, evidence, files, inputs, limits, packages, runs
from orchestrator.preflight.check.findings import (
    Check,
    CheckSubject,
    Finding,
    KaggleCheck,
    Severity,
    document,
    note,
    problem,
    warning,
)

HERE: tuple[Check, ...] = (
    files.written,
    files.modules,
    files.data,
    files.kernel,
    files.names,
    limits.session,
    limits.mesh,
    limits.checkpoint,
    packages.versions,
    packages.sets,
    packages.internet,
    packages.folder,
    runs.database,
    account.credentials,
)
"""Local checks, which need no network."""

THERE: tuple[KaggleCheck, ...] = (
    account.account,
    account.phone,
    account.quota,
    account.slots,
    account.taken,
    inputs.models,
    inputs.datasets,
    evidence.on_account,
)
"""Checks that call Kaggle; the account comes first."""

SUBJECTS: Mapping[KaggleCheck, str] = {
    account.account: "account",
    account.phone: "phone",
    account.quota: "quota",
    account.slots: "slots",
    account.taken: "names",
    inputs.models: "model",
    inputs.datasets: "dataset",
    evidence.on_account: evidence.KEY,
}

ELSEWHERE = {
    "slurm": "what is on the cluster was not checked: relay start asks for its commands and its shared folder",
    "ssh": "what is on the machine was not checked: relay start asks for its login, its Python and its folder",
}
"""Notes of a check of a pipeline that does not run on Kaggle, by platform."""

ATTEMPTS = 2
CALL_S = 15.0
"""Timeout of a call to Kaggle, in seconds; shorter than the daemon's, because a user waits for the result."""


def check(
    path: Path, home: Path, user_home: Path, environ: Mapping[str, str], now: datetime, *, offline: bool
) -> dict[str, Any]:
    """Check a pipeline and return all findings, as the document that docs/check.md describes."""
    pipeline, mistakes = loader.examine(path)
    if pipeline is None:
        lines = lines_of(path)
        found = [_mistake(sentence, str(path), lines) for sentence in mistakes]
        return document(path, None, found, offline=offline)
    subject = CheckSubject(path, pipeline, home, user_home, environ, now)
    on_kaggle = pipeline.platform == "kaggle"
    here = [finding for each in HERE if on_kaggle or each is not account.credentials for finding in each(subject)]
    if not on_kaggle:
        return document(
            path, pipeline.name, [*here, note(pipeline.platform, ELSEWHERE[pipeline.platform])], offline=offline
        )
    there = list(evidence.offline(subject)) if offline else _on_kaggle(subject, here)
    return document(path, pipeline.name, [*here, *there], offline=offline)


def exit_status(found: Mapping[str, Any]) -> int:
    """Return 2 for a file that relay cannot read, 1 if a problem was found, else 0."""
    if found["pipeline"] is None:
        return 2
    return 1 if found["problems"] else 0


def _mistake(sentence: str, path: str, lines: Mapping[str, int]) -> Finding:
    """Turn a mistake in the file, whose sentence includes the remedy, into a finding with the line instead of the path."""
    text = sentence.removeprefix(f"{path}: ")
    line = line_of(text, lines)
    return problem("file", f"line {line}: {text}" if line else text, "")


def _on_kaggle(subject: CheckSubject, here: list[Finding]) -> list[Finding]:
    """Run the checks that call Kaggle; concurrently, because each one without an answer takes until its timeout."""
    if any(finding.key == "credentials" and finding.state is Severity.PROBLEM for finding in here):
        return [note("kaggle", "what is on Kaggle was not checked: that needs credentials")]
    gateway = _gateway(subject)
    first, *others = THERE
    try:
        found = list(_findings_of(first, subject, gateway))
    except Unreachable as error:
        return [warning("kaggle", f"what is on Kaggle was not checked: {error}", "try again once it can be reached")]
    if any(finding.state is Severity.PROBLEM for finding in found):
        return [*found, note("kaggle", "the rest of what is on Kaggle was not checked: that needs an account")]
    with ThreadPoolExecutor(len(others)) as pool:
        for findings in pool.map(lambda each: list(_findings_of(each, subject, gateway)), others):
            found += findings
    return found


def _gateway(subject: CheckSubject) -> Gateway:
    from orchestrator.kaggle.client import connect

    usual = limits_for(server_url(subject.environ))
    limits = replace(
        usual,
        attempts_max=ATTEMPTS,
        connect_s=min(usual.connect_s, CALL_S),
        read_s=min(usual.read_s, CALL_S),
        call_s=min(usual.call_s, CALL_S),
    )
    return connect(subject.environ, subject.user_home, limits=limits)


def _findings_of(each: KaggleCheck, subject: CheckSubject, gateway: Gateway) -> Iterator[Finding]:
    try:
        yield from each(subject, gateway)
    except RelayError as error:
        if isinstance(error, Unreachable) and each is THERE[0]:
            raise  # the other checks would only wait for the same
        yield _unanswered(SUBJECTS[each], error)


def _unanswered(key: str, error: RelayError) -> Finding:
    if isinstance(error, BadInput):
        return problem(key, str(error), "")
    return warning(key, f"could not be checked: Kaggle does not answer ({error})", "try again in a minute")
