"""RPCs of `datasets.DatasetApiService`, and the start of an upload: translate between JSON and the world."""

from collections.abc import Iterator
from datetime import datetime

from orchestrator.rehearsal.local_kaggle.archives import zipped
from orchestrator.rehearsal.local_kaggle.datasets import Dataset, DatasetVersion, Describe
from orchestrator.rehearsal.local_kaggle.json_codec import Ask, Json, Redirect, moment, page, sparse, total_bytes
from orchestrator.rehearsal.local_kaggle.kernel_calls import Call
from orchestrator.rehearsal.local_kaggle.links import Links
from orchestrator.rehearsal.local_kaggle.listings import datasets_listed
from orchestrator.rehearsal.local_kaggle.rules import KaggleRefusal, denied
from orchestrator.rehearsal.local_kaggle.stored_file import Content, Files
from orchestrator.rehearsal.local_kaggle.world import World


def start_upload(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now() as now:
        blob = world.blobs.begin(ask.text("name"), ask.number("contentLength") or 0, now)
        return {"token": blob.token, "createUrl": f"{links.base}/uploads/{blob.key}"}


def create_dataset(world: World, links: Links, ask: Ask) -> Json:
    owner, slug = ask.text("ownerSlug"), ask.text("slug")
    if owner != world.owner:
        raise denied("datasets.create")
    about = Describe(
        title=ask.text("title"),
        subtitle=ask.text("subtitle"),
        description=ask.text("description"),
        license_name=ask.text("licenseName"),
        is_private=ask.flag("isPrivate"),
        keywords=ask.texts("categoryIds"),
    )
    with world.at_now() as now:
        try:
            dataset = world.datasets.create(owner, slug, about, uploaded(world, ask, now), now)
        except ValueError as error:
            return {"status": "error", "error": str(error)}
        return _created(dataset)


def create_version(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now() as now:
        dataset = world.datasets.find(ask.text("ownerSlug"), ask.text("datasetSlug"))
        return _add_version(world, dataset, ask.inner("body"), now)


def create_version_by_id(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now() as now:
        return _add_version(world, world.datasets.find_by_id(ask.number("id") or 0), ask.inner("body"), now)


def get_status(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now() as now:
        status = _dataset(world, ask).status(now)
        return {} if status == "NOT_YET_PERSISTED" else {"status": status}  # value 0 of the enum, therefore omitted


def get_dataset(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now() as now:
        dataset = _dataset(world, ask)
        seen = _seen(dataset, now)
        seen["versions"] = [_version(dataset, version, now) for version in reversed(dataset.kept(now))]
        seen["files"] = [_file(dataset, path, file) for path, file in _files(dataset.ready(now)).items()]
        return seen


def list_files(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now() as now:
        dataset = _dataset(world, ask)
        files = _files(_requested_version(world, ask, now))
        names, token = page(sorted(files), ask, world.rules)
        return sparse({"datasetFiles": [_file(dataset, name, files[name]) for name in names], "nextPageToken": token})


def list_tree(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now() as now:
        files = _files(_requested_version(world, ask, now))
        prefix = f"{ask.text('path').strip('/')}/".lstrip("/")
        below = {name.removeprefix(prefix): file for name, file in files.items() if name.startswith(prefix)}
        directories = sorted({name.split("/")[0] for name in below if "/" in name})
        names, token = page(sorted(name for name in below if "/" not in name), ask, world.rules)
        return sparse(
            {
                "directories": [{"name": name, "relativeUrl": prefix + name} for name in directories],
                "files": [
                    sparse({"name": name, "totalBytes": below[name].size_bytes, "relativeUrl": prefix + name})
                    for name in names
                ],
                "nextPageToken": token,
            }
        )


def download(world: World, links: Links, ask: Ask) -> Redirect:
    with world.at_now() as now:
        dataset = _dataset(world, ask)
        files = _files(_requested_version(world, ask, now))
        name = ask.text("fileName")
        if name and name not in files:
            raise KaggleRefusal(404, f"File {name} was not found")
        if not files:
            raise KaggleRefusal(404, f"{dataset.ref} has no files yet")
        content = files[name] if name else zipped(world.directory, files, now)
        return Redirect(links.issue("DatasetFile", content, name or f"{dataset.slug}.zip", now))


def get_metadata(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now() as now:
        dataset = _dataset(world, ask)
        about = dataset.about
        info = {
            "datasetId": dataset.id,
            "datasetSlug": dataset.slug,
            "ownerUser": dataset.owner,
            "title": about.title,
            "subtitle": about.subtitle,
            "description": about.description,
            "isPrivate": about.is_private,
            "keywords": list(about.keywords),
            "licenses": [{"name": about.license_name}] if about.license_name else [],
            "data": [
                {"name": name, "totalBytes": file.size_bytes} for name, file in _files(dataset.ready(now)).items()
            ],
        }
        return {"info": sparse(info)}


def update_metadata(world: World, links: Links, ask: Ask) -> Json:
    settings = ask.inner("settings")
    licenses = settings.inners("licenses")
    with world.at_now():
        dataset = _dataset(world, ask)
        if settings.text("title") and not 6 <= len(settings.text("title")) <= 50:
            return {"errors": ["The dataset title must be between 6 and 50 characters"]}
        about = Describe(
            title=settings.text("title") or dataset.about.title,
            subtitle=settings.text("subtitle"),
            description=settings.text("description"),
            license_name=licenses[0].text("name") if licenses else "",
            is_private=settings.flag("isPrivate"),
            keywords=settings.texts("keywords"),
        )
        world.datasets.describe(dataset, about)
        return {}


def delete_dataset(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now():
        world.datasets.delete(ask.text("ownerSlug"), ask.text("datasetSlug"))
        return {}


def list_datasets(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now() as now:
        found = world.rules.listed(datasets_listed(world.datasets.all(), world.owner, ask, now))
        datasets, token = page(found, ask, world.rules)
        return sparse({"datasets": [_seen(dataset, now) for dataset in datasets], "nextPageToken": token})


BLOB_CALLS: dict[str, Call] = {"StartBlobUpload": start_upload}

DATASET_CALLS: dict[str, Call] = {
    "CreateDataset": create_dataset,
    "CreateDatasetVersion": create_version,
    "CreateDatasetVersionById": create_version_by_id,
    "GetDatasetStatus": get_status,
    "GetDataset": get_dataset,
    "ListDatasetFiles": list_files,
    "ListTreeDatasetFiles": list_tree,
    "DownloadDataset": download,
    "GetDatasetMetadata": get_metadata,
    "UpdateDatasetMetadata": update_metadata,
    "DeleteDataset": delete_dataset,
    "ListDatasets": list_datasets,
}


def _dataset(world: World, ask: Ask) -> Dataset:
    return world.datasets.find(ask.text("ownerSlug"), ask.text("datasetSlug"))


def _requested_version(world: World, ask: Ask, now: datetime) -> DatasetVersion | None:
    number = ask.number("datasetVersionNumber")
    return world.datasets.version(ask.text("ownerSlug"), ask.text("datasetSlug"), number, now)


def _files(version: DatasetVersion | None) -> Files:
    return version.files if version is not None else {}


def uploaded(world: World, ask: Ask, now: datetime) -> Files:
    """Return the files that a request names by their upload tokens, with their folders."""
    return dict(_named(world, ask, "", now))


def _named(world: World, ask: Ask, prefix: str, now: datetime) -> Iterator[tuple[str, Content]]:
    for file in ask.inners("files"):
        name, content = world.blobs.content(file.text("token"), now)
        yield prefix + name, content
    for directory in ask.inners("directories"):
        yield from _named(world, directory, f"{prefix}{directory.text('name')}/", now)


def _add_version(world: World, dataset: Dataset, body: Ask, now: datetime) -> Json:
    files = uploaded(world, body, now)
    deletes_old = body.flag("deleteOldVersions")
    try:
        world.datasets.add_version(dataset, files, body.text("versionNotes"), now, delete_old=deletes_old)
    except ValueError as error:
        return {"status": "error", "error": str(error)}
    return _created(dataset)


def _created(dataset: Dataset) -> Json:
    return {"ref": dataset.ref, "url": f"https://www.kaggle.com/datasets/{dataset.ref}", "status": "ok"}


def _file(dataset: Dataset, name: str, file: Content) -> Json:
    return sparse(
        {
            "ref": name,
            "datasetRef": dataset.ref,
            "ownerRef": dataset.owner,
            "name": name,
            "creationDate": moment(file.modified),
            "totalBytes": file.size_bytes,
        }
    )


def _version(dataset: Dataset, version: DatasetVersion, now: datetime) -> Json:
    return {
        "versionNumber": version.number,
        "creationDate": moment(version.created),
        "creatorName": dataset.owner,
        "creatorRef": dataset.owner,
        "versionNotes": version.notes,
        "status": "Ready" if version.is_ready(now) else "Pending",
    }


def _seen(dataset: Dataset, now: datetime) -> Json:
    about, current = dataset.about, dataset.current(now)
    return sparse(
        {
            "id": dataset.id,
            "ref": dataset.ref,
            "title": about.title,
            "subtitle": about.subtitle,
            "description": about.description,
            "creatorName": dataset.owner,
            "ownerName": dataset.owner,
            "ownerRef": dataset.owner,
            "url": f"https://www.kaggle.com/datasets/{dataset.ref}",
            "licenseName": about.license_name,
            "isPrivate": about.is_private,
            "totalBytes": total_bytes(_files(dataset.ready(now))),
            "lastUpdated": moment(current.created),
            "currentVersionNumber": current.number,
        }
    )
