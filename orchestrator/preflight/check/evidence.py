"""Reports what was seen on this account of the assumptions that relay makes about Kaggle: refuted ones first."""

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.base.errors import BadInput
from orchestrator.core.assumptions import ASSUMPTIONS, Evidence, Observation, Verdict, fold
from orchestrator.engine.evidence_files import EvidenceFiles
from orchestrator.kaggle.gateway import Gateway
from orchestrator.preflight.check.findings import CheckSubject, Finding, note, ok, warning

KEY = "seen"
PROBES = (Observation.CPU_PROBE, Observation.TPU_PROBE)


def on_account(subject: CheckSubject, gateway: Gateway) -> Iterator[Finding]:
    """Report the evidence of the account whose credentials are used."""
    yield from _reported(subject, gateway.owner())


def offline(subject: CheckSubject) -> Iterator[Finding]:
    """Report the evidence of the only account that has any in this home folder."""
    yield from _reported(subject, "")


def _reported(subject: CheckSubject, owner: str) -> Iterator[Finding]:
    files = EvidenceFiles.of(subject.home, subject.environ)
    try:
        own = fold(files.own(owner) if owner else files.only_account())
        others = fold(files.others())
    except BadInput as error:
        said, _, remedy = str(error).rpartition(": ")
        yield warning(KEY, said, remedy)
        return
    yield from findings_of(own, others, f"relay probe {subject.path}")


def findings_of(own: Mapping[str, Evidence], others: Mapping[str, Evidence], probe: str) -> Iterator[Finding]:
    """Yield the findings for folded evidence; `probe` is the command that collects more."""
    refuted = [seen for key in ASSUMPTIONS if (seen := own.get(key)) and seen.verdict is Verdict.REFUTED]
    for seen in sorted(refuted, key=lambda seen: (ASSUMPTIONS[seen.key].copes, not ASSUMPTIONS[seen.key].stops)):
        yield _refuted(seen)
    yield from _of_others(own, others)
    confirmed = [seen for seen in own.values() if seen.verdict is Verdict.CONFIRMED]
    if confirmed:
        last = max(seen.seen_at for seen in confirmed)
        yield ok(KEY, f"{_count(len(confirmed))} held on this account, the last one on {last:%Y-%m-%d}")
    probed = [each.key for each in ASSUMPTIONS.values() if any(way in PROBES for way in each.observed_by)]
    unseen = [key for key in probed if key not in own or own[key].verdict is Verdict.UNKNOWN]
    if unseen:
        yield note(
            KEY,
            f"{len(unseen)} of {_count(len(probed))} that a probe can see have not been seen on this account",
            f"{probe} sees most of them on a CPU, without using quota",
        )


def _refuted(seen: Evidence) -> Finding:
    assumption = ASSUMPTIONS[seen.key]
    detail = f" ({seen.detail})" if seen.detail else ""
    stops = ", which stops a run" if assumption.stops else ""
    sentence = (
        f"{seen.key} did not hold on {seen.seen_at:%Y-%m-%d}{detail}{stops}. Assumed: {_inside(assumption.assumes)}"
    )
    if assumption.copes:
        return note(KEY, f"{sentence}. relay copes: {_inside(assumption.if_refuted)}")
    return warning(KEY, sentence, _inside(assumption.if_refuted))


def _of_others(own: Mapping[str, Evidence], others: Mapping[str, Evidence]) -> Iterator[Finding]:
    """Report what others saw refuted and what this account has not seen."""
    keys: Sequence[str] = [
        key
        for key, seen in others.items()
        if seen.verdict is Verdict.REFUTED and (key not in own or own[key].verdict is Verdict.UNKNOWN)
    ]
    if keys:
        what = "this did" if len(keys) == 1 else "these did"
        yield note(KEY, f"on the accounts of others {what} not hold: {', '.join(sorted(keys))}")


def _inside(sentence: str) -> str:
    return sentence.removesuffix(".")


def _count(number: int) -> str:
    return f"{number} assumption{'' if number == 1 else 's'}"
