"""Our questions in Kaggle's words: builds kagglesdk's request objects, so the wire format is that of Kaggle's own client.

`sdk` is the namespace of kagglesdk's modules that `client` imports. Every field goes through the type's own setter: a field that
a newer kagglesdk renamed is an error here, not something silently left out.
"""

import re
from collections.abc import Sequence
from typing import Any

from orchestrator.base.errors import BadInput, Permanent
from orchestrator.kaggle.gateway import KernelPush

PAGE_SIZE = 200
"""The most that Kaggle gives at once."""

LIST_SIZE = 100
"""Of the lists of kernels and datasets: as many as Kaggle's own client asks for at most."""

RECENT = 20
"""Kernels on a page of those that ran last: far more than there are slots."""

LICENCE = "other"
"""Of the private checkpoint datasets: whatever the licence of the weights is, it goes on."""


KERNEL_CHARACTERS_MIN = 5
DATASET_CHARACTERS_MIN = 6
NAME_CHARACTERS_MAX = 50
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""A title that is its own slug: any other one is renamed by Kaggle."""

SOURCE_BYTES_MAX = 999_999
"""Kaggle: "must be less than 1 megabytes in size"."""


DATASET_BYTES_MAX = 200 * 10**9
"""Of one dataset, as users report: nothing is sent of one that is larger."""


def check_size(slug: str, size_bytes: int) -> None:
    """Raise Permanent for a dataset that Kaggle would decline after all of it was sent."""
    if size_bytes > DATASET_BYTES_MAX:
        raise Permanent(
            f"the dataset {slug} would have {size_bytes} bytes, and Kaggle takes at most {DATASET_BYTES_MAX}: make the "
            "checkpoint smaller in a new pipeline (adapters instead of all weights)"
        )


def check_kernel(kernel: KernelPush) -> None:
    """Raise for what Kaggle would decline anyway: Permanent for its size, BadInput for its name."""
    check_name("kernel", kernel.slug, KERNEL_CHARACTERS_MIN)
    size = len(kernel.source.encode())
    if size > SOURCE_BYTES_MAX:
        raise Permanent(f"the source of {kernel.slug} has {size} bytes, and Kaggle takes at most {SOURCE_BYTES_MAX}")


def check_name(kind: str, slug: str, characters_min: int) -> None:
    """Raise BadInput for a name that Kaggle would decline or change."""
    if not characters_min <= len(slug) <= NAME_CHARACTERS_MAX or not NAME.fullmatch(slug):
        raise BadInput(
            f"Kaggle takes no {kind} named {slug!r}: choose a run name so that it has {characters_min} to "
            f"{NAME_CHARACTERS_MAX} characters of a-z, 0-9 and single hyphens"
        )


def filled(request: Any, **fields: Any) -> Any:
    """The request with these fields; None leaves a field out."""
    for name, value in fields.items():
        if value is not None:
            setattr(request, name, value)
    return request


def version_label(version: int | None) -> str | None:
    """Kaggle's name of a version: `v7` (a bare `7` is answered 404)."""
    return None if version is None else f"v{version}"


def push(sdk: Any, owner: str, kernel: KernelPush) -> Any:
    """One private script that runs at once. No docker image: a pinned one takes the TPU away without a word."""
    shape = kernel.machine_shape
    tpu = shape.lower().startswith("tpu")
    return filled(
        sdk.kernel_types.ApiSaveKernelRequest(),
        slug=f"{owner}/{kernel.slug}",
        new_title=kernel.slug,
        text=kernel.source,
        language="python",
        kernel_type="script",
        is_private=True,
        enable_tpu=tpu,
        enable_gpu=bool(shape) and not tpu,
        enable_internet=kernel.internet,
        dataset_data_sources=list(kernel.dataset_sources),
        kernel_data_sources=list(kernel.kernel_sources),
        model_data_sources=list(kernel.model_sources),
        kernel_execution_type=sdk.kernel_enums.KernelExecutionType.SAVE_AND_RUN_ALL,
        machine_shape=shape or None,
        session_timeout_seconds=kernel.timeout_s,
    )


def kernel(sdk: Any, owner: str, slug: str) -> Any:
    """GetKernel."""
    return filled(sdk.kernel_types.ApiGetKernelRequest(), user_name=owner, kernel_slug=slug)


