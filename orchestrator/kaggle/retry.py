"""Retry policy: number and total duration of attempts of a repeatable call."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential, wait_random

from orchestrator.base.errors import RateLimited, Transient

T = TypeVar("T")


class StaleUrl(Transient):
    """A URL that will not work again: the caller has to request a fresh one, so a retry does not help."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff with jitter, or Kaggle's Retry-After if longer, bounded in number and in time."""

    sleep: Callable[[float], None]
    stopping: Callable[[], bool] = lambda: False
    """Returns True if relay is shutting down: the first failure is then final."""
    attempts_max: int = 6
    wait_first_s: float = 1.0
    wait_s_max: float = 30.0
    total_s_max: float = 180.0
    """Total seconds of waiting and calling after which no new attempt starts."""

    def __call__(self, call: Callable[[], T]) -> T:
        """Return the call's result or raise its last Transient; any other error is raised at once."""
        return Retrying(
            sleep=self.sleep,
            retry=retry_if_exception(_worth_waiting_for),
            wait=self._wait_s,
            stop=self._is_spent,
            reraise=True,
        )(call)

    def _wait_s(self, state: RetryCallState) -> float:
        own = wait_exponential(multiplier=self.wait_first_s, max=self.wait_s_max) + wait_random(0, self.wait_first_s)
        return max(own(state), _asked_s(state))

    def _is_spent(self, state: RetryCallState) -> bool:
        if self.stopping() or state.attempt_number >= self.attempts_max:
            return True
        # `idle_for` counts sleeps apart from the clock, so that a virtual sleep uses up the budget like a real one.
        spent_s = max(state.idle_for, state.seconds_since_start or 0.0)
        return spent_s + state.upcoming_sleep > self.total_s_max


def _worth_waiting_for(error: BaseException) -> bool:
    return isinstance(error, Transient) and not isinstance(error, StaleUrl)


def _asked_s(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return (error.retry_after_s or 0.0) if isinstance(error, RateLimited) else 0.0
