"""Parts of a run's document that come from its log: damage, changes of pipeline and platform, memory, published models."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from orchestrator.platforms.names import word_in
from orchestrator.views.fact_documents import damage_document, model_document
from orchestrator.views.memory_peaks import measured_document
from orchestrator.views.pipeline_changes import pipeline_changes
from orchestrator.views.platform_moves import platform_moves
from state.facts.base import Fact
from state.facts.checkpoint import DamageFound, ModelPublished
from state.model.metrics import Metric
from state.model.run_state import RunState


def log_document(
    state: RunState, facts: Sequence[tuple[datetime, Fact]], metrics: Sequence[Metric] = ()
) -> dict[str, Any]:
    """Return `damage`, `changes`, `moves`, `memory` (with the newest metrics of the live session) and `models`."""
    platforms = [word_in(stored) for stored in (*(left.site for left in state.run.left_platforms), state.run.pipeline)]
    return {
        "damage": [damage_document(at, fact) for at, fact in facts if isinstance(fact, DamageFound)],
        "changes": [*pipeline_changes(facts)],
        "moves": [*platform_moves(state, platforms, facts)],
        "memory": measured_document(facts, metrics),
        "models": [model_document(at, fact) for at, fact in facts if isinstance(fact, ModelPublished)],
    }
