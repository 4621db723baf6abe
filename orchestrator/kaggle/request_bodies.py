"""Builds kagglesdk's request objects, so that the wire format is that of Kaggle's own client.

`sdk` is the namespace of kagglesdk modules that `client` imports. Every field is set through the type's own setter: a
field that a newer kagglesdk renamed raises an error here instead of being silently omitted.
"""

import re
from collections.abc import Sequence
from typing import Any

from orchestrator.base.errors import BadInput, Permanent
from orchestrator.platforms.port import KernelPush

PAGE_SIZE = 200
"""Kaggle's largest page size for listings of files."""

LIST_SIZE = 100
"""Page size for lists of kernels and datasets: the largest that Kaggle's own client requests."""

RECENT = 20
"""Page size for the most recently run kernels: far more than there are session slots."""

LICENCE = "other"
"""Licence of the private checkpoint datasets: the licence of the weights, whatever it is, continues to apply."""


KERNEL_CHARACTERS_MIN = 5
DATASET_CHARACTERS_MIN = 6
NAME_CHARACTERS_MAX = 50
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""Form of a title that equals its own slug: Kaggle renames any other title."""

SOURCE_BYTES_MAX = 999_999
"""Largest kernel source, in bytes. Kaggle: "must be less than 1 megabytes in size"."""


DATASET_BYTES_MAX = 200 * 10**9
"""Largest dataset, in bytes, as users report it: a larger one is rejected before the upload."""


def check_size(slug: str, size_bytes: int) -> None:
    """Raise Permanent for a dataset that Kaggle would decline after the whole upload."""
    if size_bytes > DATASET_BYTES_MAX:
        raise Permanent(
            f"the dataset {slug} would have {size_bytes} bytes, and Kaggle takes at most {DATASET_BYTES_MAX}: make the "
            "checkpoint smaller in a new pipeline (adapters instead of all weights)"
        )


def check_kernel(kernel: KernelPush) -> None:
    """Raise for a kernel that Kaggle would decline: Permanent for its size, BadInput for its name."""
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


def fill_in(request: Any, **fields: Any) -> Any:
    """Return the request with these fields set; None omits a field."""
    for name, value in fields.items():
        if value is not None:
            setattr(request, name, value)
    return request


def version_label(version: int | None) -> str | None:
    """Return Kaggle's name of a version: `v7` (Kaggle answers a bare `7` with 404)."""
    return None if version is None else f"v{version}"


