"""Builds kagglesdk's requests about the account's own models. `sdk` is the namespace that `client` imports."""

from collections.abc import Mapping
from typing import Any

from orchestrator.base.errors import BadInput
from orchestrator.kaggle.model_gateway import VariationAbout, VariationPlace
from orchestrator.kaggle.request_bodies import PAGE_SIZE, fill_in, framework_named


def model(sdk: Any, request_type: str, owner: str, slug: str, **fields: Any) -> Any:
    """Build a request about a model as a whole."""
    request = getattr(sdk.model_types, request_type)()
    return fill_in(request, owner_slug=owner, model_slug=slug, **fields)


def new_model(sdk: Any, owner: str, slug: str, description: str) -> Any:
    """Build CreateModel for a private model."""
    request = sdk.model_types.ApiCreateModelRequest()
    return fill_in(request, owner_slug=owner, slug=slug, title=slug, is_private=True, description=description)


def public_model(sdk: Any, owner: str, slug: str) -> Any:
    """Build UpdateModel that changes nothing but `isPrivate`, to false: the default, which is named in the mask alone."""
    mask = sdk.model_types.FieldMask(paths=["is_private"])
    return model(sdk, "ApiUpdateModelRequest", owner, slug, is_private=False, update_mask=mask)


def variation(sdk: Any, request_type: str, place: VariationPlace, **fields: Any) -> Any:
    """Build a request about a variation."""
    return model(
        sdk,
        request_type,
        place.owner,
        place.model,
        framework=framework(sdk, place.framework),
        instance_slug=place.variation,
        **fields,
    )


def page_of(sdk: Any, request_type: str, place: VariationPlace, token: str | None, **fields: Any) -> Any:
    """Build a request for one page of a list about a variation."""
    return variation(sdk, request_type, place, page_size=PAGE_SIZE, page_token=token, **fields)


def new_variation(sdk: Any, place: VariationPlace, tokens: Mapping[str, str], about: VariationAbout) -> Any:
    """Build CreateModelInstance; `tokens` are those of the uploaded files, by their names in the version."""
    kind = None
    if about.base or about.base_url:
        kind = f"MODEL_INSTANCE_TYPE_{'KAGGLE' if about.base else 'EXTERNAL'}_VARIANT"
    body = fill_in(
        sdk.model_types.ApiCreateModelInstanceRequestBody(),
        instance_slug=place.variation,
        framework=framework(sdk, place.framework),
        overview=about.overview,
        usage=about.usage,
        fine_tunable=True,
        license_name=about.license_name,
        model_instance_type=None if kind is None else sdk.ModelInstanceType[kind],
        base_model_instance=about.base or None,
        external_base_model_url=about.base_url or None,
        **_tree(sdk, tokens),
    )
    return model(sdk, "ApiCreateModelInstanceRequest", place.owner, place.model, body=body)


def new_version(sdk: Any, place: VariationPlace, tokens: Mapping[str, str], notes: str) -> Any:
    """Build CreateModelInstanceVersion."""
    request = sdk.model_types.ApiCreateModelInstanceVersionRequestBody()
    body = fill_in(request, version_notes=notes, **_tree(sdk, tokens))
    return variation(sdk, "ApiCreateModelInstanceVersionRequest", place, body=body)


def framework(sdk: Any, name: str) -> Any:
    """Return kagglesdk's member for a framework as it is spelt in URLs. Raises BadInput."""
    try:
        return framework_named(sdk, name)
    except KeyError as error:
        raise BadInput(f"Kaggle knows no framework {name!r}: write jax, flax, transformers or other") from error


def _tree(sdk: Any, tokens: Mapping[str, str]) -> dict[str, list[Any]]:
    """Return `files` and `directories`, nested as the names are."""
    files, below = [], dict[str, dict[str, str]]()
    for name, token in tokens.items():
        folder, slash, rest = name.partition("/")
        if slash:
            below.setdefault(folder, {})[rest] = token
        else:
            files.append(fill_in(sdk.dataset_types.ApiDatasetNewFile(), token=token))
    folders = [
        fill_in(sdk.dataset_types.ApiUploadDirectoryInfo(), name=folder, **_tree(sdk, inner))
        for folder, inner in below.items()
    ]
    return {"files": files, "directories": folders}
