"""Quota that a run had used when it reached a step. Pure."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from state.model.metrics import StepSeen


class QuotaClock:
    """Seconds of quota by step, for one run.

    They are those of all earlier sessions, lost ones too, plus the session's own time at the step. A step that was
    repeated counts when it was completed the last time: what was lost before bought nothing.
    """

    def __init__(self, sessions: Iterable[Mapping[str, Any]], seen: Iterable[StepSeen]) -> None:
        before_s, total_s = {}, 0.0
        lasted_s = {}
        for session in sessions:
            key = (session["number"], session["attempt"])
            before_s[key], lasted_s[key] = total_s, session["seconds"] or 0.0
            total_s += lasted_s[key]
        self.total_s = total_s
        self._stages: dict[str, list[tuple[int, float]]] = {}
        for one in sorted(seen, key=lambda one: (one.session, one.attempt, one.step)):
            key = (one.session, one.attempt)
            if key not in before_s:
                continue
            times = self._stages.setdefault(one.stage, [])
            while times and times[-1][0] >= one.step:
                times.pop()
            times.append((one.step, before_s[key] + min(one.at_s, lasted_s[key])))

    def at(self, stage: str, step: int) -> float | None:
        """Return the seconds used when a step was completed; None if no step of the stage was seen.

        Between two steps whose times are known, time is taken to pass evenly.
        """
        times: Sequence[tuple[int, float]] = self._stages.get(stage, ())
        if not times:
            return None
        after = bisect_left(times, step, key=lambda known: known[0])
        if after == len(times):
            return times[-1][1]
        (right, right_s), (left, left_s) = times[after], times[max(0, after - 1)]
        if step == right or right == left:
            return right_s
        return left_s + (right_s - left_s) * (step - left) / (right - left)
