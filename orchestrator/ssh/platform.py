"""`Platform` for one machine with SSH: a session is a process there, what it leaves stays in a folder of that machine."""

import re
from collections.abc import Callable
from functools import cached_property

from kaggle_kernels import build
from orchestrator.base.errors import Ambiguous, BadInput, NameTaken, NoSlot, Refused, Transient
from orchestrator.platforms.environment_script import SessionPlaces, requirement_files
from orchestrator.platforms.folder_platform import FolderPlatform
from orchestrator.platforms.names import PLATFORM_NAMES
from orchestrator.platforms.port import KernelPush, KernelPushed, SessionSeen, Worker
from orchestrator.platforms.shared_folder import ABSENT, REVOKED
from orchestrator.platforms.shell_host import ShellHost
from orchestrator.ssh import scripts
from orchestrator.ssh.lease import MachineRecord, seen_of
from orchestrator.ssh.options import MachineOptions

PYTHON_MIN = (3, 11)
DENIED = re.compile(
    r"permission denied|host key verification failed|identification has changed|could not resolve|too many authentication",
    re.IGNORECASE,
)
"""Wording of `ssh` for a connection that no repetition makes work."""


class SshPlatform(FolderPlatform):
    """A user's account on a machine. `grace_s`: seconds that a stopped session has until it is killed."""

    def __init__(
        self, options: MachineOptions, *, sleep: Callable[[float], None], grace_s: int = scripts.GRACE_S
    ) -> None:
        super().__init__(ShellHost(options.host), options.folder, sleep)
        self._options, self._grace_s = options, grace_s

    @property
    def label(self) -> str:
        return PLATFORM_NAMES["ssh"]

    # --- account ----------------------------------------------------------------

    def owner(self) -> str:
        """Return the user and the machine's name, as user@host.

        Raises BadInput if the machine refuses the login or lacks what relay needs.
        """
        return self._account

    @cached_property
    def _account(self) -> str:
        options, name = self._options, self._host.name
        python = "" if options.setup else options.python  # the lines of setup may be what provides it
        try:
            told = self._host.script(scripts.OFFER, options.folder, python, " ".join(scripts.PROGRAMS))
        except Transient as error:
            if not DENIED.search(str(error)):
                raise
            raise BadInput(f"ssh.host: {error}: make `ssh {options.host} true` work without a question") from error
        offer = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
        if missing := offer.get("missing", "").split():
            raise BadInput(f"ssh.host: {name} lacks {', '.join(missing)}: sessions need a Linux with GNU tools")
        if "folder" not in offer:
            raise BadInput(f"ssh.folder: {options.folder} cannot be made on {name}: name a folder of yours")
        version = tuple(int(part) for part in offer.get("python", "0").split("."))
        if python and version < PYTHON_MIN:
            found = f"is Python {offer['python']}" if "python" in offer else "is not there"
            raise BadInput(f"ssh.python: {python} {found} on {name}: name a Python of 3.11 or newer")
        return f"{offer['user']}@{options.host.rpartition('@')[2] or 'localhost'}"

    # --- sessions ---------------------------------------------------------------

    def push(self, kernel: KernelPush) -> KernelPushed:
        self._require_size(kernel)
        self._folder.prepare()
        self._refuse_taken(kernel.slug)
        folder, order = self._folder.sessions / kernel.slug, build.order_in(kernel.source)
        places = SessionPlaces(
            folder=str(folder),
            environments=str(self._folder.root / "environments"),
            python=self._options.python,
            setup=self._options.setup,
        )
        script = scripts.session_script(places, kernel.slug, order, kernel.timeout_s, self._options.signal_s)
        texts = {"script.py": kernel.source, "session.sh": script, **requirement_files(order)}
        self._folder.place_session(kernel.slug, texts, self._mounts(kernel))
        self._start(kernel.slug)
        return KernelPushed(ref=self._ref(kernel.slug), version=1)

    def _refuse_taken(self, slug: str) -> None:
        """Raise NameTaken if something runs or ran the session. Else nothing that an earlier push started ever will."""
        if self._record(slug) is None:
            return
        self._folder.revoke(slug)
        record = self._record(slug)
        if record is not None and record.claim != REVOKED:
            raise NameTaken(f"there is a session {slug} in {self._folder.sessions} already")

    def _start(self, slug: str) -> None:
        folder = str(self._folder.sessions / slug)
        try:
            told = self._host.script(scripts.START, folder, str(self._options.jobs), slug).strip()
        except Transient as error:
            raise Ambiguous(f"it is not clear whether {self._host.name} started {slug}: {error}") from error
        if told == "full":
            raise NoSlot(f"{self._host.name} runs as many sessions as ssh.jobs says ({self._options.jobs})")
        if told == "started":
            return
        self._folder.revoke(slug)
        record = self._record(slug)
        if record is None or record.claim == REVOKED:
            raise Refused(
                f"{slug} did not begin on {self._host.name}: {told.removeprefix('late').strip() or 'no reason'}"
            )

    def stop(self, slug: str, version: int | None) -> None:
        if self._record(slug) is None:
            return
        self._folder.revoke(slug)
        self._host.script(scripts.STOP, str(self._folder.sessions / slug), scripts.LIVES, str(self._grace_s))

    def session(self, slug: str, version: int | None) -> SessionSeen:
        record = self._record(slug)
        if record is None:
            return SessionSeen(worker=Worker.UNKNOWN, message=f"there is no session {slug} in {self._folder.sessions}")
        if not record.claimed:
            self._folder.revoke(slug)  # nothing has begun it: let nothing begin it late
            record = self._record(slug) or record
        return seen_of(record, slug)

    def log_name(self, slug: str) -> str | None:
        record = self._record(slug)
        return "log" if record is not None and record.claimed and record.claim != REVOKED else None

    def _record(self, slug: str) -> MachineRecord | None:
        """Return a session's traces, or None if there is no session of that name."""
        told = self._host.script(scripts.LOOK, str(self._folder.sessions / slug), str(self._folder.root))
        if told.strip() == ABSENT:
            return None
        if not told.strip():
            raise Transient(
                f"the folder {self._folder.root} is not there on {self._host.name}: mount its disk or, on a new machine, "
                "make it with mkdir -p"
            )
        return MachineRecord.parse(told)
