"""Changes of a run's pipeline as plain values, each with the last session that followed the pipeline before it. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from state.facts.base import Fact
from state.facts.run import PipelineChanged
from state.facts.session import PushIntended


def pipeline_changes(facts: Sequence[tuple[datetime, Fact]]) -> Iterator[dict[str, Any]]:
    """Yield each change of the pipeline, oldest first; `after_session` is None if no session was pushed before it."""
    session: int | None = None
    for at, fact in facts:
        if isinstance(fact, PushIntended):
            session = fact.number
        elif isinstance(fact, PipelineChanged):
            yield {
                "at": at.isoformat(),
                "after_session": session,
                "by": fact.by,
                "difference": fact.difference.splitlines(),
                "pipeline_digest": fact.pipeline_digest,
            }
