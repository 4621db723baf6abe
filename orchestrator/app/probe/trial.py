"""Uploads small files once per account, to see what Kaggle makes of files of different kinds."""

import gzip
import hashlib
import io
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.base.clock import Clock
from orchestrator.base.errors import Permanent
from orchestrator.base.humanize import duration
from orchestrator.core.assumptions import Evidence, Verdict
from orchestrator.kaggle.gateway import Gateway
from orchestrator.platforms.port import DatasetSeen

PREFIX = "relay-trial-"
DIGEST_CHARS = 8
DESCRIPTION = "Files that relay uploaded to see what Kaggle makes of them."
POLL_S = 10.0
WAIT_S_MAX = 3600.0
LISTED_S_MAX = 300.0
"""Longest wait for a complete list after the status became READY, in seconds."""
KEPT = (".bin", ".relay")
"""Suffixes that Kaggle is assumed to leave alone."""


@dataclass(frozen=True)
class TrialDataset:
    """Dataset of trial files: `owner/slug`, and the files' SHA-256 by name."""

    ref: str
    sha256: dict[str, str]

    @property
    def slug(self) -> str:
        """Name of the dataset."""
        return self.ref.partition("/")[2]


def trial_dataset(owner: str) -> TrialDataset:
    """Return the dataset of an account, whether or not it exists."""
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in trial_files().items()}
    digest = hashlib.sha256("".join(sha256.values()).encode()).hexdigest()[:DIGEST_CHARS]
    return TrialDataset(f"{owner}/{PREFIX}{digest}", sha256)


def trial_files() -> dict[str, bytes]:
    """Return the files by name: of unknown suffix, packed, and tabular."""
    text = b"a line of text\n"
    rows = b'{"question": "What is 2 + 3?", "answer": "5"}\n{"question": " spaces ", "answer": "\\u00e9"}\n'
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("relay-trial-packed.txt"), text)
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as members:
        member = tarfile.TarInfo("relay-trial-inside.txt")
        member.size = len(text)
        members.addfile(member, io.BytesIO(text))
    return {
        "relay-trial.bin": tar.getvalue(),  # a checkpoint is a tar archive without the suffix
        "relay-trial.relay": hashlib.shake_256(b"relay").digest(1 << 16),
        "relay-trial.jsonl": rows,
        "relay-trial.csv": b'name,value\r\n"a, b", 1\r\n\xc3\xa9,\r\n',
        "relay-trial.txt.gz": gzip.compress(text, mtime=0),
        "relay-trial.zip": packed.getvalue(),
    }


def publish_trial(gateway: Gateway, clock: Clock, say: Callable[[str], None]) -> tuple[Evidence, ...]:
    """Create the dataset unless the account has it, and wait until Kaggle has processed it.

    Returns what was seen while it was created; nothing if it was there before. Raises Permanent if Kaggle does not
    process it within an hour, or has something else under that name.
    """
    files, trial = trial_files(), trial_dataset(gateway.owner())
    existed = gateway.find_dataset(trial.slug) is not None
    if not existed:
        say(f"uploading {len(files)} small files as {trial.ref}")
        with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
            paths = [Path(folder) / name for name in files]
            for path in paths:
                path.write_bytes(files[path.name])
            gateway.create_dataset(trial.slug, paths, description=DESCRIPTION)
    sizes = {name: len(content) for name, content in files.items() if name.endswith(KEPT)}
    evidence = _awaited(trial.slug, sizes, gateway, clock)
    return () if existed else evidence


def _awaited(slug: str, sizes: dict[str, int], gateway: Gateway, clock: Clock) -> tuple[Evidence, ...]:
    """Wait until the dataset is ready and lists the files in full; returns what was seen."""
    began, shown_at, ready_at = clock.now(), None, None
    while True:
        seen, now = gateway.find_dataset(slug), clock.now()
        if seen is not None:
            shown_at = shown_at or now
            _refuse(seen)
            ready_at = ready_at or (now if seen.status == "ready" else None)
            whole = _lists(seen, sizes)
            if ready_at is not None and (whole or (now - ready_at).total_seconds() >= LISTED_S_MAX):
                return _evidence(seen, began, shown_at, ready_at, now, whole=whole)
        if (now - began).total_seconds() >= WAIT_S_MAX:
            raise Permanent(
                f"Kaggle has not processed the dataset {slug} within an hour: look at its page, then try again"
            )
        clock.sleep(POLL_S)


def _refuse(seen: DatasetSeen) -> None:
    if seen.status == "failed":
        raise Permanent(f"Kaggle could not process the dataset {seen.ref}: delete it there, then try again")
    if seen.status == "ready" and not seen.private:
        raise Permanent(f"the dataset {seen.ref} is public: make it private on Kaggle, then try again")


def _lists(seen: DatasetSeen, sizes: dict[str, int]) -> bool:
    listed = {file.name: file.size_bytes for file in seen.files}
    return all(listed.get(name) == size_bytes for name, size_bytes in sizes.items())


def _evidence(
    seen: DatasetSeen, began: datetime, shown_at: datetime, ready_at: datetime, at: datetime, *, whole: bool
) -> tuple[Evidence, ...]:
    shown_s, listed_s = (shown_at - began).total_seconds(), (at - ready_at).total_seconds()
    listed = f"files of unknown suffix were {'listed in full' if whole else 'not listed in full'} {duration(listed_s)} after READY"
    same = DESCRIPTION in seen.description
    return (
        Evidence(
            key="shown-soon", verdict=_verdict(shown_s <= 600), seen_at=at,
            detail=f"a new dataset was shown after {duration(shown_s)}", numbers={"shown_s": shown_s},
        ),
        Evidence(
            key="ready-means-listed", verdict=_verdict(whole and listed_s == 0), seen_at=at,
            detail=listed, numbers={"listed_s": listed_s},
        ),
        Evidence(
            key="description-returned", verdict=_verdict(same), seen_at=at,
            detail="the text is part of the answer" if same else "the answer has another text",
        ),
    )  # fmt: skip


def _verdict(fits: bool) -> Verdict:
    return Verdict.CONFIRMED if fits else Verdict.REFUTED
