"""Tries two things that no run of relay depends on: a deleted dataset's name, and a source that names an older version."""

import hashlib
import secrets
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.app.probe.trial import DESCRIPTION, PREFIX
from orchestrator.base.clock import Clock
from orchestrator.base.errors import Ambiguous, NameTaken, Refused, Transient
from orchestrator.core.assumptions import Evidence, Verdict
from orchestrator.core.probe_evidence import VERSIONS_PREFIX, evidence
from orchestrator.kaggle.gateway import Gateway
from stages.probing.mounts import VERSION_FILE

NAME_PREFIX = f"{PREFIX}name-"
CONTENTS = (b"version one\n", b"version number two\n")
"""Contents of the file in each version, of different sizes."""
POLL_S = 5.0
WAIT_S_MAX = 900.0
"""Longest wait for Kaggle to process one of these small datasets, in seconds."""
UNCLEAR = (Ambiguous, Refused, Transient)


@dataclass(frozen=True)
class VersionedSource:
    """Dataset with two versions as a source of the first one, `owner/slug/1`, and the SHA-256 of the file in each."""

    ref: str
    sha256: tuple[str, ...]


def versioned_source(owner: str) -> VersionedSource:
    """Return the source of an account, whether or not the dataset exists."""
    sha256 = tuple(hashlib.sha256(content).hexdigest() for content in CONTENTS)
    return VersionedSource(f"{owner}/{_versions_slug()}/1", sha256)


def _versions_slug() -> str:
    return f"{VERSIONS_PREFIX}{hashlib.sha256(b''.join(CONTENTS)).hexdigest()[:8]}"


def publish_versions(gateway: Gateway, clock: Clock, say: Callable[[str], None]) -> str:
    """Create the dataset with its two versions, as far as the account lacks them; returns why it could not, or nothing.

    A version that Kaggle does not process in time counts as a reason: nothing else of the probe depends on it.
    """
    slug = _versions_slug()
    try:
        seen = gateway.find_dataset(slug)
        for number, content in enumerate(CONTENTS, 1):
            if seen is not None and seen.version >= number:
                continue
            say(f"uploading version {number} of {slug}, which has one small file")
            _upload(gateway, slug, content, number)
            if not _awaited(gateway, clock, slug, number, len(content)):
                return f"Kaggle did not process version {number} of the trial dataset in time"
    except UNCLEAR as error:
        return f"version of the trial dataset not created: {error}"
    return ""


def _upload(gateway: Gateway, slug: str, content: bytes, number: int) -> None:
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        path = Path(folder) / VERSION_FILE
        path.write_bytes(content)
        if number == 1:
            gateway.create_dataset(slug, [path], description=DESCRIPTION)
        else:
            gateway.add_dataset_version(slug, [path], f"version {number}")


def _awaited(gateway: Gateway, clock: Clock, slug: str, version: int, size_bytes: int) -> bool:
    """Wait until the version is shown, ready and listed; returns False if that takes too long."""
    began, wanted = clock.now(), [(VERSION_FILE, size_bytes)]
    while True:
        seen = gateway.find_dataset(slug)
        listed = [(file.name, file.size_bytes) for file in seen.files] if seen is not None else []
        if seen is not None and seen.status == "ready" and seen.version >= version and listed == wanted:
            return True
        if (clock.now() - began).total_seconds() >= WAIT_S_MAX:
            return False
        clock.sleep(POLL_S)


def try_deleted_name(gateway: Gateway, clock: Clock, say: Callable[[str], None]) -> tuple[Evidence, ...]:
    """Create a dataset, delete it, and create it again under the same name; returns what was seen.

    Nothing is left on Kaggle, except a dataset whose deletion fails.
    """
    slug = f"{NAME_PREFIX}{secrets.token_hex(3)}"
    say(f"creating and deleting {slug}, to see whether its name can be used again")
    try:
        _upload(gateway, slug, CONTENTS[0], 1)
        if not _awaited(gateway, clock, slug, 1, len(CONTENTS[0])):
            return (_name(clock, Verdict.UNKNOWN, "Kaggle did not process the trial dataset in time"),)
        gateway.delete_dataset(slug)
    except UNCLEAR as error:
        return (_name(clock, Verdict.UNKNOWN, f"the trial dataset could not be created and deleted: {error}"),)
    try:
        _upload(gateway, slug, CONTENTS[0], 1)
    except NameTaken:
        return (_name(clock, Verdict.REFUTED, "right after its deletion, the name of a dataset was taken"),)
    except UNCLEAR as error:
        return (_name(clock, Verdict.UNKNOWN, f"the trial dataset could not be created again: {error}"),)
    if not _awaited(gateway, clock, slug, 1, len(CONTENTS[0])):
        return (_name(clock, Verdict.UNKNOWN, "the trial dataset was accepted again, and not shown"),)
    try:
        gateway.delete_dataset(slug)
    except UNCLEAR as error:
        say(f"{slug} is still there, and can be deleted on its page: {error}")
    return (_name(clock, Verdict.CONFIRMED, "a dataset was created again under the name of a deleted one"),)


def _name(clock: Clock, verdict: Verdict, detail: str) -> Evidence:
    return evidence("deleted-name-free", verdict, clock.now(), detail, {})


def untried(known: Sequence[Evidence]) -> bool:
    """Return True if it is not yet known of the account whether a deleted name can be used again."""
    return not any(seen.key == "deleted-name-free" and seen.verdict is not Verdict.UNKNOWN for seen in known)
