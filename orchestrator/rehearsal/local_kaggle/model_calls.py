"""RPCs of `models.ModelApiService`. Seeing a model does not imply permission to read its files."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from orchestrator.rehearsal.local_kaggle.archives import tarred
from orchestrator.rehearsal.local_kaggle.dataset_calls import uploaded
from orchestrator.rehearsal.local_kaggle.json_codec import Ask, Json, Redirect, moment, page, sparse
from orchestrator.rehearsal.local_kaggle.kernel_calls import Call
from orchestrator.rehearsal.local_kaggle.links import Links
from orchestrator.rehearsal.local_kaggle.listings import models_listed
from orchestrator.rehearsal.local_kaggle.model_records import (
    Declined,
    KaggleModel,
    ModelText,
    ModelVersion,
    Variation,
    VariationText,
)
from orchestrator.rehearsal.local_kaggle.model_responses import (
    SITE,
    address,
    instance_listed,
    instance_seen,
    model_seen,
    spelt,
    version_listed,
)
from orchestrator.rehearsal.local_kaggle.models import readable
from orchestrator.rehearsal.local_kaggle.rules import KaggleRefusal, denied
from orchestrator.rehearsal.local_kaggle.world import World

# --- models -----------------------------------------------------------------


def create_model(world: World, links: Links, ask: Ask) -> Json:
    owner, slug = ask.text("ownerSlug"), ask.text("slug")
    if owner != world.owner:
        raise denied("models.create")
    with world.at_now() as now:
        answer: Json = {}
        with _declining(answer):
            answer.update(_model_saved(world.models.create(owner, slug, _model_text(ask), now)))
        return answer


def get_model(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now() as now:
        return model_seen(world.models.find(ask.text("ownerSlug"), ask.text("modelSlug")), now)


def update_model(world: World, links: Links, ask: Ask) -> Json:
    """Change the fields named in the mask. A named field that is missing gets its default value."""
    with world.at_now() as now:
        model = _own_model(world, ask)
        about = replace(model.about, **_masked(ask, _model_text(ask, private=False)))
        answer: Json = {}
        with _declining(answer, coded=False):
            world.models.describe(model, about, now)
            answer.update(_model_saved(model))
        return answer


def delete_model(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now():
        world.models.delete(_own_model(world, ask))
        return {}


def list_models(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now() as now:
        found = models_listed(world.models.all(), ask)
        models, token = page(found, ask, world.rules)
        listed = [model_seen(model, now) for model in models]
        return sparse({"models": listed, "nextPageToken": token, "totalResults": len(found)})


# --- variations ---------------------------------------------------------------


def create_instance(world: World, links: Links, ask: Ask) -> Json:
    body = ask.inner("body")
    with world.at_now() as now:
        model, files = _own_model(world, ask), uploaded(world, body, now)
        framework, slug = body.text("framework"), body.text("instanceSlug")
        answer: Json = {}
        with _declining(answer):
            made = world.models.create_variation(model, framework, slug, _variation_text(body), files, now)
            answer.update(_variation_saved(model, made))
        return answer


def get_instance(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now() as now:
        model, variation = _variation(world, ask)
        return instance_seen(model, variation, _newest(variation, now), now)


def update_instance(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now() as now:
        model, variation = _own_variation(world, ask)
        about = replace(variation.about, **_masked(ask, _variation_text(ask)))
        answer: Json = {}
        with _declining(answer, coded=False):
            world.models.describe_variation(model, variation, about, now)
            answer.update(_variation_saved(model, variation))
        return answer


def delete_instance(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now():
        model, variation = _own_variation(world, ask)
        model.variations.remove(variation)
        return {}


def list_instances(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now() as now:
        model = world.models.find(ask.text("ownerSlug"), ask.text("modelSlug"))
        found, token = page([variation for variation in model.variations if variation.versions], ask, world.rules)
        return sparse({"instances": [instance_listed(model, one, now) for one in found], "nextPageToken": token})


# --- versions -----------------------------------------------------------------


def create_version(world: World, links: Links, ask: Ask) -> Json:
    body = ask.inner("body")
    with world.at_now() as now:
        model, variation = _own_variation(world, ask)
        files, notes = uploaded(world, body, now), body.text("versionNotes")
        answer: Json = {}
        with _declining(answer):
            world.models.add_version(model, variation, files, notes, now)
            answer.update(_variation_saved(model, variation))
        return answer


def delete_version(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now():
        _, variation = _own_variation(world, ask)
        variation.versions.remove(variation.version(ask.number("versionNumber") or 0))
        return {}


def list_versions(world: World, links: Links, ask: Ask) -> Json:
    """List every version, newest first, including those still being processed."""
    with world.at_now():
        model, variation = _variation(world, ask)
        found, token = page(variation.versions[::-1], ask, world.rules)
        versions = [version_listed(model, variation, version) for version in found]
        return sparse({"versionList": {"versions": versions}, "nextPageToken": token})


def list_files(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now() as now:
        files = readable(_requested_version(world, ask, now), now)
        names, token = page(sorted(files), ask, world.rules)
        listed = [
            sparse({"name": name, "size": files[name].size_bytes, "creationDate": moment(files[name].modified)})
            for name in names
        ]
        return sparse({"files": listed, "nextPageToken": token})


def download(world: World, links: Links, ask: Ask) -> Redirect:
    """Redirect to one file, or to a gzipped tar archive of all files."""
    with world.at_now() as now:
        files, name = readable(_requested_version(world, ask, now), now), ask.text("path")
        if name and name not in files:
            raise KaggleRefusal(404, f"File {name} was not found")
        content = files[name] if name else tarred(world.directory, files, now)
        return Redirect(links.issue("ModelFile", content, name or f"{ask.text('modelSlug')}.tar.gz", now))


MODEL_CALLS: dict[str, Call] = {
    "CreateModel": create_model,
    "GetModel": get_model,
    "UpdateModel": update_model,
    "DeleteModel": delete_model,
    "ListModels": list_models,
    "CreateModelInstance": create_instance,
    "GetModelInstance": get_instance,
    "UpdateModelInstance": update_instance,
    "DeleteModelInstance": delete_instance,
    "ListModelInstances": list_instances,
    "CreateModelInstanceVersion": create_version,
    "DeleteModelInstanceVersion": delete_version,
    "ListModelInstanceVersions": list_versions,
    "ListModelInstanceVersionFiles": list_files,
    "DownloadModelInstanceVersion": download,
}

RENAMED = {"model_instance_type": "kind", "base_model_instance": "base", "external_base_model_url": "external_base_url"}
"""Names in a variation's update mask that differ from the fields of VariationText, each with its field."""


