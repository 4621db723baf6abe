"""Reads the weekly quota."""

from orchestrator.base.errors import Refused, Transient
from orchestrator.core.commands import ReadQuota
from orchestrator.engine.effects.context import EffectContext, EffectResult
from state.model.snapshot import QuotaRow, Snapshot

QUOTA_TRIES = 3
"""Number of attempts to read the quota. After that relay goes on: Kaggle declines a session without quota."""


def read_quota(command: ReadQuota, snapshot: Snapshot, shell: EffectContext) -> EffectResult:
    """Read the weekly quota; a missing answer is unknown, not zero. The last known renewal time is kept."""
    try:
        found = shell.gateway.quota(command.accelerator)
    except (Transient, Refused):
        if snapshot.watch.failures + 1 < QUOTA_TRIES:
            raise
        found = None
    before = snapshot.quota.refreshes_at if snapshot.quota else None
    row = QuotaRow(
        owner=snapshot.state.run.owner,
        accelerator=command.accelerator,
        used_s=found.used_s if found else 0.0,
        reserved_s=found.reserved_s if found else 0.0,
        total_s=found.total_s if found else None,
        refreshes_at=(found.refreshes_at if found else None) or before,
        read_at=shell.clock.now(),
    )
    return EffectResult(quota=row)
