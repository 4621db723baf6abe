"""What is looked for has a sum of its own, to which each look adds what a daemon that was there has seen pass."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from orchestrator.core.search_time import search_time_s, with_search_times
from state.model.poll_state import PollState
from state.model.run_state import RunState
from state.model.snapshot import Snapshot
from state.model.statuses import InputsStatus, Phase
from tests.unit.test_machine import state_in

AT = datetime(2030, 1, 7, tzinfo=UTC)
YEAR, HOUR, MINUTE = timedelta(days=365), timedelta(hours=1), timedelta(minutes=1)


@pytest.mark.parametrize(
    ("looks", "lasted_s"),
    [
        ([AT, AT + MINUTE, AT + 2 * MINUTE], 120),
        ([AT, AT + YEAR, AT + YEAR + MINUTE], 120 + 60),  # set forward: it counts as two usual intervals of a minute
        ([AT, AT - YEAR, AT - YEAR + MINUTE], 60),  # set back
        ([AT, AT + YEAR, AT + MINUTE, AT + 2 * MINUTE], 120 + 60),  # forward and back
        ([AT, AT + 8 * HOUR, AT + 8 * HOUR + MINUTE], 120 + 60),  # a laptop that slept
        ([None, AT, AT + MINUTE], 60),  # the daemon noticed it, and forgot when it last looked
    ],
)
def test_no_clock_and_no_sleep_make_anything_looked_for_for_longer_than_it_was(
    looks: list[datetime | None], lasted_s: float
) -> None:
    watch = PollState()
    for before, at in pairwise(looks):
        assert at is not None
        watch = replace(watch, search_s={"x": search_time_s(watch, "x", before, 60.0, at), "y": 5.0})
    assert watch.search_s == {"x": lasted_s, "y": 5.0}


def offered(state: RunState, offered_at: datetime | None) -> RunState:
    (checkpoint,) = state.checkpoints
    return state.with_checkpoint(replace(checkpoint, offered_at=offered_at))


PUSHING, PUBLISHING = state_in(Phase.PUSHING), state_in(Phase.PUBLISHING)
OWN_FILES = replace(PUSHING.run, inputs=InputsStatus.PUBLISHING, inputs_dataset="files-n2", inputs_offered_at=AT)


@pytest.mark.parametrize(
    ("state", "name", "kept"),
    [
        (PUSHING, PUSHING.sessions[-1].slug, True),
        (state_in(Phase.PUSHED), PUSHING.sessions[-1].slug, False),
        (offered(PUBLISHING, AT), PUBLISHING.checkpoints[-1].place, True),
        (offered(PUBLISHING, None), PUBLISHING.checkpoints[-1].place, False),
        (replace(PUSHING, run=OWN_FILES), "files-n2", True),
        (replace(PUSHING, run=replace(OWN_FILES, inputs_offered_at=None)), "files-n2", False),
    ],
)
def test_a_sum_is_kept_through_other_commands_for_as_long_as_the_thing_is_looked_for(
    state: RunState, name: str, kept: bool
) -> None:
    before = Snapshot(state=state, watch=PollState(search_s={name: 77.0}))
    assert with_search_times(PollState(log_lines=3), before) == PollState(
        log_lines=3, search_s={name: 77.0} if kept else {}
    )
    assert with_search_times(PollState(search_s={name: 0.0}), before).search_s == {name: 0.0}, (
        "what begins anew begins from nothing"
    )
