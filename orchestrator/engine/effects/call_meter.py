"""Counts a command's calls to Kaggle, to keep within an account's call budget."""

from collections.abc import Callable
from typing import Any, cast

from orchestrator.kaggle.gateway import Gateway


class CallMeter:
    """Wraps a gateway; `calls` is how many of its methods were called."""

    def __init__(self, inner: Gateway) -> None:
        self._inner = inner
        self.calls = 0

    @property
    def gateway(self) -> Gateway:
        """This object, typed as a Gateway."""
        return cast(Gateway, self)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._counted(found) if callable(found) else found

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return call(*args, **kwargs)

        return counted
