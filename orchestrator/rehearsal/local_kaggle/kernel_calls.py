"""RPCs of `kernels.KernelsApiService`: translate between JSON and the world."""

from collections.abc import Callable

from orchestrator.rehearsal.local_kaggle.archives import zipped
from orchestrator.rehearsal.local_kaggle.json_codec import Ask, Json, Redirect, duration, log_text, moment, page, sparse
from orchestrator.rehearsal.local_kaggle.kernel_records import Kernel, KernelSession, QuotaSeen, Save, Status, Version
from orchestrator.rehearsal.local_kaggle.links import Links
from orchestrator.rehearsal.local_kaggle.listings import kernels_listed
from orchestrator.rehearsal.local_kaggle.notebooks import problem_of
from orchestrator.rehearsal.local_kaggle.rules import KaggleRefusal, MachineKind, denied
from orchestrator.rehearsal.local_kaggle.world import World

Call = Callable[[World, Links, Ask], Json | Redirect]


def save_kernel(world: World, links: Links, ask: Ask) -> Json:
    execution, language = ask.text("kernelExecutionType"), ask.text("language")
    if language not in ("", "python"):
        raise KaggleRefusal(501, f"The local Kaggle runs only Python, not {language}")
    if ask.text("kernelType") == "notebook" and (problem := problem_of(ask.text("text"))):
        return {"error": problem}
    saved = world.save_kernel(
        Save(
            slug=_slug_to_save(world, ask),
            text=ask.text("text"),
            title=ask.text("newTitle"),
            language=language,
            kernel_type=ask.text("kernelType"),
            machine_shape=ask.text("machineShape"),
            enable_tpu=ask.flag("enableTpu"),
            enable_gpu=ask.flag("enableGpu"),
            enable_internet=ask.flag("enableInternet"),
            is_private=ask.flag("isPrivate"),
            dataset_sources=ask.texts("datasetDataSources"),
            kernel_sources=ask.texts("kernelDataSources"),
            model_sources=ask.texts("modelDataSources"),
            category_ids=ask.texts("categoryIds"),
            docker_image=ask.text("dockerImage"),
            timeout_s=ask.number("sessionTimeoutSeconds"),
            runs=execution != "QUICK_SAVE",
        )
    )
    return sparse(
        {
            "ref": f"/code/{saved.ref}",  # only this RPC returns the ref with this prefix
            "url": f"https://www.kaggle.com/code/{saved.ref}",
            "versionNumber": saved.version,
            "error": saved.error,
            "invalidDatasetSources": list(saved.invalid_datasets),
            "invalidKernelSources": list(saved.invalid_kernels),
            "invalidModelSources": list(saved.invalid_models),
            "invalidCompetitionSources": list(ask.texts("competitionDataSources")),
            "kernelId": saved.kernel_id,
        }
    )


