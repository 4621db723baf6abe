"""Gateway to a world without HTTP, which simulations on a virtual clock use instead of the real client."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from orchestrator.base.errors import Corrupt, NameTaken, NoSlot, OutOfQuota, Permanent, Refused, Transient
from orchestrator.kaggle.gateway import Access, SourceSeen
from orchestrator.kaggle.refusals import cannot_stop, dataset_refused, name_refused, sources_refused
from orchestrator.kaggle.request_bodies import RECENT
from orchestrator.platforms.file_names import output_file
from orchestrator.platforms.names import KAGGLE
from orchestrator.platforms.port import (
    RENAMED,
    DatasetFile,
    DatasetSeen,
    Downloaded,
    FileWanted,
    KernelFound,
    KernelListed,
    KernelPush,
    KernelPushed,
    KernelsPage,
    LogLine,
    OutputFile,
    Quota,
    Reached,
    SessionSeen,
    Worker,
    ignore_progress,
)
from orchestrator.rehearsal.local_kaggle.datasets import Dataset, Describe
from orchestrator.rehearsal.local_kaggle.direct_calls import DirectCalls
from orchestrator.rehearsal.local_kaggle.faults import CallAction
from orchestrator.rehearsal.local_kaggle.json_codec import total_bytes
from orchestrator.rehearsal.local_kaggle.kernel_records import Kernel, KernelSession, Save, SaveAnswer
from orchestrator.rehearsal.local_kaggle.received_files import as_received, write_file
from orchestrator.rehearsal.local_kaggle.rules import KaggleRefusal, MachineKind, slot_message
from orchestrator.rehearsal.local_kaggle.stored_file import Content
from orchestrator.rehearsal.local_kaggle.world import World
from stages.safe_text import whole_text

FOLLOW_S = 10.0
"""Seconds of simulated time for which `follow_log` sleeps between polls."""


class DirectGateway:
    """`gateway.Gateway` over a `World`: the same postconditions and errors as the HTTP client, without its retries.

    The call faults of the world's plan strike here too, under the names of the RPCs. Resuming a cut transfer belongs to
    the HTTP client, so `cut` is just another Transient here.
    """

    def __init__(self, world: World, redact: Callable[[str], str] = str) -> None:
        self._world = world
        self._calls = DirectCalls(world)
        self._redact = redact
        """Removes the account's key from what sessions wrote, as the client does."""

    @property
    def label(self) -> str:
        return KAGGLE

    @property
    def abreast_max(self) -> int:
        return 1  # faults strike in call order, which threads would make nondeterministic

    @property
    def can_stop(self) -> bool:
        return False

    # --- account ------------------------------------------------------------

    def owner(self) -> str:
        return self._world.owner

    def quota(self, accelerator: str) -> Quota | None:
        if accelerator not in ("tpu", "gpu"):
            return None
        fault = self._calls.fault("GetAcceleratorQuotaStatistics")
        if fault is not None and fault.action is CallAction.EMPTY:
            return None  # corresponds to a JSON object without this accelerator
        with self._calls.read(fault) as now:
            seen = self._world.kernels.quota(MachineKind(accelerator), now)
            _, refresh = self._world.rules.week(now)
            return Quota(
                used_s=seen.used_s,
                reserved_s=seen.reserved_s,
                total_s=seen.total_s,
                refreshes_at=refresh,
                ever_run=seen.has_ever_run,
            )

    # --- kernels ------------------------------------------------------------

    def find_kernel(self, slug: str) -> KernelFound | None:
        with self._calls.reading("GetKernel"):
            version = self._world.kernels.shown(self._world.owner, slug)
            if version is None:
                return None
            ref, save = f"{self._world.owner}/{slug}", version.save
            return KernelFound(ref=ref, version=version.number, source=save.text, private=save.is_private)

    def list_kernels(self, prefix: str) -> tuple[str, ...]:
        with self._calls.reading("ListKernels"):
            return self._mine(self._shown_kernels(), prefix)

    def recent_kernels(self, page: str | None = None) -> KernelsPage:
        with self._calls.reading("ListKernels"):
            mine = [kernel for kernel in self._shown_kernels() if kernel.owner == self._world.owner]
            mine.sort(key=lambda kernel: kernel.last_run, reverse=True)
            start = int(page or 0)
            end = start + RECENT
            named = self._world.rules.behaviour.names_accelerators
            kernels = tuple(
                KernelListed(slug=k.slug, machine_shape=k.newest.save.machine_shape if named else "", ran_at=k.last_run)
                for k in mine[start:end]
            )
            return KernelsPage(kernels=kernels, following=str(end) if end < len(mine) else None)

    def push(self, kernel: KernelPush) -> KernelPushed:
        if len(kernel.source.encode()) >= self._world.rules.source_bytes_max:
            raise Permanent(f"the source of {kernel.slug} is too large for Kaggle")
        save = Save(
            slug=f"{self._world.owner}/{kernel.slug}",
            text=kernel.source,
            title=kernel.slug,
            machine_shape=kernel.machine_shape,
            enable_internet=kernel.internet,
            dataset_sources=kernel.dataset_sources,
            kernel_sources=kernel.kernel_sources,
            model_sources=kernel.model_sources,
            timeout_s=kernel.timeout_s,
        )
        with self._calls.changing("SaveKernel"):
            saved = self._world.save_kernel(save)
            return self._pushed(saved, save)

    def stop(self, slug: str, version: int | None) -> None:
        raise cannot_stop(slug)

    def session(self, slug: str, version: int | None) -> SessionSeen:
        fault = self._calls.fault("GetKernelSessionStatus")
        if fault is not None and fault.action is CallAction.EMPTY:
            # corresponds to a JSON object without a status, which means QUEUED
            return SessionSeen(worker=Worker.QUEUED)
        if fault is not None and fault.action is CallAction.HTML:
            return SessionSeen(worker=Worker.UNKNOWN, message="the answer is not JSON")
        self._calls.fail(fault, Transient)
        try:
            with self._world.at_now() as now:
                session = self._session(slug, version)
                if session is None:
                    told = self._world.rules.behaviour.tells_never_run
                    return SessionSeen(worker=Worker.NEW_SCRIPT if told else Worker.QUEUED)
                status, message = session.shown(now)
                return SessionSeen(worker=Worker(status.value.lower()), message=whole_text(self._redact(message)))
        except KaggleRefusal as error:
            return SessionSeen(worker=Worker.UNKNOWN, message=error.message)

    def log(self, slug: str, version: int | None) -> Iterator[LogLine]:
        self._calls.fail(self._calls.fault("LogStream"), Transient)
        return iter(self._lines(slug, version, 0))

    def follow_log(self, slug: str, version: int | None, seen: int = 0) -> Iterator[LogLine]:
        while True:
            with self._world.at_now():
                ended = not self._live(slug, version)
            lines = self._lines(slug, version, seen)
            yield from lines
            seen += len(lines)
            if ended:
                return
            self._world.clock.sleep(FOLLOW_S)

    def output(self, slug: str, version: int | None) -> tuple[OutputFile, ...]:
        fault = self._calls.fault("ListKernelSessionOutput")
        if fault is not None and fault.action is CallAction.EMPTY:
            return ()  # corresponds to a session without output
        with self._calls.read(fault) as now:
            session = self._session(slug, version)
            lag_s = self._world.rules.behaviour.output_listed_s
            names = session.listed(now, lag_s) if session is not None else []
            label = f"v{session.version}" if session is not None else ""
            return tuple(output_file(name, f"direct:{slug}/{label}/{name}") for name in names)

    def download(self, file: OutputFile, into: Path, wanted: FileWanted) -> Downloaded:
        if file.refused:
            raise Corrupt(file.refused)
        fault = self._calls.fault("OutputFile")
        with self._calls.read(fault):
            slug, label, name = file.url.removeprefix("direct:").split("/", 2)
            session = self._world.kernels.session(self._world.owner, slug, label)
            if session is None or name not in session.files:
                raise Transient(f"{file.name} is not there any more: list the output again")
            content = session.files[name]
        return write_file(as_received(content, fault), into, wanted)

    # --- models and datasets of other accounts ------------------------------

    def see_model(self, ref: str) -> SourceSeen:
        with self._calls.reading("GetModelInstance"):
            try:
                files = self._world.model(ref)
            except KaggleRefusal as error:
                return _inaccessible(ref, error)
            return SourceSeen(ref=ref, access=Access.READABLE, size_bytes=total_bytes(files) or None)

    def download_model(self, ref: str, into: Path) -> None:
        with self._calls.reading("ListModelInstanceVersionFiles"):
            try:
                files = self._world.model(ref)
            except KaggleRefusal as error:
                raise Refused(str(error)) from error
            for name, content in files.items():
                if not (into / name).exists():
                    content.copy_to(into / name)

    def see_dataset(self, ref: str) -> SourceSeen:
        owner, _, slug = ref.partition("/")
        with self._calls.reading("GetDataset") as now:
            try:
                ready = self._world.datasets.find(owner, slug).ready(now)
            except KaggleRefusal as error:
                return _inaccessible(ref, error)
            size_bytes = total_bytes(ready.files) if ready is not None else None
            return SourceSeen(ref=ref, access=Access.READABLE, size_bytes=size_bytes)

    # --- datasets -----------------------------------------------------------

    def find_dataset(self, slug: str) -> DatasetSeen | None:
        with self._calls.reading("GetDataset") as now:
            if not self._world.datasets.exists(self._world.owner, slug):
                return None
            return _seen(self._world.datasets.find(self._world.owner, slug), now)

    def list_datasets(self, prefix: str) -> tuple[str, ...]:
        with self._calls.reading("ListDatasets"):
            return self._mine(self._world.datasets.all(), prefix)

    def send_ahead(self, slug: str, file: Path, sha256: str) -> None:
        """Do nothing: a world takes a dataset's files only when the dataset is created."""

    def create_dataset(
        self,
        slug: str,
        files: Sequence[Path],
        sha256: Mapping[str, str] | None = None,
        description: str = "",
        reached: Reached = ignore_progress,
    ) -> None:
        self._calls.fail(self._calls.fault("StartBlobUpload"), Transient)
        self._calls.fail(self._calls.fault("BlobUpload"), Transient)
        about = Describe(title=slug, license_name="CC0-1.0", description=description)
        with self._calls.changing("CreateDataset") as now:
            kept = {path.name: Content.of_bytes(path.read_bytes(), now) for path in files}
            try:
                self._world.datasets.create(self._world.owner, slug, about, kept, now)
            except ValueError as error:
                raise dataset_refused(slug, str(error)) from error

    def add_dataset_version(self, slug: str, files: Sequence[Path], notes: str) -> None:
        with self._calls.changing("CreateDatasetVersion") as now:
            kept = {path.name: Content.of_bytes(path.read_bytes(), now) for path in files}
            try:
                found = self._world.datasets.find(self._world.owner, slug)
                self._world.datasets.add_version(found, kept, notes, now)
            except (ValueError, KaggleRefusal) as error:
                raise dataset_refused(slug, str(error)) from error

    def download_dataset_file(self, slug: str, name: str, into: Path, wanted: FileWanted) -> Downloaded:
        fault = self._calls.fault("DatasetFile")
        with self._calls.read(fault) as now:
            version = self._world.datasets.version(self._world.owner, slug, None, now)
            if version is None or name not in version.files:
                raise Refused(f"{slug} has no file {name}")
            content = version.files[name]
        return write_file(as_received(content, fault), into, wanted)

    def delete_dataset(self, slug: str) -> None:
        with self._calls.changing("DeleteDataset", unclear=Transient):
            if self._world.datasets.exists(self._world.owner, slug):
                self._world.datasets.delete(self._world.owner, slug)

    # --- lookups ------------------------------------------------------------

    def _shown_kernels(self) -> list[Kernel]:
        kernels = self._world.kernels
        return [kernel for kernel in kernels.all() if kernels.shown(kernel.owner, kernel.slug) is not None]

    def _mine(self, found: Sequence[Kernel | Dataset], prefix: str) -> tuple[str, ...]:
        shown = self._world.rules.listed(found)
        return tuple(sorted(f.slug for f in shown if f.owner == self._world.owner and f.slug.startswith(prefix)))

    def _session(self, slug: str, version: int | None) -> KernelSession | None:
        return self._world.kernels.session(self._world.owner, slug, None if version is None else f"v{version}")

    def _live(self, slug: str, version: int | None) -> bool:
        try:
            session = self._session(slug, version)
        except KaggleRefusal:
            return False
        return session is not None and session.live

    def _lines(self, slug: str, version: int | None, after: int) -> tuple[LogLine, ...]:
        with self._world.at_now():
            try:
                session = self._session(slug, version)
            except KaggleRefusal:
                return ()
            lines = session.lines[after:] if session is not None else []
        return tuple(
            LogLine(number=after + number, stream=line.stream, at_s=line.at_s, text=whole_text(self._redact(line.text)))
            for number, line in enumerate(lines)
        )

    def _pushed(self, saved: SaveAnswer, save: Save) -> KernelPushed:
        if saved.error:
            slots = int(self._world.rules.slots.of(save.kind))
            full = saved.error == slot_message(save.kind, slots)
            declined = NoSlot if full else NameTaken if name_refused(saved.error) else OutOfQuota
            raise declined(f"Kaggle declined to run {save.slug}: {whole_text(saved.error)}")
        if saved.ref != save.slug:
            raise Permanent(f"{RENAMED} {save.slug} to {saved.ref}, which is running now")
        rejected = [*saved.invalid_datasets, *saved.invalid_kernels, *saved.invalid_models]
        if rejected:
            raise sources_refused(saved.ref, ", ".join(rejected))
        return KernelPushed(ref=saved.ref, version=saved.version)


def _inaccessible(ref: str, error: KaggleRefusal) -> SourceSeen:
    access = Access.ABSENT if error.code == 404 else Access.DENIED
    return SourceSeen(ref=ref, access=access, reason=error.message)


def _seen(dataset: Dataset, now: datetime) -> DatasetSeen:
    ready = dataset.ready(now)
    files = ready.files if ready is not None else {}
    return DatasetSeen(
        ref=dataset.ref,
        version=dataset.current(now).number,
        status=dataset.status(now).lower(),
        private=dataset.about.is_private,
        files=tuple(DatasetFile(name=name, size_bytes=files[name].size_bytes) for name in sorted(files)),
        description=dataset.about.description,
    )
