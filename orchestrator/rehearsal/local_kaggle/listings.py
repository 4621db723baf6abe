"""Filters and order of ListKernels, ListDatasets and ListModels; a filter that cannot be evaluated here is refused.

There are no votes, views, forks, comments or scores here. All such counts are equal, so an order by them is the default
order, newest first.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import TypeVar

from orchestrator.rehearsal.local_kaggle.datasets import Dataset
from orchestrator.rehearsal.local_kaggle.json_codec import Ask, total_bytes
from orchestrator.rehearsal.local_kaggle.kernel_records import Kernel
from orchestrator.rehearsal.local_kaggle.model_records import KaggleModel
from orchestrator.rehearsal.local_kaggle.rules import KaggleRefusal

T = TypeVar("T", Kernel, Dataset, KaggleModel)

LICENSE_GROUPS = {
    "CC": ("cc", "attribution"),
    "GPL": ("gpl", "gnu", "lgpl", "agpl"),
    "ODB": ("odb", "odc", "dbcl", "pddl"),
}
"""Licence name prefixes for each group of `datasets list --license`; `other` is every licence in none of them."""

FILE_TYPES = {
    "CSV": (".csv",),
    "SQLITE": (".sqlite", ".sqlite3", ".db"),
    "JSON": (".json", ".jsonl"),
    "PARQUET": (".parquet",),
    "BIG_QUERY": (),
}
"""File name suffixes that each `datasets list --file-type` selects. No dataset of the local Kaggle is in BigQuery."""


def kernels_listed(kernels: Iterable[Kernel], owner: str, ask: Ask) -> Sequence[Kernel]:
    """Return the kernels that a ListKernels request selects. Raises KaggleRefusal(501) for an unsupported filter."""
    mine = _owned_by(owner)
    groups: dict[str, Callable[[Kernel], bool]] = {
        "PROFILE": mine,
        "PUBLIC_AND_USERS_PRIVATE": lambda kernel: mine(kernel) or _is_public(kernel),
        **dict.fromkeys(("", "EVERYONE"), _is_public),
    }
    tests: list[Callable[[Kernel], bool]] = [
        _one_of("group", ask.text("group"), groups),
        _owned_by(ask.text("user")),
        lambda kernel: _mentions(ask, kernel.title, kernel.slug),
        lambda kernel: _is(ask.text("language"), _language(kernel)),
        lambda kernel: _is(ask.text("kernelType"), kernel.newest.save.kernel_type),
        lambda kernel: _mounts(kernel, ask.text("dataset")),
        # there are no competitions or forks here
        lambda kernel: not ask.text("competition") and not ask.text("parentKernel"),
        _one_of("outputType", ask.text("outputType"), {**dict.fromkeys(("", "all"), _any), "data": _has_output}),
    ]
    orders: dict[str, Callable[[Kernel], datetime]] = {
        "DATE_CREATED": lambda kernel: kernel.versions[0].saved,
        "DATE_RUN": lambda kernel: kernel.last_run,
    }
    return _ordered(kernels, tests, orders.get(ask.text("sortBy")))


def datasets_listed(datasets: Iterable[Dataset], owner: str, ask: Ask, now: datetime) -> Sequence[Dataset]:
    """Return the datasets that a ListDatasets request selects. Raises KaggleRefusal(501) for an unsupported filter."""
    mine = _owned_by(owner)
    groups: dict[str, Callable[[Dataset], bool]] = {
        "MY": mine,
        "MY_PRIVATE": lambda dataset: mine(dataset) and dataset.about.is_private,
        "MY_PUBLIC": lambda dataset: mine(dataset) and not dataset.about.is_private,
        **dict.fromkeys(("", "PUBLIC", "USER", "ALL"), _is_public),
    }
    smallest, largest = ask.number("minSize") or 0, ask.number("maxSize")
    if ask.text("size") or ask.text("viewed"):
        raise _unknown("size" if ask.text("size") else "viewed", ask.text("size") or ask.text("viewed"))
    tags = [tag.strip().lower() for tag in ask.text("tagIds").split(",") if tag.strip()]
    tests: list[Callable[[Dataset], bool]] = [
        _one_of("group", ask.text("group").removeprefix("DATASET_SELECTION_GROUP_"), groups),
        _owned_by(ask.text("user")),
        lambda dataset: _mentions(ask, dataset.about.title, dataset.slug),
        lambda dataset: set(tags) <= {word.lower() for word in dataset.about.keywords},
        lambda dataset: smallest <= _size(dataset, now) <= (_size(dataset, now) if largest is None else largest),
        lambda dataset: _has_type(dataset, ask.text("fileType").removeprefix("DATASET_FILE_TYPE_GROUP_"), now),
        lambda dataset: _licensed(dataset, ask.text("license").removeprefix("DATASET_LICENSE_GROUP_")),
    ]
    orders: dict[str, Callable[[Dataset], datetime]] = {
        "PUBLISHED": lambda dataset: dataset.versions[0].created,
        "UPDATED": lambda dataset: dataset.versions[-1].created,
        "ACTIVE": lambda dataset: dataset.current(now).created,
    }
    return _ordered(datasets, tests, orders.get(ask.text("sortBy").removeprefix("DATASET_SORT_BY_")))


def models_listed(models: Iterable[KaggleModel], ask: Ask) -> Sequence[KaggleModel]:
    """Return the models that a ListModels request selects, including the account's private ones."""
    tests: list[Callable[[KaggleModel], bool]] = [
        _owned_by(ask.text("owner")),
        lambda model: _mentions(ask, model.about.title, model.slug),
        lambda model: not ask.flag("onlyVertexModels"),
    ]
    orders: dict[str, Callable[[KaggleModel], datetime]] = {
        **dict.fromkeys(("CREATE_TIME", "PUBLISH_TIME"), lambda model: model.created),
        "UPDATE_TIME": lambda model: model.updated,
    }
    return _ordered(models, tests, orders.get(ask.text("sortBy").removeprefix("LIST_MODELS_ORDER_BY_")))