def _own_model(world: World, ask: Ask) -> KaggleModel:
    model = world.models.find(ask.text("ownerSlug"), ask.text("modelSlug"))
    if model.owner != world.owner:
        raise denied("models.update")
    return model


def _variation(world: World, ask: Ask) -> tuple[KaggleModel, Variation]:
    owner, slug = ask.text("ownerSlug"), ask.text("modelSlug")
    return world.models.variation(owner, slug, ask.text("framework"), ask.text("instanceSlug"))


def _own_variation(world: World, ask: Ask) -> tuple[KaggleModel, Variation]:
    model, variation = _variation(world, ask)
    if model.owner != world.owner:
        raise denied("models.update")
    return model, variation


def _newest(variation: Variation, now: datetime) -> ModelVersion:
    ready = variation.ready(now)
    if ready is None:
        raise KaggleRefusal(404, "Model instance not found")  # no version is ready, or all were deleted
    return ready


def _requested_version(world: World, ask: Ask, now: datetime) -> ModelVersion:
    _, variation = _variation(world, ask)
    number = ask.number("versionNumber")
    return variation.version(number) if number else _newest(variation, now)


def _model_text(ask: Ask, private: bool = True) -> ModelText:
    """Return the model's metadata in the request; `private` is the default of `isPrivate`."""
    return ModelText(
        title=ask.text("title"),
        subtitle=ask.text("subtitle"),
        description=ask.text("description"),
        is_private=ask.flag("isPrivate", default=private),
        publish_time=ask.text("publishTime"),
        provenance_sources=ask.text("provenanceSources"),
    )


def _variation_text(ask: Ask) -> VariationText:
    return VariationText(
        overview=ask.text("overview"),
        usage=ask.text("usage"),
        license_name=ask.text("licenseName"),
        fine_tunable=ask.flag("fineTunable"),
        training_data=ask.texts("trainingData"),
        kind=ask.text("modelInstanceType"),
        base=ask.text("baseModelInstance"),
        external_base_url=ask.text("externalBaseModelUrl"),
    )


def _masked(ask: Ask, given: ModelText | VariationText) -> dict[str, Any]:
    """Return the fields that the request's update mask names, such as `title,isPrivate`; the others are kept."""
    paths = [path for path in ask.text("updateMask").split(",") if path]
    snakes = [re.sub("([A-Z])", lambda letter: "_" + letter[1].lower(), path) for path in paths]
    names = [RENAMED.get(snake, snake) for snake in snakes]
    known = {f.name for f in fields(given)}
    if unknown := [path for path, name in zip(paths, names, strict=True) if name not in known]:
        raise KaggleRefusal(400, f"Invalid update mask: {', '.join(unknown)}")
    return {name: getattr(given, name) for name in names}


def _model_saved(model: KaggleModel) -> Json:
    return {"id": model.id, "ref": model.ref, "url": f"{SITE}/{model.ref}"}


def _variation_saved(model: KaggleModel, variation: Variation) -> Json:
    ref = f"{model.ref}/{spelt(variation.framework)}/{variation.slug}"
    return {"id": variation.id, "ref": ref, "url": address(model, variation, variation.numbered)}


@contextmanager
def _declining(answer: Json, coded: bool = True) -> Iterator[None]:
    """Put a declined change into a response with status 200. Updates have no `errorCode`."""
    try:
        yield
    except Declined as error:
        answer.update({"error": error.message, **({"errorCode": error.code} if coded else {})})
