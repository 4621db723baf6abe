"""Verdicts on the answers of an evaluation, read from the artifact that it wrote. Pure."""

from stages.safe_text import OddJson, read_json

VERDICTS_READ_MAX = 100_000


def verdicts_in(artifact: str) -> dict[str, bool]:
    """Return whether each problem was solved, by its key. Lines that are no verdicts are skipped.

    A problem on which the lines disagree is left out: nothing says which of them holds.
    """
    found: dict[str, bool] = {}
    contradicted = set()
    for line in artifact.splitlines()[:VERDICTS_READ_MAX]:
        try:
            row = read_json(line, left_out=True)
        except OddJson:
            continue
        if not (isinstance(row, dict) and isinstance(row.get("key"), str) and isinstance(row.get("right"), bool)):
            continue
        if found.setdefault(row["key"], row["right"]) != row["right"]:
            contradicted.add(row["key"])
    return {key: right for key, right in found.items() if key not in contradicted}
