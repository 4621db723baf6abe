"""The compilers and machines with which a run's checkpoints were computed, and where they changed, as plain values. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stages.numerics import WARN, Numerics
from state.model.run_state import Checkpoint, RunState


def numerics_document(state: RunState) -> dict[str, Any]:
    """Describe what determines the bits of a run.

    `newest` is the record of the newest checkpoint whose session computed numbers, with the
    digest of its packages, or None.
    `changes` lists the sessions that differ from the one before them, oldest first, each with its parts.
    `unknown_before` is the first session whose parent has no record, or None.
    """
    found = [(checkpoint, record) for checkpoint in state.checkpoints if (record := checkpoint.numerics) is not None]
    newest = next((record for _, record in reversed(found) if record.claims), None)
    return {
        "exactness": json.loads(state.run.pipeline).get("exactness", WARN),
        "newest": _shown(newest) if newest else None,
        "changes": list(_changes(found)),
        "unknown_before": next((checkpoint.session for checkpoint, record in found if record.parent_unknown), None),
    }


def numerics_sentences(numerics: Mapping[str, Any]) -> list[str]:
    """Return what a person should know about a run's bits: one sentence for each session that may compute others."""
    found = []
    if (session := numerics["unknown_before"]) is not None:
        found.append(
            f"the checkpoint from which session {session} started does not say how it was computed, so nothing is known of "
            "the bits before it"
        )
    for changed in numerics["changes"]:
        if changed["changes_bits"]:
            told = "; ".join(part["text"] for part in changed["parts"] if part["changes_bits"])
            found.append(f"from session {changed['session']} on other bits are possible: {told}")
    return found


def _changes(found: Sequence[tuple[Checkpoint, Numerics]]) -> Iterator[dict[str, Any]]:
    for checkpoint, record in found:
        if not record.changes:
            continue
        yield {
            "session": checkpoint.session,
            "attempt": checkpoint.attempt,
            "checkpoint": checkpoint.name,
            "changes_bits": bool(record.breaking),
            "parts": [
                {
                    **{key: getattr(change, key) for key in ("part", "before", "after", "changes_bits")},
                    "text": change.text,
                }
                for change in record.changes
            ],
        }


def _shown(record: Numerics) -> dict[str, Any]:
    return {
        "machine": dict(record.machine),
        "settings": dict(record.settings),
        "packages_sha256": record.packages_sha256,
        "summary": record.summary,
    }
