"""The calls of `models.ModelApiService` that only look: who may see a model need not be allowed to read its files."""

from orchestrator.rehearsal.content import Files
from orchestrator.rehearsal.kernel_calls import Call
from orchestrator.rehearsal.links import Links
from orchestrator.rehearsal.rules import KaggleRefusal
from orchestrator.rehearsal.wire import Ask, Json, Redirect, moment, page, sparse
from orchestrator.rehearsal.world import World


def get_instance(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now():
        numbered = {int(ref.rpartition("/")[2]): ref for ref in world.models if _is_of(ref, ask)}
        if not numbered:
            raise KaggleRefusal(404, "Model instance not found")
        newest = max(numbered)
        return sparse(
            {
                "id": 1,
                "slug": ask.text("instanceSlug"),
                "framework": ask.text("framework"),
                "versionNumber": newest,
                "totalUncompressedBytes": world.size_of_model(numbered[newest]),
                "url": f"https://www.kaggle.com/models/{numbered[newest].rpartition('/')[0]}",
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


def _is_of(ref: str, ask: Ask) -> bool:
    """Whether a model (owner/model/framework/variation/N) is a version of the variation that is asked for."""
    owner, model, framework, variation, _ = ref.split("/")
    asked = ask.text("framework").removeprefix("MODEL_FRAMEWORK_").replace("_", "")  # pyTorch is PY_TORCH on the wire
    wanted = (ask.text("ownerSlug"), ask.text("modelSlug"), asked.lower(), ask.text("instanceSlug"))
    return (owner, model, framework.lower(), variation) == wanted


def _files(world: World, ask: Ask) -> Files:
    number = str(ask.number("versionNumber") or 0)
    found = [ref for ref in world.models if _is_of(ref, ask) and ref.rpartition("/")[2] == number]
    if not found:
        raise KaggleRefusal(404, "Model instance version not found")
    return world.model(found[0])
