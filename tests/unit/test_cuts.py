"""Where a run is cut: everywhere it can be, in every way, at the places that were asked for and at no others."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.base.errors import BadInput
from orchestrator.rehearsal.verify import cuts
from orchestrator.rehearsal.verify.cuts import CutKind, SessionCut
from stages.contract import Cursor, StageSpec
from tests.unit.counting_runs import counting

STAGES = (counting("first", 30), counting("second", 1), counting("third", 20), counting("fourth", 9))
LISTS = st.lists(st.integers(1, 12), min_size=1, max_size=5)


def test_twenty_cuts_are_of_all_five_sorts() -> None:
    found = cuts.random_cuts(STAGES, 20, seed=0)
    assert len(found) == 20
    assert {cut.how for cut in found} == set(CutKind)


def test_every_stage_is_cut_however_long_the_others_are() -> None:
    stages = (counting("long", 5_000), counting("short", 3), counting("shorter", 2))
    inside = [cut.at.stage for cut in cuts.random_cuts(stages, 10, seed=0) if cut.how is not CutKind.BOUNDARY]
    assert inside.count("short") == 2 and inside.count("shorter") == 1


def test_cuts_depend_on_nothing_but_the_seed() -> None:
    assert cuts.random_cuts(STAGES, 20, seed=1) == cuts.random_cuts(STAGES, 20, seed=1)
    assert cuts.random_cuts(STAGES, 20, seed=1) != cuts.random_cuts(STAGES, 20, seed=2)


@pytest.mark.slow
@settings(deadline=None, max_examples=200)
@given(steps=LISTS, count=st.integers(0, 80), seed=st.integers(0, 9))
def test_cuts_come_in_order_at_places_of_their_own_and_never_at_the_end(
    steps: list[int], count: int, seed: int
) -> None:
    stages = tuple(counting(f"s{number}", many) for number, many in enumerate(steps))
    found = cuts.random_cuts(stages, count, seed)
    places = [(int(cut.at.stage[1:]), cut.at.step) for cut in found]
    assert places == sorted(set(places))
    assert len(found) == min(count, sum(steps) - 1)
    assert (len(steps) - 1, steps[-1]) not in places
    for cut in found:
        assert_possible(cut, stages)


def assert_possible(cut: SessionCut, stages: tuple[StageSpec, ...]) -> None:
    """A boundary is one, a kill has a step to strike in, and whatever is saved lies in the stage."""
    target = next(spec.steps for spec in stages if spec.name == cut.at.stage)
    assert (cut.how is CutKind.BOUNDARY) == (cut.at.step == target)
    assert cut.latest.step == cut.at.step + cut.how.kills
    assert all(1 <= place.step <= cut.at.step for place in cut.saves)
    assert 0.0 < cut.share < 1.0


def test_a_killed_session_has_usually_lost_steps() -> None:
    kills = [cut for cut in cuts.random_cuts(STAGES, 20, seed=0) if cut.how is CutKind.KILL and cut.at.step > 3]
    assert kills and all(cut.saved.step < cut.at.step for cut in kills)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("first:4", SessionCut(Cursor(stage="first", step=4), CutKind.YIELD)),
        ("first:4:kill", SessionCut(Cursor(stage="first", step=4), CutKind.KILL)),
        ("third:19:after-save", SessionCut(Cursor(stage="third", step=19), CutKind.AFTER_SAVE)),
        ("first:30", SessionCut(Cursor(stage="first", step=30), CutKind.BOUNDARY)),
        ("second:1:boundary", SessionCut(Cursor(stage="second", step=1), CutKind.BOUNDARY)),
    ],
)
def test_a_cut_can_be_named(text: str, expected: SessionCut) -> None:
    assert cuts.named(text, STAGES) == expected


@pytest.mark.parametrize(
    "text, remedy",
    [
        ("nowhere:1", "use one of first, second, third, fourth"),
        ("first", "write first:1"),
        ("first:0", "steps 1 to 30"),
        ("first:31", "steps 1 to 30"),
        ("first:four", "steps 1 to 30"),
        ("first:4:gently", "yield, boundary, kill, before-save, after-save"),
        ("first:4:boundary", "write first:30"),
        ("first:30:kill", "name an earlier step"),
        ("fourth:9", "name an earlier step"),
    ],
)
def test_a_cut_that_cannot_be_is_refused_with_the_remedy(text: str, remedy: str) -> None:
    with pytest.raises(BadInput) as caught:
        cuts.named(text, STAGES)
    assert str(caught.value).startswith(f"--at {text}: ")
    assert remedy in str(caught.value)