def _ordered(found: Iterable[T], tests: Sequence[Callable[[T], bool]], when: Callable[[T], datetime] | None) -> list[T]:
    """Return the items that pass every test, newest first: by `when`, otherwise by order of creation."""
    kept = [one for one in reversed(list(found)) if all(test(one) for test in tests)]
    return sorted(kept, key=when, reverse=True) if when is not None else kept


def _one_of(field: str, value: str, known: dict[str, Callable[[T], bool]]) -> Callable[[T], bool]:
    if value not in known:
        raise _unknown(field, value)
    return known[value]


def _unknown(field: str, value: str) -> KaggleRefusal:
    return KaggleRefusal(501, f"The local Kaggle cannot list by {field} {value}")


def _any(kernel: Kernel) -> bool:
    return True


def _owned_by(user: str) -> Callable[[Kernel | Dataset | KaggleModel], bool]:
    """Return a test whether an item belongs to a user; everything passes if no user is named."""
    return lambda one: user.lower() in ("", one.owner.lower())


def _is_public(one: Kernel | Dataset) -> bool:
    return not (one.newest.save.is_private if isinstance(one, Kernel) else one.about.is_private)


def _mentions(ask: Ask, *texts: str) -> bool:
    return any(ask.text("search").lower() in text.lower() for text in texts)


def _is(wanted: str, found: str) -> bool:
    return wanted.lower() in ("", "all", found.lower())


def _language(kernel: Kernel) -> str:
    language = kernel.newest.save.language
    return "r" if language == "rmarkdown" else language


def _mounts(kernel: Kernel, dataset: str) -> bool:
    sources = ["/".join(source.split("/")[:2]) for source in kernel.newest.save.dataset_sources]
    return not dataset or dataset in sources


def _has_output(kernel: Kernel) -> bool:
    ran = [version.session for version in kernel.versions if version.session is not None]
    return bool(ran and ran[-1].files)


def _size(dataset: Dataset, now: datetime) -> int:
    ready = dataset.ready(now)
    return total_bytes(ready.files) if ready is not None else 0


def _has_type(dataset: Dataset, kind: str, now: datetime) -> bool:
    if kind in ("", "ALL"):
        return True
    if kind not in FILE_TYPES:
        raise _unknown("fileType", kind)
    ready = dataset.ready(now)
    names = ready.files if ready is not None else ()
    return any(PurePosixPath(name).suffix.lower() in FILE_TYPES[kind] for name in names)


def _licensed(dataset: Dataset, group: str) -> bool:
    if group in ("", "ALL"):
        return True
    name = dataset.about.license_name.lower()
    within = [known for known, begins in LICENSE_GROUPS.items() if name.startswith(begins)]
    if group == "OTHER":
        return not within
    if group not in LICENSE_GROUPS:
        raise _unknown("license", group)
    return group in within
