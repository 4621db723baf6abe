"""Whatever is asked of a world, and however often anybody looks, Kaggle's rules hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.rehearsal.local_kaggle.faults import FaultPlan, SessionAction, SessionFault
from orchestrator.rehearsal.local_kaggle.kernel_records import Status
from orchestrator.rehearsal.local_kaggle.rules import MachineKind, PerKind, Rules
from orchestrator.rehearsal.local_kaggle.sandbox import Played
from tests.unit.worlds import HOUR, OWNER, SmallWorld

SHAPES = {MachineKind.TPU: "TpuV5E8", MachineKind.GPU: "NvidiaTeslaT4", MachineKind.CPU: ""}
RULES = Rules(queue_s=PerKind(700, 90, 20), quota_s=PerKind(15 * HOUR, 25 * HOUR, 0))


@dataclass(frozen=True)
class Step:
    """After some seconds, push a kernel or delete it."""

    wait_s: int
    slug: str
    kind: MachineKind
    lasts_s: int
    deletes: bool


steps = st.lists(
    st.builds(
        Step,
        wait_s=st.sampled_from([0, 700, 5_000, 50_000]) | st.integers(min_value=0, max_value=30_000),
        slug=st.sampled_from(["kernel-a", "kernel-b", "kernel-c", "kernel-d"]),
        kind=st.sampled_from(MachineKind),
        lasts_s=st.sampled_from([60, 3_600, 30_000, 32_400, 43_000, 60_000])
        | st.integers(min_value=1, max_value=60_000),
        deletes=st.sampled_from([False, False, False, True]),
    ),
    min_size=1,
    max_size=25,
)
faults = st.lists(
    st.builds(
        SessionFault,
        session=st.integers(min_value=1, max_value=6),
        action=st.sampled_from([SessionAction.KILL, SessionAction.STALL]),
        after_s=st.integers(min_value=0, max_value=40_000),
        within_s=st.floats(min_value=0, max_value=100),
    ),
    max_size=3,
)


def lasting(source: str, mounts: object, limit_s: float) -> Played:
    ends_after_s = float(source)
    lines = [(part * ends_after_s / 4, f"part {part}") for part in range(5)]
    return Played(ends_after_s=ends_after_s, lines=lines, files=[(ends_after_s / 2, "half.txt", source.encode())])


def play(script: Sequence[Step], faults: Sequence[SessionFault], look_every_s: int) -> SmallWorld:
    small = SmallWorld(lasting, RULES, FaultPlan(sessions=tuple(faults)))
    for step in script:
        wait_s = step.wait_s
        while wait_s > look_every_s:
            small.after(look_every_s)
            check(small)
            wait_s -= look_every_s
        small.after(wait_s)
        if step.deletes and small.world.kernels.exists(OWNER, step.slug):
            small.world.delete_kernel(OWNER, step.slug)
        else:
            small.push(step.slug, repr(step.lasts_s), machine_shape=SHAPES[step.kind])
        check(small)
    return small.after(200 * HOUR)


def check(small: SmallWorld) -> None:
    """What holds at every moment."""
    with small.world.at_now() as now:
        live = small.world.kernels.live()
        for kind in MachineKind:
            assert sum(session.save.kind is kind for session in live) <= RULES.slots.of(kind)
            quota = small.world.kernels.quota(kind, now)
            assert quota.used_s >= 0
            assert quota.reserved_s >= 0
        for kernel in small.world.kernels.all():
            assert [version.number for version in kernel.versions] == list(range(1, len(kernel.versions) + 1))
        for session in live:
            assert (session.status is Status.RUNNING) == (session.running is not None)
            assert session.starts_at > now or session.status is Status.RUNNING


def told(small: SmallWorld) -> list[Any]:
    """Everything that the sessions became."""
    return [
        (
            (kernel.slug, version.number, session.status, session.message, session.started, session.ended),
            [line.text for line in session.lines],
            sorted(session.files),
        )
        for kernel in small.world.kernels.all()
        for version in kernel.versions
        if (session := version.session) is not None
    ]


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(steps, faults)
def test_slots_quota_limits_and_versions_hold_and_the_looking_changes_nothing(
    script: list[Step], faults: list[SessionFault]
) -> None:
    seldom = play(script, faults, look_every_s=10**9)
    often = play(script, faults, look_every_s=997)
    assert told(seldom) == told(often)
    for kernel in seldom.world.kernels.all():
        for session in (version.session for version in kernel.versions):
            if session is None:
                continue
            assert not session.live
            assert session.started is not None
            assert session.ended is not None
            assert (session.ended - session.started).total_seconds() <= session.limit_s
            assert session.status in (Status.COMPLETE, Status.ERROR, Status.CANCEL_ACKNOWLEDGED)