def get_status(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now() as now:
        session = _session(world, ask)
        if session is None:
            return {"status": Status.NEW_SCRIPT.value} if world.rules.behaviour.tells_never_run else {}
        status, message = session.shown(now)
        word = "" if status is Status.QUEUED else status.value  # value 0 of the enum, therefore omitted
        return sparse({"status": word, "failureMessage": message})


def list_session_output(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now() as now:
        session = _session(world, ask)
        if session is None:
            return {}
        names, token = page(session.listed(now, world.rules.behaviour.output_listed_s), ask, world.rules)
        files = [{"url": links.issue("OutputFile", session.files[name], name, now), "fileName": name} for name in names]
        shown = not session.live or world.rules.log_while_running
        return sparse({"files": files, "log": log_text(session.lines) if shown else "", "nextPageToken": token})


def list_files(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now():
        session = _session(world, ask)
        files = session.files if session is not None else {}
        names, token = page(sorted(files), ask, world.rules)
        items = [
            sparse({"name": name, "size": files[name].size_bytes, "creationDate": moment(files[name].modified)})
            for name in names
        ]
        return sparse({"files": items, "nextPageToken": token})


def download_output(world: World, links: Links, ask: Ask) -> Redirect:
    """Redirect to one file of a session's output, or to a zip archive of all files."""
    with world.at_now() as now:
        number = ask.number("versionNumber")
        label = f"v{number}" if number else None
        session = world.kernels.session(ask.text("ownerSlug"), ask.text("kernelSlug"), label)
        name = ask.text("filePath")
        files = session.files if session is not None else {}
        if not files or (name and name not in files):
            raise KaggleRefusal(404, f"File {name} was not found" if name else "There is no output yet")
        content = files[name] if name else zipped(world.directory, files, now)
        return Redirect(links.issue("OutputFile", content, name or f"{ask.text('kernelSlug')}.zip", now))


def get_kernel(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now():
        kernel = world.kernels.find(ask.text("userName"), ask.text("kernelSlug"))
        shown = world.kernels.shown(kernel.owner, kernel.slug)
        if shown is None:
            raise denied("kernels.get")
        label = ask.text("versionLabel")
        version = world.kernels.version(kernel.owner, kernel.slug, label) if label else shown
        save = version.save
        blob = {"source": save.text, "language": save.language, "kernelType": save.kernel_type, "slug": kernel.slug}
        return {"metadata": _metadata(kernel, version, shown), "blob": sparse(blob)}


def list_kernels(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now():
        shown = [kernel for kernel in world.kernels.all() if world.kernels.shown(kernel.owner, kernel.slug) is not None]
        found = world.rules.listed(kernels_listed(shown, world.owner, ask))
        kernels, token = page(found, ask, world.rules)
        listed = [_metadata(kernel, kernel.newest) for kernel in kernels]
        for entry in listed if not world.rules.behaviour.names_accelerators else ():
            entry.pop("machineShape", None)
        return sparse({"kernels": listed, "nextPageToken": token})


def delete_kernel(world: World, links: Links, ask: Ask) -> Json:
    world.delete_kernel(ask.text("userName"), ask.text("kernelSlug"))
    return {}


def cancel_session(world: World, links: Links, ask: Ask) -> Json:
    raise denied("kernelSessions.cancel")


def get_quota(world: World, links: Links, ask: Ask) -> Json:
    with world.at_now() as now:
        _, refresh = world.rules.week(now)
        return {
            "quotaRefreshTime": moment(refresh),
            "gpuQuota": _quota(world.kernels.quota(MachineKind.GPU, now)),
            "tpuQuota": _quota(world.kernels.quota(MachineKind.TPU, now)),
        }


KERNEL_CALLS: dict[str, Call] = {
    "SaveKernel": save_kernel,
    "GetKernelSessionStatus": get_status,
    "ListKernelSessionOutput": list_session_output,
    "ListKernelFiles": list_files,
    "DownloadKernelOutput": download_output,
    "GetKernel": get_kernel,
    "ListKernels": list_kernels,
    "DeleteKernel": delete_kernel,
    "CancelKernelSession": cancel_session,
    "GetAcceleratorQuotaStatistics": get_quota,
}


def _slug_to_save(world: World, ask: Ask) -> str:
    number = ask.number("id")
    if ask.text("slug") or number is None:
        return ask.text("slug")
    with world.at_now():
        for kernel in world.kernels.all():
            if kernel.id == number:
                return kernel.ref
    raise KaggleRefusal(404, "Notebook not found")


def _session(world: World, ask: Ask) -> KernelSession | None:
    return world.kernels.session(ask.text("userName"), ask.text("kernelSlug"), ask.text("versionLabel"))


def _metadata(kernel: Kernel, version: Version, newest: Version | None = None) -> Json:
    newest = newest or kernel.newest
    save = version.save
    return sparse(
        {
            "id": kernel.id,
            "ref": kernel.ref,
            "title": kernel.title,
            "author": kernel.owner,
            "slug": kernel.slug,
            "lastRunTime": moment(kernel.last_run),
            "language": save.language,
            "kernelType": save.kernel_type,
            "isPrivate": save.is_private,
            "enableGpu": save.enable_gpu,
            "enableTpu": save.enable_tpu,
            "enableInternet": save.enable_internet,
            "categoryIds": list(save.category_ids),
            "datasetDataSources": list(save.dataset_sources),
            "kernelDataSources": list(save.kernel_sources),
            "modelDataSources": list(save.model_sources),
            "currentVersionNumber": newest.number,
            "dockerImage": save.docker_image,
            "machineShape": save.machine_shape,
        }
    )


def _quota(seen: QuotaSeen) -> Json:
    return {
        "timeUsed": duration(seen.used_s),
        "timeReserved": duration(seen.reserved_s),
        "totalTimeAllowed": duration(seen.total_s),
        "minimumTimeAllowed": duration(seen.total_s),
        **sparse({"hasEverRun": seen.has_ever_run}),
    }
