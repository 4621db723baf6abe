"""Finds out from the orders of a lost or restored run when its pipeline was changed."""

from orchestrator.core.pipeline_change import OPEN
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


def change_unknown_to(run: Run, order: Order) -> tuple[PipelineChanged, ...]:
    """Return the change that the order follows and an open run lacks; none if the order's pipeline cannot be read."""
    try:
        return change_before(run, order) if run.status in OPEN else ()
    except ValueError:  # ContractError, or a pipeline that only a newer relay understands
        return ()
