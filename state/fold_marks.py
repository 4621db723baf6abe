"""Marks of verified runs: digests of a run's log and of its rows, written with the facts by the store that folded them.

Folding a log of a hundred sessions takes a quarter of a second, hashing its bytes a few milliseconds. A reader that finds
the bytes of log and rows unchanged since the store compared them need not fold. Any other byte, in the log, in the rows
or in the mark itself, makes the mark useless, and the whole log is folded as if there were none.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from state.digests import BEGINNING, link_text
from state.queries import FACTS_OF, StoredRows, stored_rows
from state.sql import Query, Row
from state.tables import upsert

MARK = "SELECT * FROM fold_mark WHERE run = :run"
NEWEST_FACT_ROW = "SELECT id, digest FROM fact WHERE run = :run ORDER BY id DESC LIMIT 1"
STORED_BYTES = """
    SELECT typeof(at) = 'text' AND typeof(name) = 'text' AND typeof(data) = 'text' AS texts,
    CAST(at AS BLOB), CAST(name AS BLOB), CAST(data AS BLOB), CAST(digest AS BLOB)
    FROM fact WHERE run = :run ORDER BY id
"""


@dataclass(frozen=True)
class MarkedLog:
    """Log of a run whose bytes, like those of its rows, are the ones that the store verified."""

    fact: int
    """Number of the newest fact."""
    digest: str
    facts: Sequence[Row]


def write_mark(query: Query, run: str) -> None:
    """Mark a run as verified, within the transaction that wrote the facts and the rows that they fold to."""
    newest = next(query(NEWEST_FACT_ROW, run=run))
    digests = {"log_digest": newest["digest"], "rows_digest": rows_digest(stored_rows(query, run))}
    upsert(query, "fold_mark", {"run": run, "fact": newest["id"], **digests}, ["run"])


def marked_log(query: Query, run: str, rows: StoredRows) -> MarkedLog | None:
    """Return the run's log if its bytes and those of `rows` agree with the run's mark, else None."""
    mark = next(query(MARK, run=run), None)
    if mark is None or mark["rows_digest"] != rows_digest(rows):
        return None
    facts = list(query(FACTS_OF, run=run))
    if not facts or (facts[-1]["id"], _chained(run, facts)) != (mark["fact"], mark["log_digest"]):
        return None
    return MarkedLog(mark["fact"], mark["log_digest"], facts)


def agrees_with_mark(query: Query, run: str) -> bool:
    """Return whether the bytes of the run's log and rows agree with its mark. Raises KeyError for an unknown run."""
    mark = next(query(MARK, run=run), None)
    if mark is None or mark["rows_digest"] != rows_digest(stored_rows(query, run)):
        return False
    newest = next(query(NEWEST_FACT_ROW, run=run), None)
    if newest is None or (newest["id"], newest["digest"]) != (mark["fact"], mark["log_digest"]):
        return False
    digest, name_of_run = BEGINNING.encode(), run.encode()
    for texts, at, name, data, stated in query(STORED_BYTES, run=run):  # as `digests.link_text`, without decoding
        digest = hashlib.sha256(b"\n".join((digest, name_of_run, at, name, data))).hexdigest().encode()
        if not texts or digest != stated:
            return False
    return True


def rows_digest(rows: StoredRows) -> str:
    """Return a digest of everything in a run's rows, as SQLite returns it."""
    found = hashlib.sha256()
    for row in (rows.run, *rows.sessions, *rows.checkpoints):
        found.update(repr(tuple(row)).encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def _chained(run: str, facts: Iterable[Row]) -> str | None:
    """Return the digest of the last fact, computed from the stored text of all of them; None if one has another."""
    digest = BEGINNING
    for row in facts:
        try:
            digest = link_text(digest, run, row["at"], row["name"], row["data"])
        except (TypeError, UnicodeEncodeError):  # a damaged row holds another type
            return None
        if digest != row["digest"]:
            return None
    return digest
