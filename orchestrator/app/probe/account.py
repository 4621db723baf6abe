"""Observations of the account itself, without a session: quota, models, lists."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from orchestrator.base.errors import Refused, Transient
from orchestrator.core.assumptions import Evidence, Verdict
from orchestrator.core.probe_evidence import ProbedRun, evidence
from orchestrator.kaggle.gateway import Access, Gateway
from orchestrator.pipeline.environments import HARDWARE, HOUR_S
from stages.probing.findings import CONFIRMED, REFUTED

HOURS_PER_WEEK = {each.quota: each.hours_per_week for each in HARDWARE.values() if each.quota}


def denied_models(gateway: Gateway, models: Sequence[str]) -> list[str]:
    """Return the models whose files Kaggle does not let this account read."""
    return [ref for ref in models if gateway.see_model(ref).access is not Access.READABLE]


def evidence_of_denied(denied: Sequence[str], at: datetime) -> list[Evidence]:
    """Return the evidence for models that cannot be read; none if all can."""
    if not denied:
        return []
    detail = f"Kaggle denies the files of {len(denied)} model{'s' if len(denied) > 1 else ''} of the pipeline"
    return [
        evidence("model-mounted", Verdict.REFUTED, at, detail, {}),
        evidence("model-licence", Verdict.UNKNOWN, at, f"{detail}: no session was begun with them", {}),
    ]


def evidence_of_account(gateway: Gateway, run: ProbedRun) -> Iterator[Evidence]:
    """Yield what the account shows after a run: its quota, its lists, and whether readable models were mounted."""
    yield from _of_quota(gateway, run.at)
    yield from _of_lists(gateway, run)
    mounted = next((finding.verdict for finding in run.report.findings if finding.key == "model-mounted"), "")
    if mounted == CONFIRMED:
        yield evidence(
            "model-licence", Verdict.CONFIRMED, run.at, "the files could be read, and a session mounted them", {}
        )
    if mounted == REFUTED:
        detail = "the files could be read, and no session mounted them"
        yield evidence("model-licence", Verdict.REFUTED, run.at, detail, {})


def _of_quota(gateway: Gateway, at: datetime) -> Iterator[Evidence]:
    numbers, told = {}, []
    for accelerator, hours in HOURS_PER_WEEK.items():
        try:
            found = gateway.quota(accelerator)
        except (Transient, Refused):
            return
        if found is None or found.total_s is None:
            detail = f"no total for {accelerator.upper()}s"
            yield evidence("quota-answered", Verdict.REFUTED, at, detail, {})
            return
        numbers[f"{accelerator}_s"] = found.total_s
        told.append(f"{found.total_s / HOUR_S:g} of {hours:g} {accelerator.upper()} hours")
    yield evidence("quota-answered", Verdict.CONFIRMED, at, "totals of both accelerators", {})
    same = all(numbers[f"{name}_s"] == hours * HOUR_S for name, hours in HOURS_PER_WEEK.items())
    verdict = Verdict.CONFIRMED if same else Verdict.REFUTED
    yield evidence("weekly-quota", verdict, at, " and ".join(told), numbers)


def _of_lists(gateway: Gateway, run: ProbedRun) -> Iterator[Evidence]:
    kernels = {session.slug for session in run.state.sessions if session.pushed_at is not None}
    datasets = {checkpoint.place for checkpoint in run.state.checkpoints if checkpoint.on_kaggle}
    try:
        missing = len(kernels - set(gateway.list_kernels(run.state.run.id)))
        missing += len(datasets - set(gateway.list_datasets(run.state.run.id)))
    except (Transient, Refused):
        return
    detail = f"{missing} of {len(kernels) + len(datasets)} names of the probe are missing"
    if kernels:
        yield evidence("lists-complete", Verdict.REFUTED if missing else Verdict.CONFIRMED, run.at, detail, {})
