"""Processes of one session on several hosts: which one this is, and how they decide together.

Every process runs the same stages, each on its own devices. The first one alone decides when to save and when to stop, and
writes log, report and checkpoints; the others do what it decided, because a process that stopped alone would leave
the others waiting for its part of the next step. A session of one process has one `Hosts` too, which exchanges nothing.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.contract import Accelerator
from stages.session.accelerator import STAND_IN
from stages.stage import StageFailed

INDEX_VARIABLE = "RELAY_PROCESS"
"""Environment variable with the number of this process within its session, from 0."""
LOCAL_VARIABLE = "RELAY_LOCAL_PROCESS"
"""Environment variable with the number of this process on its host, from 0."""
COORDINATOR_VARIABLE = "RELAY_COORDINATOR"
"""Environment variable with the address `host:port` at which the first process serves the others; without it JAX finds
the address in the variables of the scheduler that started the processes."""
CONNECT_S_MAX = 600
"""Longest wait for all processes of a session, in seconds. They begin together, but may import at different speeds."""

Exchange = Callable[[str], Sequence[str]]
"""Function that takes this process's text and returns those of all processes, in their order. All of them must call it."""


class Hosts:
    """This process among those of its session."""

    def __init__(
        self, index: int = 0, count: int = 1, folder: Path | None = None, exchange: Exchange | None = None
    ) -> None:
        """`folder` is one that all processes see, for what they leave each other; None for a session of one process.
        `exchange` is usually made by `connect`."""
        assert 0 <= index < count, (index, count)
        self.index, self.count, self.folder = index, count, folder
        self._exchange = exchange
        self._connected = False

    @classmethod
    def of(cls, promised: Accelerator, environ: Mapping[str, str], folder: Path) -> "Hosts":
        """Return this process's place in a session that was promised so many processes.

        A machine that stands in for the accelerator in a rehearsal stands in for all of them. Raises ValueError for a
        number that no process of the session has.
        """
        count = promised.processes or 1
        if count == 1 or environ.get(STAND_IN) == "1":
            return cls()
        told = environ.get(INDEX_VARIABLE, "")
        if not told.isdigit() or int(told) >= count:
            raise ValueError(
                f"{INDEX_VARIABLE} is {told!r}, and this session has {count} processes, from 0 to {count - 1}"
            )
        return cls(int(told), count, folder)

    @property
    def first(self) -> bool:
        """Return whether this process is the one that decides and writes."""
        return self.index == 0

    def connect(self, promised: Accelerator, environ: Mapping[str, str]) -> None:
        """Connect the session's processes through JAX; call it before anything asks JAX for devices.

        Does nothing in a session of one process, and where they can exchange texts already. Raises StageFailed
        `hosts-missing` (transient) if they do not all appear.
        """
        if self.count == 1 or self._exchange is not None:
            return
        import jax

        if "jax_enable_preemption_service" in jax.config.values:  # it would take SIGTERM away from the session
            jax.config.update("jax_enable_preemption_service", False)
        if promised.platform == "cpu":
            jax.config.update("jax_cpu_collectives_implementation", "gloo")
        try:
            jax.distributed.initialize(
                coordinator_address=environ.get(COORDINATOR_VARIABLE),
                num_processes=self.count,
                process_id=self.index,
                local_device_ids=devices_here(promised, int(environ.get(LOCAL_VARIABLE, "0"))),
                initialization_timeout=CONNECT_S_MAX,
            )
            self._exchange, self._connected = _exchange(), True
        except (RuntimeError, ValueError) as error:
            raise StageFailed(
                "hosts-missing",
                f"the {self.count} processes of this session did not find each other: {error}",
                transient=True,
            ) from error

    def agreed(self, text: str, same: Any = None) -> str:
        """Return the first process's text, in every process.

        `same` is a value that has a JSON form, and that must be equal in all of them. Raises StageFailed `hosts-differ`
        if it is not. All processes must call this at the same place.
        """
        if self.count == 1:
            return text
        assert self._exchange is not None, "connect first"
        return decided(self._exchange(said(text, same)))

    def part(self) -> None:
        """Wait until every process has come here, and disconnect; at the end of a session that did not fail."""
        if not self._connected:
            return
        import jax

        self._connected = False
        jax.distributed.shutdown()


def said(text: str, same: Any) -> str:
    """Return what a process sends the others: its decision, and the digest of what must be the same everywhere."""
    digest = hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()
    return json.dumps([digest, text])


def decided(texts: Sequence[str]) -> str:
    """Return the decision of the first of several processes, from what `said` returned in each.

    Raises StageFailed `hosts-differ` if their digests differ.
    """
    digests, decisions = zip(*map(json.loads, texts), strict=True)
    other = next((index for index, digest in enumerate(digests) if digest != digests[0]), None)
    if other is not None:
        raise StageFailed(
            "hosts-differ",
            f"process {other} of this session has read other data than process 0: give all hosts the same files",
        )
    return str(decisions[0])


def devices_here(promised: Accelerator, local: int) -> list[int] | None:
    """Return the numbers of the devices on this host that its process number `local` uses; None for all that it sees."""
    if promised.platform == "cpu" or not promised.processes:
        return None
    share = promised.devices // promised.processes
    return list(range(local * share, (local + 1) * share))


def _exchange() -> Exchange:
    from stages.training.spread import shared_texts  # imports JAX

    return shared_texts
