"""Parse Kaggle's responses: pure translations of kagglesdk's response objects into relay's values.

`raw` is the JSON object as received. It is needed because kagglesdk fills every missing field with its default value,
which makes an error page's `{}` look like a queued session.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.base.errors import Ambiguous, NameTaken, NoSlot, OutOfQuota, Permanent, Refused, RelayError
from orchestrator.kaggle.refusals import dataset_refused, name_refused, sources_refused
from orchestrator.kaggle.transport import InvalidResponse
from orchestrator.kaggle.upload_journal import Slot
from orchestrator.platforms.file_names import output_file
from orchestrator.platforms.port import (
    RENAMED,
    DatasetFile,
    DatasetSeen,
    KernelFound,
    KernelListed,
    KernelPush,
    KernelPushed,
    KernelsPage,
    OutputFile,
    Quota,
    SessionSeen,
    Worker,
)

MESSAGE_CHARS_MAX = 2000
"""Length limit for messages from Kaggle, in characters; they end up in the database and on screens."""
QUOTA_S_MAX = 1e7
"""Largest plausible weekly quota, in seconds; larger values count as unknown (a week has 604,800 seconds)."""
YEARS = range(2000, 2200)
"""Plausible years of a quota refresh date; dates outside count as unknown."""

NO_SLOT = re.compile(
    r"(session count of \d+|maximum (number|batch)[^.]*sessions?\b|too many[^.]*sessions)", re.IGNORECASE
)
NO_QUOTA = re.compile(r"\bquota\b|\b(weekly|remaining)\b[^.]*\b(hours?|limit|time)\b", re.IGNORECASE)


def kernel_found(answer: Any, _raw: Mapping[str, Any]) -> KernelFound:
    """Parse a kernel.

    Raises InvalidResponse for a missing part: reading it as "no such kernel" could start a duplicate session.
    """
    metadata, blob = answer.metadata, answer.blob
    if metadata is None or blob is None or not (metadata.ref or metadata.slug):
        raise InvalidResponse("the answer holds no kernel")
    return KernelFound(
        ref=_ref(metadata.ref or metadata.slug),
        version=metadata.current_version_number or None,
        source=blob.source or "",
        private=bool(metadata.is_private),
    )


def kernel_slugs(answer: Any, _raw: Mapping[str, Any]) -> tuple[tuple[str, ...], str | None]:
    """Return the slugs of one page of kernels and the next page's token; skips entries without a name."""
    return _slugs(answer.kernels), answer.next_page_token or None


def kernels_listed(answer: Any, _raw: Mapping[str, Any]) -> KernelsPage:
    """Parse one page of kernels, in Kaggle's order."""
    found = [(_ref(entry.ref), entry) for entry in answer.kernels or () if entry.ref]
    kernels = (
        KernelListed(
            slug=ref.partition("/")[2], machine_shape=entry.machine_shape or "", ran_at=_aware(entry.last_run_time)
        )
        for ref, entry in found
        if "/" in ref
    )
    return KernelsPage(kernels=tuple(kernels), following=answer.next_page_token or None)


def dataset_slugs(answer: Any, _raw: Mapping[str, Any]) -> tuple[tuple[str, ...], str | None]:
    """Return the slugs of one page of datasets and the next page's token."""
    return _slugs(answer.datasets), answer.next_page_token or None


def _slugs(entries: Any) -> tuple[str, ...]:
    refs = (_ref(entry.ref) for entry in entries or () if entry.ref)
    return tuple(ref.partition("/")[2] for ref in refs if "/" in ref)


def push_refused(reason: str, slug: str) -> RelayError:
    """Map the reason for which Kaggle declined a push to an error."""
    text = f"Kaggle declined to run {slug}: {reason[:MESSAGE_CHARS_MAX]}"
    if NO_SLOT.search(reason):
        return NoSlot(text)
    if NO_QUOTA.search(reason):
        return OutOfQuota(text)
    return NameTaken(text) if name_refused(reason) else Refused(text)


def kernel_pushed(answer: Any, kernel: KernelPush, owner: str) -> KernelPushed:
    """Parse an accepted push. Raises the matching error for failures that Kaggle reports with HTTP 200."""
    if answer.error:
        raise push_refused(answer.error, kernel.slug)
    if not answer.ref:
        raise Ambiguous(f"Kaggle answered the push of {kernel.slug} without naming a kernel, so it may be running")
    ref = _ref(answer.ref)
    if ref.casefold() != f"{owner}/{kernel.slug}".casefold():
        raise Permanent(f"{RENAMED} {owner}/{kernel.slug} to {ref}, which is running now: stop it there")
    if rejected := _rejected_sources(answer):
        raise sources_refused(ref, ", ".join(rejected)[:MESSAGE_CHARS_MAX])
    return KernelPushed(ref=ref, version=answer.version_number or None)


def _rejected_sources(answer: Any) -> list[str]:
    kinds = {
        "dataset": answer.invalid_dataset_sources,
        "kernel": answer.invalid_kernel_sources,
        "model": answer.invalid_model_sources,
        "competition": answer.invalid_competition_sources,
    }
    return [f"{kind} {name}" for kind, names in kinds.items() for name in names or ()]


def _ref(text: str) -> str:
    """Extract `owner/slug` from the forms that Kaggle uses: `/code/owner/slug`, `owner/slug/7`, a full URL."""
    path = re.sub(r"^https?://[^/]+", "", text).strip("/")
    parts = [part for part in re.sub(r"^(code|kernels|datasets)/", "", path).split("/") if part]
    return "/".join(parts[:2])


