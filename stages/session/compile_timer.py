"""Books the time that JAX spends on tracing, lowering and compiling as compilation instead of training steps.

Memory that a long one has freed is given back, before the compiler begins and when it has ended.
"""

import contextlib
import importlib
import sys
import threading
from collections.abc import Iterator

from stages.session.async_checkpointer import THREAD
from stages.session.freed_memory import COMPILED_LONG_S, give_back
from stages.session.time_accounting import TimeAccount, TimeClass

MEASURED = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)
"""Events by which JAX reports durations (jax.monitoring); the last one includes fetching a program from the cache."""


class Compilations:
    """Books JAX's compilation time to one account, except that of background threads."""

    def __init__(self, account: TimeAccount) -> None:
        self._account = account
        self._stopped = False

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Listen within the `with` block; does nothing if JAX is not imported or does not report durations."""
        if "jax" in sys.modules:
            with contextlib.suppress(ImportError, AttributeError):
                monitoring = importlib.import_module("jax.monitoring")
                monitoring.register_event_duration_secs_listener(self._on_duration)
        try:
            yield
        finally:
            self._stopped = True  # JAX cannot unregister a listener

    def _on_duration(self, event: str, duration_s: float, **_: object) -> None:
        in_background = threading.current_thread().name.startswith(THREAD)
        if not self._stopped and event in MEASURED and not in_background:
            self._account.spent(TimeClass.COMPILE, duration_s)
            if duration_s >= COMPILED_LONG_S:
                give_back()