def own_kernels(sdk: Any, page: str | None) -> Any:
    """ListKernels: one's own, in an order that a run that goes on meanwhile does not change."""
    return filled(
        sdk.kernel_types.ApiListKernelsRequest(),
        group=sdk.kernel_enums.KernelsListViewType.PROFILE,
        sort_by=sdk.kernel_enums.KernelsListSortType.DATE_CREATED,
        page_size=LIST_SIZE,
        page_token=page,
    )


def recent_kernels(sdk: Any, page: str | None) -> Any:
    """ListKernels: one's own, those that ran last first."""
    return filled(
        sdk.kernel_types.ApiListKernelsRequest(),
        group=sdk.kernel_enums.KernelsListViewType.PROFILE,
        sort_by=sdk.kernel_enums.KernelsListSortType.DATE_RUN,
        page_size=RECENT,
        page_token=page,
    )


def model(sdk: Any, request_type: str, ref: str, **fields: Any) -> Any:
    """One of the requests about somebody's model: `ref` is owner/model/framework/variation/version. Raises BadInput."""
    try:
        owner, slug, framework, instance, version = ref.split("/")
        fields = {**fields, "framework": _framework(sdk, framework)}
        if request_type != "ApiGetModelInstanceRequest":
            fields["version_number"] = int(version)
    except (ValueError, KeyError) as error:
        raise BadInput(
            f"{ref!r} is no model on Kaggle: write owner/model/framework/variation/version, such as "
            "google/gemma-2/flax/gemma2-2b-it/1"
        ) from error
    request = getattr(sdk.model_types, request_type)()
    return filled(request, owner_slug=owner, model_slug=slug, instance_slug=instance, **fields)


def _framework(sdk: Any, name: str) -> Any:
    """`flax` and `tensorFlow2` in addresses are MODEL_FRAMEWORK_FLAX and MODEL_FRAMEWORK_TENSOR_FLOW_2 on the wire."""
    known = {each.name.removeprefix("MODEL_FRAMEWORK_").replace("_", "").lower(): each for each in sdk.ModelFramework}
    return known[name.replace("-", "").lower()]


def own_datasets(sdk: Any, page: str | None) -> Any:
    """ListDatasets: one's own, private ones included."""
    return filled(
        sdk.dataset_types.ApiListDatasetsRequest(),
        group=sdk.dataset_enums.DatasetSelectionGroup.DATASET_SELECTION_GROUP_MY,
        sort_by=sdk.dataset_enums.DatasetSortBy.DATASET_SORT_BY_PUBLISHED,
        page_size=LIST_SIZE,
        page_token=page,
    )


def session(sdk: Any, owner: str, slug: str, version: int | None) -> Any:
    """GetKernelSessionStatus."""
    request = sdk.kernel_types.ApiGetKernelSessionStatusRequest()
    return filled(request, user_name=owner, kernel_slug=slug, version_label=version_label(version))


def output(sdk: Any, owner: str, slug: str, version: int | None, page: str | None) -> Any:
    """ListKernelSessionOutput."""
    request = sdk.kernel_types.ApiListKernelSessionOutputRequest()
    label = version_label(version)
    return filled(request, user_name=owner, kernel_slug=slug, version_label=label, page_size=PAGE_SIZE, page_token=page)


def blob(sdk: Any, name: str, size_bytes: int, modified_s: int) -> Any:
    """StartBlobUpload."""
    return filled(
        sdk.blob_types.ApiStartBlobUploadRequest(),
        type=sdk.blob_types.ApiBlobType.DATASET,
        name=name,
        content_type="application/octet-stream",
        content_length=size_bytes,
        last_modified_epoch_seconds=modified_s,
    )


def new_dataset(sdk: Any, owner: str, slug: str, tokens: Sequence[str], description: str = "") -> Any:
    """CreateDataset, private."""
    files = [filled(sdk.dataset_types.ApiDatasetNewFile(), token=token) for token in tokens]
    return filled(
        sdk.dataset_types.ApiCreateDatasetRequest(),
        owner_slug=owner,
        slug=slug,
        title=slug,
        license_name=LICENCE,
        is_private=True,
        files=files,
        description=description or None,
    )


def dataset(sdk: Any, request_type: str, owner: str, slug: str, **fields: Any) -> Any:
    """One of the requests about an existing dataset."""
    return filled(getattr(sdk.dataset_types, request_type)(), owner_slug=owner, dataset_slug=slug, **fields)