def session_seen(answer: Any, raw: Mapping[str, Any]) -> SessionSeen:
    """Parse a session's status.

    QUEUED is the enum's zero, and zeros are omitted on the wire, so a genuine QUEUED is an object without `status`. An
    object that holds unknown keys instead raises InvalidResponse. A wrong QUEUED is harmless: it is not terminal.
    """
    if "status" not in raw and (foreign := set(raw) - {"failureMessage"}):
        raise InvalidResponse(f"the answer holds no status, but {_named(foreign)}")
    name = str(answer.status.name).lower()
    message = (answer.failure_message or "")[:MESSAGE_CHARS_MAX]
    if name not in set(Worker):
        return SessionSeen(worker=Worker.UNKNOWN, message=f"Kaggle gives the status {name}. {message}".strip())
    return SessionSeen(worker=Worker(name), message=message)


def _named(keys: Iterable[str]) -> str:
    return ", ".join(sorted(keys))[:MESSAGE_CHARS_MAX]


def output_page(answer: Any, _raw: Mapping[str, Any]) -> tuple[tuple[OutputFile, ...], str | None]:
    """Return the output files of one page and the next page's token."""
    if any(not file.file_name or not file.url for file in answer.files or ()):
        raise InvalidResponse("a listed output file has no name or no address")
    files = tuple(output_file(file.file_name, file.url) for file in answer.files or ())
    return files, answer.next_page_token or None


def dataset_page(answer: Any, _raw: Mapping[str, Any]) -> tuple[tuple[DatasetFile, ...], str | None]:
    """Return the dataset files of one page and the next page's token."""
    if answer.error_message:
        raise InvalidResponse(f"the listing says: {answer.error_message[:MESSAGE_CHARS_MAX]}")
    files = tuple(
        DatasetFile(name=file.name or "", size_bytes=file.total_bytes or 0) for file in answer.dataset_files or ()
    )
    return files, answer.next_page_token or None


def dataset(answer: Any, _raw: Mapping[str, Any]) -> Any:
    """Return the dataset; raises InvalidResponse if the answer does not hold one."""
    if not answer.ref:
        raise InvalidResponse("the answer holds no dataset")
    return answer


def dataset_status(answer: Any, raw: Mapping[str, Any]) -> str:
    """Return Kaggle's status in lower case. Zero (`not_yet_persisted`) is omitted on the wire, as in `session_seen`."""
    if "status" not in raw and raw:
        raise InvalidResponse(f"the answer holds no status, but {_named(raw)}")
    return str(answer.status.name).lower()


def dataset_seen(found: Any, status: str, files: tuple[DatasetFile, ...]) -> DatasetSeen:
    """Combine everything read about a dataset; version 0 if Kaggle gives none yet."""
    return DatasetSeen(
        ref=_ref(found.ref),
        version=found.current_version_number or 0,
        status=status,
        private=bool(found.is_private),
        files=files,
        description=found.description or "",
    )


def model_instance(answer: Any, _raw: Mapping[str, Any]) -> Any:
    """Return a model's variation; raises InvalidResponse if the answer does not hold one."""
    if not answer.slug:
        raise InvalidResponse("the answer holds no model")
    return answer


def model_files(answer: Any, _raw: Mapping[str, Any]) -> tuple[DatasetFile, ...]:
    """Return the model files of one page."""
    return tuple(DatasetFile(name=file.name or "", size_bytes=file.size or 0) for file in answer.files or ())


def model_page(answer: Any, raw: Mapping[str, Any]) -> tuple[tuple[DatasetFile, ...], str | None]:
    """Return the model files of one page and the next page's token."""
    return model_files(answer, raw), answer.next_page_token or None


def upload_slot(answer: Any, _raw: Mapping[str, Any]) -> Slot:
    """Parse a blob's token and upload URL."""
    if not answer.token or not answer.create_url:
        raise InvalidResponse("the answer holds no address to upload to")
    return Slot(answer.token, answer.create_url)


def dataset_created(answer: Any, slug: str, owner: str) -> None:
    """Raise Refused (see `refusals`) if Kaggle declined, Ambiguous if the answer does not say."""
    if answer.error or (answer.status or "ok").lower() == "error":
        raise dataset_refused(slug, (answer.error or "it gave no reason")[:MESSAGE_CHARS_MAX])
    place = answer.ref or answer.url
    if not place:
        raise Ambiguous(f"Kaggle answered the creation of dataset {slug} without naming it, so it may exist")
    if _ref(place).casefold() != f"{owner}/{slug}".casefold():
        raise Permanent(
            f"Kaggle renamed the dataset {owner}/{slug} to {_ref(place)}: delete it there and choose another name"
        )


def quota_of(answer: Any, accelerator: str) -> Quota | None:
    """Parse the quota of `tpu` or `gpu`; values that Kaggle omits are unknown, not zero."""
    part = getattr(answer, f"{accelerator}_quota")
    if part is None:
        return None
    return Quota(
        used_s=max(0.0, _seconds(part.time_used) or 0.0),
        reserved_s=max(0.0, _seconds(part.time_reserved) or 0.0),
        total_s=_seconds(part.total_time_allowed),
        refreshes_at=_aware(answer.quota_refresh_time),
        ever_run=bool(part.has_ever_run),
    )


def _seconds(value: timedelta | None) -> float | None:
    """Return plausible quota seconds; None for any other value."""
    seconds = None if value is None else value.total_seconds()
    return seconds if seconds is not None and 0 <= seconds <= QUOTA_S_MAX else None


def _aware(value: datetime | None) -> datetime | None:
    """Return the time in UTC; None if missing or outside YEARS, or if the conversion overflows (end of year 9999)."""
    if value is None or value.year not in YEARS:
        return None
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        return None
