"""Forecasts use times that evidence measured where no run has measured them, and never less than was assumed for a checkpoint."""

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.core.assumptions import Evidence, Verdict
from orchestrator.core.durations import BARE_S, HANDOVER_S, INSTALL_S, QUEUE_S, estimate_durations
from orchestrator.core.probed_times import NOT_PROBED, probed_times
from orchestrator.pipeline.loader import parse

BARE = "name: sim\naccelerator: TpuV5E8\nstages:\n  - {name: one, kind: counting, steps: 9}\n"
PLAIN = "name: sim\naccelerator: TpuV5E8\nenvironment: [x==1]\nstages:\n  - {name: one, kind: counting, steps: 9}\n"
AT = datetime(2026, 11, 29, 12, tzinfo=UTC)


def evidence(key: str, verdict: Verdict = Verdict.CONFIRMED, hour: int = 0, **numbers: float) -> Evidence:
    return Evidence(key=key, verdict=verdict, seen_at=AT + timedelta(hours=hour), numbers=numbers)


SEEN = [
    evidence("queue-time", hour=1, tpu_s=1000.0),
    evidence("queue-time", hour=2, tpu_s=3000.0, cpu_s=9.0),
    evidence("queue-time", Verdict.REFUTED, hour=3, tpu_s=5000.0),
    evidence("queue-time", Verdict.UNKNOWN, hour=4, tpu_s=9.0),
    evidence("start-up-time", tpu_s=400.0),
    evidence("processing-time", processing_s=620.0, size_bytes=1000.0),
]


def test_measured_times_replace_assumed_ones() -> None:
    pipeline = parse(PLAIN, "sim.yaml")
    times = estimate_durations(pipeline, probed=probed_times(SEEN, "tpu"))
    assert (times.queue_s.low_s, times.queue_s.usual_s, times.queue_s.high_s) == (1000.0, 3000.0, 5000.0)
    assert (times.queue_s.basis, times.startup_s.basis) == ("measured", "measured")
    assert times.startup_s.usual_s == 400.0
    assert times.handover_s.usual_s == HANDOVER_S.usual_s + 500.0
    assert times.handover_s.high_s == HANDOVER_S.high_s


def test_without_evidence_times_are_assumed() -> None:
    pipeline = parse(PLAIN, "sim.yaml")
    for probed in (NOT_PROBED, probed_times([], "tpu")):
        times = estimate_durations(pipeline, probed=probed)
        assert (times.queue_s, times.startup_s, times.handover_s) == (QUEUE_S["tpu"], INSTALL_S, HANDOVER_S)


def test_what_was_measured_counts_before_what_the_pipeline_expects() -> None:
    expecting = parse(f"{PLAIN}expect: {{queue_s: 60, startup_s: 60}}\n", "sim.yaml")
    assert estimate_durations(expecting).queue_s.usual_s == 60
    times = estimate_durations(expecting, probed=probed_times(SEEN, "tpu"))
    assert (times.queue_s.usual_s, times.startup_s.usual_s) == (3000.0, 400.0)


@pytest.mark.parametrize(("accelerator", "queue_s"), [("tpu", 3000.0), ("cpu", 9.0), ("gpu", None)])
def test_a_queue_is_that_of_the_accelerator(accelerator: str, queue_s: float | None) -> None:
    found = probed_times(SEEN, accelerator).queue_s
    assert (found.usual_s if found else None) == queue_s


@pytest.mark.parametrize("accelerator", ["cpu", "NvidiaTeslaT4"])
def test_a_start_up_is_that_of_the_accelerator(accelerator: str) -> None:
    pipeline = parse(PLAIN.replace("TpuV5E8", accelerator), "sim.yaml")
    assert estimate_durations(pipeline, probed=probed_times(SEEN, pipeline.slot)).startup_s == INSTALL_S


def test_a_session_that_installs_nothing_starts_sooner_than_the_one_that_was_probed() -> None:
    assert estimate_durations(parse(BARE, "sim.yaml"), probed=probed_times(SEEN, "tpu")).startup_s == BARE_S
    expecting = parse(f"{BARE}expect: {{startup_s: 60}}\n", "sim.yaml")
    assert estimate_durations(expecting, probed=probed_times(SEEN, "tpu")).startup_s.usual_s == 60


def test_a_small_dataset_never_shortens_the_time_between_sessions() -> None:
    quick = probed_times([evidence("processing-time", processing_s=2.0)], "tpu")
    assert quick.between(HANDOVER_S) == HANDOVER_S


def test_only_the_newest_measurements_count() -> None:
    old = [evidence("queue-time", hour=hour, tpu_s=9.0) for hour in range(9)]
    new = [evidence("queue-time", hour=10 + hour, tpu_s=100.0) for hour in range(5)]
    found = probed_times([*old, *new], "tpu").queue_s
    assert found is not None
    assert (found.low_s, found.high_s) == (95.0, 105.0)


def test_a_duration_that_nobody_waits_for_is_ignored() -> None:
    odd = [evidence("queue-time", hour=hour, tpu_s=1.0e20) for hour in range(9)]
    assert probed_times(odd, "tpu") == NOT_PROBED
    assert probed_times([*odd, *SEEN], "tpu").queue_s == probed_times(SEEN, "tpu").queue_s
