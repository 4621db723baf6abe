"""Hears from JAX how long it traced, lowered and compiled, so that those seconds are not taken for the step's."""

import contextlib
import importlib
import sys
import threading
from collections.abc import Iterator

from stages.session.async_checkpointer import THREAD
from stages.session.time_accounting import TimeAccount, TimeClass

MEASURED = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)
"""JAX's own measurements (jax.monitoring); in the last of them a program may also be fetched from the cache."""


class Compilations:
    """Told to one account, but for those of threads that go on beside the session."""

    def __init__(self, account: TimeAccount) -> None:
        self._account = account
        self._over = False

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """While this lasts; a stage that does not use JAX, or a JAX that does not tell, is heard nothing of."""
        if "jax" in sys.modules:
            with contextlib.suppress(ImportError, AttributeError):
                monitoring = importlib.import_module("jax.monitoring")
                monitoring.register_event_duration_secs_listener(self._hear)
        try:
            yield
        finally:
            self._over = True  # JAX knows no way to take a listener back

    def _hear(self, event: str, duration_s: float, **_: object) -> None:
        beside = threading.current_thread().name.startswith(THREAD)
        if not self._over and event in MEASURED and not beside:
            self._account.spent(TimeClass.COMPILE, duration_s)
