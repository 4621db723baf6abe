"""The rate limit: what was done lately · the next command · what happens to it · why."""

import pytest

from orchestrator.core.commands import Append, Command, Poll, Push, ReadQuota, Wait
from orchestrator.core.plan import Limits
from orchestrator.core.rate_limit import COMMANDS_MAX, wait_before, with_command_counted
from state.model.poll_state import PollState
from state.model.snapshot import CallsMade
from tests.unit.core.situations import LIMITS, NOW, YEAR, at, given, row, state

POLL, QUOTA = Poll(1, 1), ReadQuota("tpu")
DIGESTS = {POLL: "d503567c55d5", QUOTA: "c9eba3719eca"}
"""The first twelve hexadecimal digits of SHA-256 of `Poll(number=1, attempt=1)` and `ReadQuota(accelerator='tpu')`."""


def did(*commands: Command, ago_s: float = 1.0) -> PollState:
    return PollState(recent_commands=" ".join(DIGESTS[command] for command in commands), recent_commands_at=at(-ago_s))


def calls(count: int, ago_s: float = 1.0) -> PollState:
    return PollState(calls=count, calls_since=at(-ago_s))


def repeated(name: str, until_s: float) -> Wait:
    why = f"the same command ({name}) ran a moment ago: relay waits before it repeats one"
    return Wait(at(until_s), why, held=True)


def many(until_s: float, count: int = 120) -> Wait:
    why = f"{count} calls to Kaggle were made within a minute: further calls wait"
    return Wait(at(until_s), why, held=True)


MANY = PollState(recent_commands=" ".join(["other"] * COMMANDS_MAX), recent_commands_at=at(-1))
FEWER = PollState(recent_commands=" ".join(["other"] * (COMMANDS_MAX - 1)), recent_commands_at=at(-1))


@pytest.mark.parametrize(
    ("watch", "others", "command", "limits", "rest"),
    [
        row("nothing was done", PollState(), (), POLL, LIMITS, None),
        row("the same was done a second ago", did(POLL), (), POLL, LIMITS, repeated("Poll", 4)),
        row("another command follows at once", did(POLL), (), QUOTA, LIMITS, None),
        row("one in a circle is held too", did(POLL, QUOTA), (), POLL, LIMITS, repeated("Poll", 4)),
        row("five seconds are a rest", did(POLL, ago_s=5), (), POLL, LIMITS, None),
        row("a little less is none", did(POLL, ago_s=4.99), (), POLL, LIMITS, repeated("Poll", 0.01)),
        row("it was done at this very moment", did(POLL, ago_s=0), (), POLL, LIMITS, repeated("Poll", 5)),
        row("it was done in the future", did(POLL, ago_s=-1), (), POLL, LIMITS, None),
        row("a rehearsal rests for less", did(POLL, ago_s=0.1), (), POLL, Limits(poll_s=0.6), None),
        row("two hundred commands without a rest", MANY, (), POLL, LIMITS, repeated("Poll", 4)),
        row("one fewer", FEWER, (), POLL, LIMITS, None),
        row("a wait is never held", did(POLL), (), Wait(at(9), "why"), LIMITS, None),
        row("a wait for the user is never held", did(POLL), (), Wait(None, "why"), LIMITS, None),
        row(
            "a wait that is over rests",
            PollState(),
            (),
            Wait(at(0), "why", wants_slot=True),
            LIMITS,
            Wait(at(5), "why", wants_slot=True, held=True),
        ),
        row("one call fewer than a minute's", calls(119), (), POLL, LIMITS, None),
        row("a minute's calls", calls(120, ago_s=20), (), POLL, LIMITS, many(40)),
        row("calls of a minute ago do not count", calls(120, ago_s=60), (), POLL, LIMITS, None),
        row("calls in the future do not count", calls(120, ago_s=-1), (), POLL, LIMITS, None),
        row("calls just now count", calls(120, ago_s=0), (), POLL, LIMITS, many(60)),
        row("other runs' calls count", PollState(), (CallsMade(since=at(-5), calls=120),), POLL, LIMITS, many(55)),
        row(
            "the oldest minute ends first",
            calls(60, ago_s=10),
            (CallsMade(since=at(-50), calls=60), CallsMade(since=at(-YEAR), calls=999)),
            POLL,
            LIMITS,
            many(10),
        ),
        row("shorter polls may call more often", calls(120), (), POLL, Limits(poll_s=10.0), None),
        row("as often as they need", calls(360, ago_s=20), (), POLL, Limits(poll_s=10.0), many(40, 360)),
    ],
)
def test_a_command_that_comes_too_soon_waits(
    watch: PollState, others: tuple[CallsMade, ...], command: Command, limits: Limits, rest: Wait | None
) -> None:
    assert wait_before(command, given(state(), watch=watch, others_calls=others), limits, NOW) == rest


@pytest.mark.parametrize(
    ("before", "command", "done", "since_s", "made", "made_since_s"),
    [
        row("the first command", PollState(), POLL, (POLL,), 0, 3, 0),
        row("one soon after it", did(POLL), QUOTA, (POLL, QUOTA), -1, 3, 0),
        row("one after a rest", did(POLL, ago_s=5), QUOTA, (QUOTA,), 0, 3, 0),
        row("calls add up within a minute", calls(4, ago_s=59), POLL, (POLL,), 0, 7, -59),
        row("and begin anew after it", calls(4, ago_s=60), POLL, (POLL,), 0, 3, 0),
        row("and after a clock that was ahead", calls(4, ago_s=-9), POLL, (POLL,), 0, 3, 0),
    ],
)
def test_what_was_done_is_noted(
    before: PollState, command: Command, done: tuple[Command, ...], since_s: float, made: int, made_since_s: float
) -> None:
    watch = with_command_counted(PollState(failures=2), before, command, 3, LIMITS, NOW)
    assert watch == PollState(
        failures=2,
        recent_commands=" ".join(DIGESTS[each] for each in done),
        recent_commands_at=at(since_s),
        calls=made,
        calls_since=at(made_since_s),
    )


def test_commands_with_other_contents_are_other_commands() -> None:
    snapshot = given(state(), watch=did(POLL))
    assert wait_before(Poll(1, 2), snapshot, LIMITS, NOW) is None
    assert wait_before(Push(1, 1), snapshot, LIMITS, NOW) is None
    assert wait_before(Append(()), snapshot, LIMITS, NOW) is None
