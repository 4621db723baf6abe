"""`Platform` for a Slurm cluster: a session is a job, what it leaves stays in a folder that all nodes share."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path, PurePosixPath

from kaggle_kernels import build
from orchestrator.base.errors import Ambiguous, BadInput, Corrupt, NameTaken, Permanent, Transient
from orchestrator.platforms.file_names import output_file
from orchestrator.platforms.names import PLATFORM_NAMES
from orchestrator.platforms.port import (
    SOURCES_NOT_ACCEPTED,
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
from orchestrator.slurm import jobs
from orchestrator.slurm.host import ClusterHost
from orchestrator.slurm.job_script import JobPlaces, job_script, requirement_files
from orchestrator.slurm.log_lines import lines_in
from orchestrator.slurm.options import ClusterOptions
from orchestrator.slurm.shared_folder import SharedFolder
from orchestrator.slurm.transfer import fetch, sha256_of

FOLLOW_S = 2.0
"""Seconds between two looks at a log that is followed."""
SUBMIT = (
    'cd "$1" && shift && id=$("$@") && echo "${id%%;*}" > submitted.part && mv submitted.part submitted && echo "$id"'
)
"""Submits the job and keeps its id beside the session in one step, so that the answer may be lost."""


class SlurmPlatform:
    """A user's account on a cluster. Safe to use from several threads; every call runs commands of its own."""

    def __init__(
        self, options: ClusterOptions, *, sleep: Callable[[float], None], host: ClusterHost | None = None
    ) -> None:
        self._options = options
        self._host = host or ClusterHost(options.login)
        self._folder = SharedFolder(self._host, options.shared)
        self._queue = jobs.SlurmQueue(self._host)
        self._sleep = sleep

    @property
    def label(self) -> str:
        return PLATFORM_NAMES["slurm"]

    @property
    def abreast_max(self) -> int:
        return 2

    @property
    def can_stop(self) -> bool:
        return True

    # --- account ----------------------------------------------------------------

    @cached_property
    def _user(self) -> str:
        return self._host.script("id -un").strip()

    def owner(self) -> str:
        """Return the user and the cluster, as user@cluster. Raises BadInput without Slurm, or without the shared folder."""
        return self._account

    @cached_property
    def _account(self) -> str:
        answer = self._host.ask("scontrol", "show", "config")
        if answer.status != 0:
            raise Transient(f"scontrol on {self._host.name} failed: {answer.message}")
        names = (line.partition("=") for line in answer.out.splitlines())
        cluster = next((value.strip() for name, _, value in names if name.strip() == "ClusterName"), "slurm")
        if self._host.ask("mkdir", "-p", "--", str(self._folder.root)).status != 0:
            raise BadInput(
                f"slurm.shared: {self._folder.root} cannot be made on {self._host.name}: name a folder of yours"
            )
        return f"{self._user}@{cluster}"

    def quota(self, accelerator: str) -> Quota | None:
        """Return None: Slurm accounts for time in its own way, and queues what has to wait."""
        return None

    # --- sessions ---------------------------------------------------------------

    def find_kernel(self, slug: str) -> KernelFound | None:
        source = self._folder.source(slug)
        return None if source is None else KernelFound(ref=self._ref(slug), version=1, source=source)

    def list_kernels(self, prefix: str) -> tuple[str, ...]:
        return self._names(self._folder.sessions, prefix)

    def recent_kernels(self, page: str | None = None) -> KernelsPage:
        found = self._folder.names(self._folder.sessions)
        return KernelsPage(
            kernels=tuple(KernelListed(slug=name, ran_at=datetime.fromtimestamp(at, UTC)) for at, name in found)
        )

    def push(self, kernel: KernelPush) -> KernelPushed:
        if len(kernel.source.encode()) >= build.SIZE_BYTES_MAX:
            raise Permanent(f"the source of {kernel.slug} is too large: relay keeps to {build.SIZE_BYTES_MAX:,} bytes")
        self._folder.prepare()
        record = self._folder.record(kernel.slug)
        if record is not None and (record.claimed or self._queue.find(kernel.slug, self._user)):
            raise NameTaken(f"there is a session {kernel.slug} in {self._folder.sessions} already")
        folder, order = self._folder.sessions / kernel.slug, build.order_in(kernel.source)
        places = JobPlaces(
            folder=str(folder),
            environments=str(self._folder.root / "environments"),
            python=self._options.python,
            setup=self._options.setup,
        )
        texts = {"script.py": kernel.source, "job.sh": job_script(places, order), **requirement_files(order)}
        self._folder.place_session(kernel.slug, texts, self._mounts(kernel))
        token = order.token if order is not None else kernel.slug
        self._submit(kernel, folder, token)
        return KernelPushed(ref=self._ref(kernel.slug), version=1)

    def _submit(self, kernel: KernelPush, folder: PurePosixPath, token: str) -> None:
        asked = self._options.sbatch(kernel.timeout_s)
        named = [f"--job-name={kernel.slug}", f"--comment={token}", f"--chdir={folder}", f"--output={folder}/log-%j"]
        command = ["sbatch", "--parsable", *named, "--open-mode=append", *asked, f"{folder}/job.sh"]
        try:
            answer = self._host.ask("sh", "-c", SUBMIT, "relay", str(folder), *command)
        except Transient as error:
            raise Ambiguous(f"it is not clear whether Slurm took {kernel.slug}: {error}") from error
        if answer.status != 0:
            raise jobs.refusal(kernel.slug, answer)

    def _mounts(self, kernel: KernelPush) -> dict[str, PurePosixPath]:
        """Return what to show below the session's `input`, by name. Raises Permanent for what is not there."""
        wanted = {ref: self._folder.datasets / ref.rpartition("/")[2] / "files" for ref in kernel.dataset_sources}
        wanted |= {ref: self._folder.sessions / ref.rpartition("/")[2] / "working" for ref in kernel.kernel_sources}
        missing = [ref for ref, folder in wanted.items() if self._folder.files(folder) is None]
        if missing := [*missing, *kernel.model_sources]:
            raise Permanent(
                f"{self._folder.root} {SOURCES_NOT_ACCEPTED} of {kernel.slug}: {', '.join(missing)} is not there; nothing was started"
            )
        return {ref.rpartition("/")[2]: folder for ref, folder in wanted.items()}

    def stop(self, slug: str, version: int | None) -> None:
        for job in self._queue.find(slug, self._user):
            if not job.worker.terminal:
                self._queue.cancel(job.id)

    def session(self, slug: str, version: int | None) -> SessionSeen:
        record = self._folder.record(slug)
        if record is None:
            return SessionSeen(worker=Worker.UNKNOWN, message=f"there is no session {slug} in {self._folder.sessions}")
        try:
            seen = jobs.seen_of(record, self._queue.find(slug, self._user))
        except Transient as error:
            return SessionSeen(worker=Worker.UNKNOWN, message=str(error))
        if seen.worker is Worker.NEW_SCRIPT and record.submitted:
            self._folder.revoke(slug)  # the job is gone: let none of that name start late
            revoked = self._folder.record(slug)
            return seen if revoked is None else jobs.seen_of(revoked, self._queue.find(slug, self._user))
        return seen

    # --- logs and output --------------------------------------------------------

    def log(self, slug: str, version: int | None) -> Iterator[LogLine]:
        path, ended = self._log_path(slug), self.session(slug, version).worker.terminal
        if path is not None:
            with self._host.reading("cat", str(path)) as stream:
                yield from lines_in(stream, whole=ended)

    def follow_log(self, slug: str, version: int | None, seen: int = 0) -> Iterator[LogLine]:
        while True:
            ended = self.session(slug, version).worker.terminal
            for line in self.log(slug, version):
                if line.number >= seen:
                    seen = line.number + 1
                    yield line
            if ended:
                return
            self._sleep(FOLLOW_S)

    def _log_path(self, slug: str) -> PurePosixPath | None:
        """Return the log of the job that has the session; None while it has none."""
        record = self._folder.record(slug)
        if record is None or not (job := record.claimed or record.submitted) or job == jobs.REVOKED:
            return None
        folder = self._folder.sessions / slug
        there = self._folder.files(folder) or ()
        return folder / f"log-{job}" if any(file.name == f"log-{job}" for file in there) else None

    def output(self, slug: str, version: int | None) -> tuple[OutputFile, ...]:
        folder = self._folder.sessions / slug / "working"
        return tuple(output_file(file.name, f"{folder}/{file.name}") for file in self._folder.files(folder) or ())

    def download(self, file: OutputFile, into: Path, wanted: FileWanted) -> Downloaded:
        if file.refused:
            raise Corrupt(file.refused)
        return fetch(self._host, PurePosixPath(file.url), into, wanted)

    # --- datasets ---------------------------------------------------------------

    def find_dataset(self, slug: str) -> DatasetSeen | None:
        found = self._folder.files(self._folder.datasets / slug / "files")
        if found is None:
            return None
        return DatasetSeen(
            ref=self._ref(slug),
            version=1,
            status="ready",
            private=True,
            files=tuple(DatasetFile(name=file.name, size_bytes=file.size_bytes) for file in found),
            description=self._folder.description(slug),
        )

    def list_datasets(self, prefix: str) -> tuple[str, ...]:
        return self._names(self._folder.datasets, prefix)

    def send_ahead(self, slug: str, file: Path, sha256: str) -> None:
        self._folder.prepare()
        self._folder.send(slug, file)

    def create_dataset(
        self,
        slug: str,
        files: Sequence[Path],
        sha256: Mapping[str, str] | None = None,
        description: str = "",
        reached: Reached = ignore_progress,
    ) -> None:
        self._folder.prepare()
        wanted = {path.name: (sha256 or {}).get(path.name) or sha256_of(path) for path in files}
        there = self._folder.sent(slug)
        for path in files:
            if there.get(path.name) != wanted[path.name]:
                self._folder.send(slug, path)
            reached(path.name, path.stat().st_size)
        arrived = self._folder.sent(slug)
        if wrong := [name for name, digest in wanted.items() if arrived.get(name) != digest]:
            raise Transient(f"{', '.join(wrong)} of {slug} arrived damaged in {self._folder.datasets}")
        self._folder.publish(slug, tuple(wanted), description)

    def download_dataset_file(self, slug: str, name: str, into: Path, wanted: FileWanted) -> Downloaded:
        return fetch(self._host, self._folder.datasets / slug / "files" / name, into, wanted)

    def delete_dataset(self, slug: str) -> None:
        self._folder.delete(slug)

    # --- names ------------------------------------------------------------------

    def _names(self, folder: PurePosixPath, prefix: str) -> tuple[str, ...]:
        return tuple(sorted(name for _, name in self._folder.names(folder) if name.startswith(prefix)))

    def _ref(self, slug: str) -> str:
        return f"{self._account}/{slug}"
