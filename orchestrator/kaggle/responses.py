"""What Kaggle's answers mean in our words: pure translations of kagglesdk's response objects.

`raw` is the JSON object as it came. It matters because kagglesdk reads any object without the expected fields as if all of
them had their default value, which makes an error page's `{}` look like a queued session.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.base.errors import Ambiguous, NameTaken, NoSlot, OutOfQuota, Permanent, Refused, RelayError
from orchestrator.kaggle.gateway import (
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
from orchestrator.kaggle.refusals import dataset_refused, name_refused
from orchestrator.kaggle.transfer import output_file
from orchestrator.kaggle.transport import InvalidResponse
from orchestrator.kaggle.upload_journal import Slot

MESSAGE_CHARS_MAX = 2000
"""Of what Kaggle says in words; it ends in the database and on a screen."""
QUOTA_S_MAX = 1e7
"""Seconds of a week's quota beyond which a number is none: a week has six hundred thousand."""
YEARS = range(2000, 2200)
"""In which a quota can be renewed; other dates are outside what can be reckoned with."""

NO_SLOT = re.compile(
    r"(session count of \d+|maximum (number|batch)[^.]*sessions?\b|too many[^.]*sessions)", re.IGNORECASE
)
NO_QUOTA = re.compile(r"\bquota\b|\b(weekly|remaining)\b[^.]*\b(hours?|limit|time)\b", re.IGNORECASE)


def kernel_found(answer: Any, _raw: Mapping[str, Any]) -> KernelFound:
    """Raises Nonsense where a part is missing: taking that for "no such kernel" could start a second session."""
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
    """The slugs of one page of kernels and the token of the next one; an entry without a name tells nothing."""
    return _slugs(answer.kernels), answer.next_page_token or None


def kernels_listed(answer: Any, _raw: Mapping[str, Any]) -> KernelsPage:
    """One page of kernels, in Kaggle's order."""
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
    """The slugs of one page of datasets and the token of the next one."""
    return _slugs(answer.datasets), answer.next_page_token or None


def _slugs(entries: Any) -> tuple[str, ...]:
    refs = (_ref(entry.ref) for entry in entries or () if entry.ref)
    return tuple(ref.partition("/")[2] for ref in refs if "/" in ref)


def push_refused(reason: str, slug: str) -> RelayError:
    """The error for a push that Kaggle declined in these words."""
    text = f"Kaggle declined to run {slug}: {reason[:MESSAGE_CHARS_MAX]}"
    if NO_SLOT.search(reason):
        return NoSlot(text)
    if NO_QUOTA.search(reason):
        return OutOfQuota(text)
    return NameTaken(text) if name_refused(reason) else Refused(text)


def kernel_pushed(answer: Any, kernel: KernelPush, owner: str) -> KernelPushed:
    """The accepted push. Raises by remedy for all that a status of 200 can hide."""
    if answer.error:
        raise push_refused(answer.error, kernel.slug)
    if not answer.ref:
        raise Ambiguous(f"Kaggle answered the push of {kernel.slug} without naming a kernel, so it may be running")
    ref = _ref(answer.ref)
    if ref.casefold() != f"{owner}/{kernel.slug}".casefold():
        raise Permanent(
            f"Kaggle renamed the kernel {owner}/{kernel.slug} to {ref}, which is running now: stop it there"
        )
    if rejected := _rejected_sources(answer):
        raise Permanent(
            f"Kaggle does not accept these sources of {ref}: {', '.join(rejected)[:MESSAGE_CHARS_MAX]}; "
            "the kernel runs now without its input and spends quota: stop it on its page"
        )
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
    """`owner/slug` out of the forms that Kaggle uses: `/code/owner/slug`, `owner/slug/7`, a whole address."""
    path = re.sub(r"^https?://[^/]+", "", text).strip("/")
    parts = [part for part in re.sub(r"^(code|kernels|datasets)/", "", path).split("/") if part]
    return "/".join(parts[:2])


def session_seen(answer: Any, raw: Mapping[str, Any]) -> SessionSeen:
    """The status.

    QUEUED is the enum's zero and zeros are left out on the wire, so an honest QUEUED is an object without `status`. It is
    believed only where nothing foreign stands beside it. Even so it is weak evidence, and harmless: it is not terminal.
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
    """The files of one page and the token of the next one."""
    if any(not file.file_name or not file.url for file in answer.files or ()):
        raise InvalidResponse("a listed output file has no name or no address")
    files = tuple(output_file(file.file_name, file.url) for file in answer.files or ())
    return files, answer.next_page_token or None


def dataset_page(answer: Any, _raw: Mapping[str, Any]) -> tuple[tuple[DatasetFile, ...], str | None]:
    """The files of one page and the token of the next one."""
    if answer.error_message:
        raise InvalidResponse(f"the listing says: {answer.error_message[:MESSAGE_CHARS_MAX]}")
    files = tuple(
        DatasetFile(name=file.name or "", size_bytes=file.total_bytes or 0) for file in answer.dataset_files or ()
    )
    return files, answer.next_page_token or None


def dataset(answer: Any, _raw: Mapping[str, Any]) -> Any:
    """The dataset itself, once the answer is known to hold one. Raises Nonsense otherwise, as for kernels."""
    if not answer.ref:
        raise InvalidResponse("the answer holds no dataset")
    return answer


def dataset_status(answer: Any, raw: Mapping[str, Any]) -> str:
    """Kaggle's word in lower case. Zero (`not_yet_persisted`) is left out on the wire, as in `session_seen`."""
    if "status" not in raw and raw:
        raise InvalidResponse(f"the answer holds no status, but {_named(raw)}")
    return str(answer.status.name).lower()


def dataset_seen(found: Any, status: str, files: tuple[DatasetFile, ...]) -> DatasetSeen:
    """All that was read of a dataset; version 0 where Kaggle gives none yet."""
    return DatasetSeen(
        ref=_ref(found.ref),
        version=found.current_version_number or 0,
        status=status,
        private=bool(found.is_private),
        files=files,
        description=found.description or "",
    )


def model_instance(answer: Any, _raw: Mapping[str, Any]) -> Any:
    """A model's variation, once the answer is known to hold one. Raises Nonsense otherwise."""
    if not answer.slug:
        raise InvalidResponse("the answer holds no model")
    return answer


def model_files(answer: Any, _raw: Mapping[str, Any]) -> tuple[DatasetFile, ...]:
    """The files of one page."""
    return tuple(DatasetFile(name=file.name or "", size_bytes=file.size or 0) for file in answer.files or ())


def slot(answer: Any, _raw: Mapping[str, Any]) -> Slot:
    """Where a blob goes."""
    if not answer.token or not answer.create_url:
        raise InvalidResponse("the answer holds no address to upload to")
    return Slot(answer.token, answer.create_url)


def dataset_created(answer: Any, slug: str, owner: str) -> None:
    """Raises Refused (see `refusals`) where Kaggle declined, Ambiguous where the answer says neither."""
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
    """Quota of `tpu` or `gpu`; what Kaggle leaves out is unknown, not zero."""
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
    """Seconds that a quota can have; any others are unknown."""
    seconds = None if value is None else value.total_seconds()
    return seconds if seconds is not None and 0 <= seconds <= QUOTA_S_MAX else None


def _aware(value: datetime | None) -> datetime | None:
    """The time in UTC; None too for one that no calendar has there, such as the last hours of the year 9999 west of Greenwich."""
    if value is None or value.year not in YEARS:
        return None
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        return None
