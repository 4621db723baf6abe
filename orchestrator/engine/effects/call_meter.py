"""Counts what a command asks of Kaggle, so that an account's budget of calls can be kept to."""

from collections.abc import Callable
from typing import Any, cast

from orchestrator.kaggle.gateway import Gateway


class CallMeter:
    """A gateway like another one; `calls` says how many of its methods were called."""

    def __init__(self, inner: Gateway) -> None:
        self._inner = inner
        self.calls = 0

    @property
    def gateway(self) -> Gateway:
        """This, as what it stands for."""
        return cast(Gateway, self)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._counted(found) if callable(found) else found

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return call(*args, **kwargs)

        return counted
