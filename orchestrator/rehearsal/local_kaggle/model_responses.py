"""JSON responses of `models.ModelApiService` for models, variations and versions."""

from datetime import datetime

from orchestrator.rehearsal.local_kaggle.datasets import FAILED
from orchestrator.rehearsal.local_kaggle.json_codec import Json, moment, sparse, total_bytes
from orchestrator.rehearsal.local_kaggle.model_records import KaggleModel, ModelVersion, Variation, framework_named

SITE = "https://www.kaggle.com/models"
FRAMEWORK = "MODEL_FRAMEWORK_"


def address(model: KaggleModel, variation: Variation, number: int) -> str:
    """Return the URL of a version's page."""
    return f"{SITE}/{model.ref}/{spelt(variation.framework)}/{variation.slug}/{number}"


def model_seen(model: KaggleModel, now: datetime) -> Json:
    """Return an ApiModel. A public one has no `isPrivate`; variations without a ready version are omitted."""
    about = model.about
    instances = [instance_seen(model, found, ready, now) for found in model.variations if (ready := found.ready(now))]
    return sparse(
        {
            "id": model.id,
            "ref": model.ref,
            "title": about.title,
            "subtitle": about.subtitle,
            "author": model.owner,
            "slug": model.slug,
            "isPrivate": about.is_private,
            "description": about.description,
            "instances": instances,
            "publishTime": about.publish_time or moment(model.created),
            "provenanceSources": about.provenance_sources,
            "url": f"{SITE}/{model.ref}",
            "updateTime": moment(model.updated),
        }
    )


def instance_seen(model: KaggleModel, variation: Variation, version: ModelVersion, now: datetime) -> Json:
    """Return an ApiModelInstance whose current version is the given one."""
    return sparse(
        {
            **_described(model, variation),
            "versionId": version.id,
            "versionNumber": version.number,
            "url": address(model, variation, version.number),
            "downloadUrl": f"{address(model, variation, version.number)}/download",
            "licenseName": variation.about.license_name,
            "totalUncompressedBytes": total_bytes(version.files),
        }
    )


def instance_listed(model: KaggleModel, variation: Variation, now: datetime) -> Json:
    """Return a ModelInstance, with the processing status of the newest version."""
    newest = variation.versions[-1]
    shown = variation.ready(now) or newest
    creation = {
        "status": _status(newest, now),
        "creationPercentComplete": newest.done(now),
        "creationStart": moment(newest.created),
        "versionNumber": newest.number,
        "userMessage": "The files could not be processed" if _status(newest, now) == FAILED else "",
    }
    license_name = variation.about.license_name
    return sparse(
        {
            **_described(model, variation),
            "ownerSlug": model.owner,
            "modelSlug": model.slug,
            "modelId": model.id,
            "versionId": shown.id,
            "versionNumber": shown.number,
            "versionNotes": shown.notes,
            "lastVersionId": newest.id,
            "downloadUrl": f"{address(model, variation, shown.number)}/download",
            "license": {"name": license_name} if license_name else None,
            "status": _status(newest, now),
            "creationStatus": sparse(creation),
            "canUse": shown.accepted,
            "totalUncompressedBytes": total_bytes(shown.files),
        }
    )


def version_listed(model: KaggleModel, variation: Variation, version: ModelVersion) -> Json:
    """Return a ModelInstanceVersion."""
    return sparse(
        {
            "id": version.id,
            "framework": FRAMEWORK + variation.framework,
            "url": address(model, variation, version.number),
            "variationSlug": variation.slug,
            "versionNumber": version.number,
            "modelTitle": model.about.title,
            "isPrivate": model.about.is_private,
            "modelId": model.id,
            "ownerSlug": model.owner,
            "modelSlug": model.slug,
            "modelInstanceId": variation.id,
        }
    )


def _described(model: KaggleModel, variation: Variation) -> Json:
    about = variation.about
    return {
        "id": variation.id,
        "slug": variation.slug,
        "framework": FRAMEWORK + variation.framework,
        "fineTunable": about.fine_tunable,
        "overview": about.overview,
        "usage": about.usage,
        "trainingData": list(about.training_data),
        "modelInstanceType": about.kind,
        "baseModelInstanceInformation": _base(about.base),
        "externalBaseModelUrl": about.external_base_url,
    }


def _base(ref: str) -> Json | None:
    if not ref:
        return None
    owner, model, framework, variation = ref.split("/")
    known = framework_named(framework)
    named = {"framework": FRAMEWORK + known} if known else {}
    return {"owner": {"slug": owner, "name": owner}, "modelSlug": model, "instanceSlug": variation, **named}


def _status(version: ModelVersion, now: datetime) -> str:
    """Return the processing status of a version; the first status is 0 in the enum and therefore omitted."""
    status = version.status(now)
    return "" if status == "NOT_YET_PERSISTED" else status


def spelt(framework: str) -> str:
    """Return a framework as it is spelt in URLs: PY_TORCH becomes pyTorch."""
    first, *rest = framework.lower().split("_")
    return first + "".join(word.capitalize() for word in rest)
