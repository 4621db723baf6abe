"""Makes the report of a session from its state."""

import platform

from stages.contract import Report
from stages.session import packages
from stages.session.context import RunningSession
from stages.session.failure_report import Failure
from stages.stage import StageFailed

PACKAGES = (
    "jax",
    "jaxlib",
    "libtpu",
    "flax",
    "optax",
    "orbax-checkpoint",
    "google-tunix",
    "qwix",
    "numpy",
    "jax-cuda12-plugin",
    "nvidia-cudnn-cu12",
)
"""Packages whose versions the report lists, besides the pinned ones."""


def report_of(session: RunningSession, outcome: str, failed: Failure | None = None, reason: str = "") -> Report:
    """Return the report of a session that ends now; `reason` is given if it yields without a failure."""
    order, numerics = session.order, session.output.numerics
    names = (*PACKAGES, *(packages.name_of(pin) for pin in order.pins))
    return Report(
        run=order.run,
        session=order.session,
        attempt=order.attempt,
        token=order.token,
        outcome=outcome,
        started=order.start,
        reached=session.reached,
        checkpoint=session.checkpoint,
        cause=failed.cause if failed else "",
        reason=failed.reason if failed else reason,
        transient=failed.transient if failed else False,
        traceback=failed.traceback if failed else "",
        stages=dict(session.stages),
        timings={**session.timings, "session_s": session.clock()},
        seconds=session.account.seconds(),
        stand_ins=tuple(sorted({name for pins in session.pins for name in pins.stand_ins})),
        numerics=numerics.without_packages if numerics else None,
        environment=_environment_of(session),
        versions={"python": platform.python_version(), **packages.versions(names)},
    )


def _environment_of(session: RunningSession) -> str:
    """Return what the packages were held to, also in the report of a session whose lock cannot be read."""
    try:
        return packages.wanted(session.order).description
    except StageFailed as error:
        return str(error)
