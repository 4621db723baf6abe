"""The table that `relay verify-resume` prints, and the sentence below it."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.rehearsal.verify.chain import ResumeVerdict
from orchestrator.rehearsal.verify.comparing import Compared
from orchestrator.rehearsal.verify.cuts import CutKind

FORMAT = 1

WORDS = {
    CutKind.YIELD: "ended itself",
    CutKind.BOUNDARY: "ended itself between stages",
    CutKind.KILL: "killed in the next step",
    CutKind.BEFORE_SAVE: "killed as it began to save",
    CutKind.AFTER_SAVE: "killed right after saving",
}


def verdict_view(verdict: ResumeVerdict) -> RenderableType:
    """Render one row per session, starting with the one before the first cut, and the summary sentence."""
    table = Table(box=None, padding=(0, 1), show_edge=False, header_style="dim")
    table.add_column("", justify="right")
    for name in ("cut after", "how", "resumed from"):
        table.add_column(name, no_wrap=True)
    for name in ("steps", "losses", "batches", "rollouts", "parameters", "optimizer", "other"):
        table.add_column(name, justify="right")
    for number, session in enumerate(verdict.sessions):
        table.add_row(str(number or ""), *_cells(session), style="" if session.differing == 0 else "red")
    note = "losses, batches, rollouts: steps in which they differ; parameters, optimizer, other: bits that differ"
    computed = [Text(f"computed with {verdict.numerics.summary}:")] if verdict.numerics else []
    return Group(table, Text(note, style="dim"), *computed, Text(sentence(verdict)))


def verdict_document(verdict: ResumeVerdict) -> dict[str, Any]:
    """Return the verdict as a JSON document (see docs/json.md)."""
    bits = verdict.bits
    return {
        "format": FORMAT,
        "equal": verdict.equal,
        "cuts": verdict.cuts,
        "bits_compared": bits.compared,
        "bits_differing": bits.differing,
        "steps_missing": verdict.missing,
        "numerics": verdict.numerics.to_dict() if verdict.numerics else None,
        "sessions": [_session(session) for session in verdict.sessions],
    }


def _session(session: Compared) -> dict[str, Any]:
    cut, start = session.cut, session.start
    return {
        "cut": cut and {"stage": cut.at.stage, "step": cut.at.step, "how": cut.how.value},
        "from": start and {"stage": start.stage, "step": start.step},
        "steps": session.steps,
        "losses_differing": session.losses,
        "batches_differing": session.batches,
        "rollouts_differing": session.rollouts,
        "steps_unmatched": session.unmatched,
        "bits_differing": {
            "parameters": session.bits.parameters,
            "optimizer": session.bits.optimizer,
            "other": session.bits.other,
        },
    }


def sentence(verdict: ResumeVerdict) -> str:
    """Return the summary sentence: how many bits differ, and which losses, batches, rollouts or steps do."""
    bits, cuts = verdict.bits, verdict.cuts
    text = f"{bits.differing:,} of {bits.compared:,} bits differ at {cuts} {'cut' if cuts == 1 else 'cuts'}"
    others = {
        "losses": sum(session.losses for session in verdict.sessions),
        "batches": sum(session.batches for session in verdict.sessions),
        "rollouts": sum(session.rollouts for session in verdict.sessions),
        "steps or checkpoints that only one run has": sum(s.unmatched for s in verdict.sessions) + verdict.missing,
    }
    steps = sum(session.steps for session in verdict.sessions)
    odd = [f"{count} {name}" for name, count in others.items() if count]
    return f"{text}; of {steps:,} steps {', '.join(odd) or 'no loss, no batch and no rollout'} differ{'s' if not odd else ''}"


def _cells(session: Compared) -> list[str]:
    place = f"{session.cut.at.stage} {session.cut.at.step}" if session.cut else "the beginning"
    start = f"{session.start.stage} {session.start.step}" if session.start else "nothing"
    how = WORDS[session.cut.how] if session.cut else ""
    counts = (session.steps, session.losses, session.batches, session.rollouts)
    bits = (session.bits.parameters, session.bits.optimizer, session.bits.other)
    return [place, how, start, *(f"{number:,}" for number in (*counts, *bits))]
