"""`Platform` for a Slurm cluster: a session is a job, what it leaves stays in a folder that all nodes share."""

from collections.abc import Callable
from functools import cached_property
from pathlib import PurePosixPath

from kaggle_kernels import build
from orchestrator.base.errors import Ambiguous, BadInput, NameTaken, Transient
from orchestrator.platforms.environment_script import SessionPlaces, requirement_files
from orchestrator.platforms.folder_platform import FolderPlatform
from orchestrator.platforms.names import PLATFORM_NAMES
from orchestrator.platforms.port import KernelPush, KernelPushed, SessionSeen, Worker
from orchestrator.platforms.shared_folder import REVOKED
from orchestrator.platforms.shell_host import ShellHost
from orchestrator.slurm import jobs
from orchestrator.slurm.job_script import job_script
from orchestrator.slurm.options import ClusterOptions

LOGIN = "run relay on a login node of the cluster, or name one in slurm.login"
"""Remedy where a command of Slurm is not there."""
SUBMIT = (
    'cd "$1" && shift && id=$("$@") && echo "${id%%;*}" > submitted.part && mv submitted.part submitted && echo "$id"'
)
"""Submits the job and keeps its id beside the session in one step, so that the answer may be lost."""


class SlurmPlatform(FolderPlatform):
    """A user's account on a cluster."""

    def __init__(
        self, options: ClusterOptions, *, sleep: Callable[[float], None], host: ShellHost | None = None
    ) -> None:
        super().__init__(host or ShellHost(options.login, LOGIN), options.shared, sleep)
        self._options = options
        self._queue = jobs.SlurmQueue(self._host)

    @property
    def label(self) -> str:
        return PLATFORM_NAMES["slurm"]

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
        if self._host.ask("mkdir", "-p", "-m", "700", "--", str(self._folder.root)).status != 0:
            raise BadInput(
                f"slurm.shared: {self._folder.root} cannot be made on {self._host.name}: name a folder of yours"
            )
        return f"{self._user}@{cluster}"

    # --- sessions ---------------------------------------------------------------

    def push(self, kernel: KernelPush) -> KernelPushed:
        self._require_size(kernel)
        self._folder.prepare()
        record = self._record(kernel.slug)
        if record is not None and (record.claimed or self._queue.find(kernel.slug, self._user)):
            raise NameTaken(f"there is a session {kernel.slug} in {self._folder.sessions} already")
        folder, order = self._folder.sessions / kernel.slug, build.order_in(kernel.source)
        places = SessionPlaces(
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

    def stop(self, slug: str, version: int | None) -> None:
        for job in self._queue.find(slug, self._user):
            if not job.worker.terminal:
                self._queue.cancel(job.id)

    def session(self, slug: str, version: int | None) -> SessionSeen:
        record = self._record(slug)
        if record is None:
            return SessionSeen(worker=Worker.UNKNOWN, message=f"there is no session {slug} in {self._folder.sessions}")
        try:
            seen = jobs.seen_of(record, self._queue.find(slug, self._user))
        except Transient as error:
            return SessionSeen(worker=Worker.UNKNOWN, message=str(error))
        if seen.worker is Worker.NEW_SCRIPT and record.submitted:
            self._folder.revoke(slug)  # the job is gone: let none of that name start late
            revoked = self._record(slug)
            return seen if revoked is None else jobs.seen_of(revoked, self._queue.find(slug, self._user))
        return seen

    def log_name(self, slug: str) -> str | None:
        record = self._record(slug)
        if record is None or not (job := record.claimed or record.submitted) or job == REVOKED:
            return None
        return f"log-{job}"

    def _record(self, slug: str) -> jobs.SessionRecord | None:
        """Return a session's traces, or None if there is no session of that name."""
        found = self._folder.traces(slug, "submitted", "claim", "ended")
        if found is None:
            return None
        age_s = float(found["age"]) if found.get("age", "").lstrip("-").isdigit() else 0.0
        return jobs.SessionRecord(found["submitted"], found["claim"], found["ended"], age_s)
