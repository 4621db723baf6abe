"""A rehearsal's sessions are long enough for the machine that it runs on."""

import pytest

from orchestrator.pipeline import loader
from orchestrator.pipeline.examples import default_pipeline
from orchestrator.pipeline.model import Pipeline
from orchestrator.rehearsal.machine_speed import LIMIT_S_MAX, fitted, start_s


@pytest.fixture(scope="module")
def tiny() -> Pipeline:
    return loader.load(default_pipeline())


@pytest.mark.parametrize(
    ("started_s", "limit_s", "margin_s", "save_interval_s"),
    [
        pytest.param(0.0, 60.0, 16.0, 5.0, id="the probe failed: the file's times"),
        pytest.param(6.0, 60.0, 16.0, 5.0, id="an idle machine: the file's times"),
        pytest.param(12.0, 120.0, 32.0, 10.0, id="half as fast: everything takes twice as long"),
        pytest.param(30.0, 300.0, 80.0, 25.0, id="five times as slow"),
        pytest.param(1000.0, LIMIT_S_MAX, 320.0, 100.0, id="hardly alive: no longer than the bound"),
    ],
)
def test_session_times_grow_with_the_time_that_a_start_takes(
    tiny: Pipeline, started_s: float, limit_s: float, margin_s: float, save_interval_s: float
) -> None:
    session = fitted(tiny, started_s).session
    assert (session.limit_s, session.margin_s, session.save_interval_s) == (limit_s, margin_s, save_interval_s)


def test_what_is_computed_stays_the_same(tiny: Pipeline) -> None:
    longer = fitted(tiny, 30.0)
    assert longer.stages == tiny.stages
    assert longer.model == tiny.model


def test_long_sessions_are_left_alone(tiny: Pipeline) -> None:
    session = tiny.session.model_copy(update={"limit_s": 900.0})
    long = tiny.model_copy(update={"session": session})
    assert fitted(long, 30.0) is long


@pytest.mark.slow
def test_a_start_is_measured() -> None:
    assert start_s() > 0
