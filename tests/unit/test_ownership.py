"""What the mark of another home folder means, and that every mark can be read again."""

from datetime import UTC, datetime

import pytest

from orchestrator.base.errors import Overtaken
from orchestrator.engine.effects.find_push import never_pushed
from orchestrator.engine.ownership import Mark, fenced, refuse_overtaken
from orchestrator.platforms.port import DatasetSeen
from state.facts.base import Fact
from state.facts.session import PushHeld, PushIntended, PushRefused, PushUnclear, PushUnsent
from state.machine import apply
from state.model.run_state import Run
from state.model.statuses import Phase, RunStatus
from tests.unit.test_machine import state_in

AT = datetime(2030, 1, 7, tzinfo=UTC)


def run(home: str = "a@laptop", generation: int = 0) -> Run:
    return Run(
        id="gsm-1",
        name="gsm",
        owner="me",
        accelerator="tpu",
        status=RunStatus.ACTIVE,
        pipeline="{}",
        pipeline_path="p.yaml",
        pipeline_digest="d",
        created_at=AT,
        updated_at=AT,
        home=home,
        generation=generation,
    )


@pytest.mark.parametrize(
    ("mark", "own", "overtakes"),
    [
        (Mark("a", 0), Mark("a", 0), False),
        (Mark("b", 0), Mark("a", 0), True),
        (Mark("b", 5), Mark("a", 5), True),  # both were let take it over in the same second
        (Mark("b", 0), Mark("a", 5), False),  # from before this one took it over
        (Mark("a", 9), Mark("a", 5), True),  # a later state of this one, which was brought back from a backup
        (Mark("", 0), Mark("a", 0), False),  # an older relay's, or Kaggle has dropped the description
        (Mark("b", 0), Mark("", 0), False),
    ],
)
def test_a_mark_of_the_same_or_a_later_generation_and_another_home_overtakes(
    mark: Mark, own: Mark, overtakes: bool
) -> None:
    assert mark.overtakes(own) is overtakes


@pytest.mark.parametrize("mark", [Mark("3f9a2c7d1b04@laptop", 0), Mark("x@unnamed", 1893456000)])
def test_a_mark_is_read_out_of_a_description_again_even_where_kaggle_adds_to_it(mark: Mark) -> None:
    for description in (mark.text, f"<p>{mark.text}</p>\n", f"{mark.text} and more"):
        seen = DatasetSeen(ref="me/c", version=1, status="ready", private=True, files=(), description=description)
        assert Mark.on_dataset(seen) == mark


@pytest.mark.parametrize("description", ["", "A data set of cats", "relay home", "relay home x generation none"])
def test_a_description_without_a_mark_says_nothing(description: str) -> None:
    seen = DatasetSeen(ref="me/c", version=1, status="ready", private=True, files=(), description=description)
    assert Mark.on_dataset(seen) == Mark("", 0)
    assert Mark("", 0).text == ""


def test_who_is_overtaken_is_told_by_whom_and_what_to_type() -> None:
    with pytest.raises(Overtaken, match=r"made by the home folder b@desktop.*relay resume gsm-1 --take-over"):
        refuse_overtaken(Mark("b@desktop", 0), "the kernel me/gsm-1-s0001", run(), "a@laptop")


def test_a_copy_does_nothing_for_a_run_that_its_database_says_belongs_to_the_original() -> None:
    parked = fenced(run(), "b@desktop")
    assert parked is not None
    assert "belongs to the home folder a@laptop" in parked.reason
    assert parked.remedy == "relay resume gsm-1 --take-over"
    assert fenced(run(), "a@laptop") is None
    assert fenced(run(home=""), "b@desktop") is None


KEY = {"number": 1, "attempt": 1}
INTENDED, HELD = PushIntended(**KEY), PushHeld(**KEY, reason="session 1 waits for session 2")
REFUSED, UNSENT = PushRefused(**KEY, reason="no slot"), PushUnsent(**KEY, reason="no network")


@pytest.mark.parametrize(
    ("facts", "never"),
    [
        ([], True),
        ([HELD], True),  # nothing was sent
        ([UNSENT], True),
        ([REFUSED], False),  # Kaggle keeps the source of a push that it declined
        ([REFUSED, INTENDED, HELD], False),
        ([PushUnclear(**KEY, reason="504")], False),
    ],
)
def test_a_kernel_can_be_this_home_folders_own_only_where_a_push_of_it_may_have_reached_kaggle(
    facts: list[Fact], never: bool
) -> None:
    state = state_in(Phase.PUSHING)
    for fact in facts:
        state = apply(state, fact, AT)
    assert never_pushed(state.session(1, 1)) is never
