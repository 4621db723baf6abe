"""What an ordinary run shows of Kaggle is kept as evidence: confirmed where Kaggle is as assumed, refuted where it differs."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.core.assumptions import ASSUMPTIONS, Evidence, Observation, fold
from orchestrator.core.probed_times import probed_times
from orchestrator.core.run_evidence import RunNews, evidence_after, evidence_of_quota, news_only
from orchestrator.engine.home import log_lines
from orchestrator.pipeline.model import Pipeline
from orchestrator.rehearsal.local_kaggle.differences import differing
from orchestrator.rehearsal.local_kaggle.faults import FaultPlan, SessionAction, SessionFault
from orchestrator.rehearsal.local_kaggle.rules import PerKind, Rules
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, fast_folder
from state.model.statuses import RunStatus
from tests.simulation.pipelines import pipeline

RULES = Rules(queue_s=PerKind.all(600.0), dataset_processing_s=20.0)


def seen_by_run(chain: Chain) -> list[Evidence]:
    """Drive a run and return what its ticks show, as the daemon keeps it."""
    kept: list[Evidence] = []
    for tick in chain.ticks():
        if not tick.facts and tick.quota is None:
            continue
        state, facts = chain.store.load(chain.run), chain.store.facts(chain.run)
        logs = {session.key: list(log_lines(chain.home.log(session))) for session in state.sessions}
        found = evidence_after(RunNews(state=state, facts=facts, new=tick.facts, logs=logs))
        if tick.quota is not None:
            found += evidence_of_quota(tick.quota, tick.quota.read_at)
        kept += news_only(found, kept)
    return kept


def ran(*differs: str, rules: Rules = RULES, **changes: str) -> tuple[Chain, list[Evidence]]:
    kaggle = differing(rules, FaultPlan(differs=differs))
    with fast_folder() as folder:
        chain = Chain(SimulatedKaggle(pipeline(**changes), faults=kaggle.faults, rules=kaggle.rules), folder)
        chain.limits = replace(chain.limits, poll_s=60.0)
        return chain, seen_by_run(chain)


def verdicts(kept: list[Evidence]) -> dict[str, str]:
    return {key: seen.verdict.value for key, seen in fold(kept).items() if seen.verdict.value != "unknown"}


@pytest.fixture(scope="module")
def usual() -> tuple[Chain, list[Evidence]]:
    return ran()


CONFIRMED = {
    "title-is-slug", "version-label", "queue-time", "start-up-time", "output-kept", "output-listed-complete",
    "output-unchanged", "processing-time", "accepted-dataset-shown", "sentinel-mounted",
    "unknown-suffix-kept", "weekly-quota", "quota-answered", "api-shapes",
}  # fmt: skip


def test_a_run_on_a_kaggle_as_assumed_confirms_what_it_relies_on(usual: tuple[Chain, list[Evidence]]) -> None:
    chain, kept = usual
    assert chain.state.run.status is RunStatus.FINISHED
    assert verdicts(kept) == dict.fromkeys(CONFIRMED, "confirmed")
    assert {key for key in CONFIRMED if Observation.RUNS not in ASSUMPTIONS[key].observed_by} == set()


def test_a_run_on_another_platform_shows_nothing_of_kaggle(usual: tuple[Chain, list[Evidence]]) -> None:
    chain, _ = usual
    facts = chain.store.facts(chain.run)
    elsewhere = Pipeline.from_canonical(chain.state.run.pipeline).model_copy(update={"platform": "slurm"})
    run = replace(chain.state.run, pipeline=elsewhere.canonical())
    for state, shown in ((chain.state, True), (replace(chain.state, run=run), False)):
        news = RunNews(state=state, facts=facts, new=[fact for _, fact in facts], logs={})
        assert bool(evidence_after(news)) is shown


def test_forecasts_use_the_times_of_ordinary_runs(usual: tuple[Chain, list[Evidence]]) -> None:
    chain, kept = usual
    waits = [s.running_at - s.pushed_at for s in chain.state.sessions if s.running_at and s.pushed_at]
    measured = [seen.numbers["tpu_s"] for seen in kept if seen.key == "queue-time"]
    assert measured == [wait.total_seconds() for wait in waits] and len(waits) == 3
    times = probed_times(kept, "tpu")
    assert times.queue_s is not None and times.queue_s.usual_s >= 600.0
    assert times.processing_s is not None and times.processing_s.usual_s >= 20.0


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("queue-time", {}),
        ("session-limit", {}),
        ("limit-ends-cancelled", {}),
        ("weekly-quota", {}),
        ("quota-answered", {}),
        ("output-unchanged", {}),
        ("kernel-output-mounted", {"handoff": "handoff: kernel-output"}),
        ("sentinel-mounted", {}),
        ("processing-time", {}),
        ("accepted-dataset-shown", {}),
        ("unknown-suffix-kept", {}),
        ("title-is-slug", {}),
        ("private-storage", {}),
    ],
)
def test_a_kaggle_that_differs_is_refuted_by_an_ordinary_run(key: str, changes: dict[str, str]) -> None:
    _, kept = ran(key, **changes)
    assert [seen for seen in kept if seen.key == key and seen.verdict.value == "refuted"], verdicts(kept)


@pytest.mark.parametrize(("kept", "verdict"), [(True, "confirmed"), (False, "refuted")])
def test_it_is_seen_whether_a_session_that_was_stopped_keeps_its_files(kept: bool, verdict: str) -> None:
    stalls = FaultPlan(sessions=(SessionFault(session=1, action=SessionAction.STALL, step=60),))
    rules = replace(RULES, behaviour=replace(RULES.behaviour, keeps_unclean=kept))
    with fast_folder() as folder:
        chain = Chain(SimulatedKaggle(pipeline(), faults=stalls, rules=rules), folder)
        chain.limits = replace(chain.limits, poll_s=60.0)
        seen = [each for each in seen_by_run(chain) if each.key == "output-kept"]
    assert (seen[0].verdict.value, "CANCEL_ACKNOWLEDGED" in seen[0].detail) == (verdict, True)


def test_a_renewed_quota_and_a_full_slot_are_seen() -> None:
    _, kept = ran(rules=replace(RULES, quota_s=PerKind(1500.0, 0, 0)))
    (renewed,) = {seen.detail for seen in kept if "stated renewal" in seen.detail}
    assert renewed.startswith("after the stated renewal of the quota a session was accepted")
    _, kept = ran("sessions-at-once")
    (slots,) = [seen for seen in kept if seen.key == "sessions-at-once"]
    assert (slots.verdict.value, slots.numbers) == ("confirmed", {"tpu": 1.0})


def test_what_is_known_is_kept_again_only_after_a_day(usual: tuple[Chain, list[Evidence]]) -> None:
    (quota,) = [seen for seen in usual[1] if seen.key == "weekly-quota"]
    assert news_only([replace(quota, seen_at=quota.seen_at + timedelta(hours=23))], usual[1]) == []
    later = replace(quota, seen_at=quota.seen_at + timedelta(hours=25))
    assert news_only([later], usual[1]) == [later]


def test_a_probes_own_runs_leave_no_second_evidence(usual: tuple[Chain, list[Evidence]], tmp_path: Path) -> None:
    chain = usual[0]
    probing = (
        pipeline().model_copy(update={"stages": tuple(pipeline().stages)}).canonical().replace("counting", "probe")
    )
    state = replace(chain.state, run=replace(chain.state.run, pipeline=probing))
    facts = chain.store.facts(chain.run)
    new = [fact for _, fact in facts]
    assert evidence_after(RunNews(state=chain.state, facts=facts, new=new, logs={}))
    assert evidence_after(RunNews(state=state, facts=facts, new=new, logs={})) == []
