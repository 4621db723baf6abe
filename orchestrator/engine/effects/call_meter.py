"""Counts a command's calls to Kaggle, to keep within an account's call budget."""

from collections.abc import Callable
from typing import Any, cast

from orchestrator.platforms.port import Platform


class CallMeter:
    """Wraps a gateway; `calls` is how many of its methods were called."""

    def __init__(self, inner: Platform) -> None:
        self._inner = inner
        self.calls = 0

    @property
    def gateway(self) -> Platform:
        """This object, typed as a Platform."""
        return cast(Platform, self)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._counted(found) if callable(found) else found

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return call(*args, **kwargs)

        return counted
