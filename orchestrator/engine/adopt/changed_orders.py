"""Finds out from the orders of a lost run when its pipeline was changed."""

from orchestrator.pipeline.change_text import change_lines
from orchestrator.pipeline.model import Pipeline, canonical_in
from stages.contract import Order
from state.facts.run import PipelineChanged
from state.model.run_state import Run


def change_before(run: Run, order: Order) -> tuple[PipelineChanged, ...]:
    """Return the fact that the pipeline was changed before this order; none if the order follows the run's pipeline."""
    text = canonical_in(order) if order.pipeline_digest != run.pipeline_digest else None
    if text is None:
        return ()
    lines = change_lines(Pipeline.from_canonical(run.pipeline), Pipeline.from_canonical(text))
    changed = PipelineChanged(
        pipeline=text,
        pipeline_digest=order.pipeline_digest,
        pipeline_path=run.pipeline_path,
        difference="\n".join(lines),
    )
    return (changed,)