def push(sdk: Any, owner: str, kernel: KernelPush) -> Any:
    """Build SaveKernel: one private script that runs at once.

    No docker image: a pinned one silently disables the TPU.
    """
    shape = kernel.machine_shape
    tpu = shape.lower().startswith("tpu")
    return fill_in(
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
    """Build GetKernel."""
    return fill_in(sdk.kernel_types.ApiGetKernelRequest(), user_name=owner, kernel_slug=slug)


def own_kernels(sdk: Any, page: str | None) -> Any:
    """Build ListKernels for the account's own kernels, by creation date: runs in progress do not change that order."""
    return fill_in(
        sdk.kernel_types.ApiListKernelsRequest(),
        group=sdk.kernel_enums.KernelsListViewType.PROFILE,
        sort_by=sdk.kernel_enums.KernelsListSortType.DATE_CREATED,
        page_size=LIST_SIZE,
        page_token=page,
    )


def recent_kernels(sdk: Any, page: str | None) -> Any:
    """Build ListKernels for the account's own kernels, most recently run first."""
    return fill_in(
        sdk.kernel_types.ApiListKernelsRequest(),
        group=sdk.kernel_enums.KernelsListViewType.PROFILE,
        sort_by=sdk.kernel_enums.KernelsListSortType.DATE_RUN,
        page_size=RECENT,
        page_token=page,
    )


def model(sdk: Any, request_type: str, ref: str, **fields: Any) -> Any:
    """Build a request about a model; `ref` is owner/model/framework/variation/version.

    Raises BadInput for any other form.
    """
    try:
        owner, slug, framework, instance, version = ref.split("/")
        fields = {**fields, "framework": framework_named(sdk, framework)}
        if request_type != "ApiGetModelInstanceRequest":
            fields["version_number"] = int(version)
    except (ValueError, KeyError) as error:
        raise BadInput(
            f"{ref!r} is no model on Kaggle: write owner/model/framework/variation/version, such as "
            "google/gemma-2/flax/gemma2-2b-it/1"
        ) from error
    request = getattr(sdk.model_types, request_type)()
    return fill_in(request, owner_slug=owner, model_slug=slug, instance_slug=instance, **fields)


def framework_named(sdk: Any, name: str) -> Any:
    """Map a framework's name in URLs to its enum: `tensorFlow2` to MODEL_FRAMEWORK_TENSOR_FLOW_2, `flax` to …_FLAX.

    Raises KeyError.
    """
    known = {each.name.removeprefix("MODEL_FRAMEWORK_").replace("_", "").lower(): each for each in sdk.ModelFramework}
    return known[name.replace("-", "").lower()]


def own_datasets(sdk: Any, page: str | None) -> Any:
    """Build ListDatasets for the account's own datasets, including private ones."""
    return fill_in(
        sdk.dataset_types.ApiListDatasetsRequest(),
        group=sdk.dataset_enums.DatasetSelectionGroup.DATASET_SELECTION_GROUP_MY,
        sort_by=sdk.dataset_enums.DatasetSortBy.DATASET_SORT_BY_PUBLISHED,
        page_size=LIST_SIZE,
        page_token=page,
    )


def session(sdk: Any, owner: str, slug: str, version: int | None) -> Any:
    """Build GetKernelSessionStatus."""
    request = sdk.kernel_types.ApiGetKernelSessionStatusRequest()
    return fill_in(request, user_name=owner, kernel_slug=slug, version_label=version_label(version))


def output(sdk: Any, owner: str, slug: str, version: int | None, page: str | None) -> Any:
    """Build ListKernelSessionOutput."""
    request = sdk.kernel_types.ApiListKernelSessionOutputRequest()
    label = version_label(version)
    return fill_in(
        request, user_name=owner, kernel_slug=slug, version_label=label, page_size=PAGE_SIZE, page_token=page
    )


def blob(sdk: Any, blob_type: str, name: str, size_bytes: int, modified_s: int) -> Any:
    """Build StartBlobUpload; `blob_type` is DATASET or MODEL."""
    return fill_in(
        sdk.blob_types.ApiStartBlobUploadRequest(),
        type=sdk.blob_types.ApiBlobType[blob_type],
        name=name,
        content_type="application/octet-stream",
        content_length=size_bytes,
        last_modified_epoch_seconds=modified_s,
    )


def new_dataset(sdk: Any, owner: str, slug: str, tokens: Sequence[str], description: str = "") -> Any:
    """Build CreateDataset for a private dataset."""
    files = [fill_in(sdk.dataset_types.ApiDatasetNewFile(), token=token) for token in tokens]
    return fill_in(
        sdk.dataset_types.ApiCreateDatasetRequest(),
        owner_slug=owner,
        slug=slug,
        title=slug,
        license_name=LICENCE,
        is_private=True,
        files=files,
        description=description or None,
    )


def dataset_version(sdk: Any, owner: str, slug: str, tokens: Sequence[str], notes: str) -> Any:
    """Build CreateDatasetVersion; older versions are kept."""
    files = [fill_in(sdk.dataset_types.ApiDatasetNewFile(), token=token) for token in tokens]
    body = fill_in(sdk.dataset_types.ApiCreateDatasetVersionRequestBody(), version_notes=notes, files=files)
    return fill_in(sdk.dataset_types.ApiCreateDatasetVersionRequest(), owner_slug=owner, dataset_slug=slug, body=body)


def dataset(sdk: Any, request_type: str, owner: str, slug: str, **fields: Any) -> Any:
    """Build a request about an existing dataset."""
    return fill_in(getattr(sdk.dataset_types, request_type)(), owner_slug=owner, dataset_slug=slug, **fields)
