"""The calls of `models.ModelApiService` that only look: who may see a model need not be allowed to read its files."""

from orchestrator.rehearsal.content import Files
from orchestrator.rehearsal.kernel_calls import Call
from orchestrator.rehearsal.links import Links
from orchestrator.rehearsal.rules import KaggleRefusal
from orchestrator.rehearsal.wire import Ask, Json, Redirect, moment, page, sparse
from orchestrator.rehearsal.world import World


def get_instance(world: World, links: Links, ask: Ask) -> Json:
    place = _place(ask)
    with world.at_now():
        numbers = [int(ref.rpartition("/")[2]) for ref in world.models if ref.rpartition("/")[0] == place]
        if not numbers:
            raise KaggleRefusal(404, "Model instance not found")
        return sparse(
            {
                "id": 1,
                "slug": ask.text("instanceSlug"),
                "framework": ask.text("framework"),
                "versionNumber": max(numbers),
                "totalUncompressedBytes": world.size_of_model(f"{place}/{max(numbers)}"),
                "url": f"https://www.kaggle.com/models/{place}",
            }
        )


def list_files(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now():
        files = _files(world, ask)
        names, token = page(sorted(files), ask, world.rules)
        listed = [
            sparse({"name": name, "size": files[name].size_bytes, "creationDate": moment(files[name].modified)})
            for name in names
        ]
        return sparse({"files": listed, "nextPageToken": token})


def download(world: World, links: Links, ask: Ask) -> Redirect:
    with world.at_now() as now:
        files, name = _files(world, ask), ask.text("path")
        if name not in files:
            raise KaggleRefusal(404, f"File {name} was not found")
        return Redirect(links.issue("ModelFile", files[name], name, now))


MODEL_CALLS: dict[str, Call] = {
    "GetModelInstance": get_instance,
    "ListModelInstanceVersionFiles": list_files,
    "DownloadModelInstanceVersion": download,
}


def _place(ask: Ask) -> str:
    """owner/model/framework/variation, as addresses have it."""
    framework = ask.text("framework").removeprefix("MODEL_FRAMEWORK_").replace("_", "").lower()
    return f"{ask.text('ownerSlug')}/{ask.text('modelSlug')}/{framework}/{ask.text('instanceSlug')}"


def _files(world: World, ask: Ask) -> Files:
    return world.model(f"{_place(ask)}/{ask.number('versionNumber') or 0}")
