"""Slurm as simulations play it: its commands and the scripts of the shared folder, in one process on a virtual clock.

The platform's own code talks to it as to a cluster. The scripts are carried out on a real folder by functions that do
what they do; jobs are played by the simulated sessions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

from orchestrator.base.clock import Clock
from orchestrator.base.errors import BadInput, Transient
from orchestrator.platforms import shared_folder as scripts
from orchestrator.platforms.shell_host import CommandAnswer, ShellHost
from orchestrator.rehearsal.local_kaggle.sandbox import Behaviour, Played
from orchestrator.rehearsal.simulation.cluster_faults import ClusterFaults, JobFault, SubmitFault
from orchestrator.rehearsal.simulation.played_scripts import SCRIPTS, contents, text_in
from orchestrator.slurm.platform import SUBMIT

KEPT_S = 300.0
"""Seconds for which squeue lists a job that has ended (Slurm's MinJobAge)."""
REQUEUED_S = 120.0
"""Seconds after which a job that was put back into the queue starts again."""
AWAY = CommandAnswer(1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
DONE = CommandAnswer(0, "", "")


@dataclass
class PlayedJob:
    """A job of the played cluster."""

    number: int
    name: str
    comment: str
    folder: Path
    limit_s: float
    submitted: datetime
    starts: datetime
    states: list[tuple[datetime, str]] = field(default_factory=list)
    """Each state with the time since which the job is in it."""
    began: datetime | None = None
    played: Played | None = None
    """The session while it runs."""
    fault: JobFault | None = None
    written_s: float = -1.0
    """Session time up to which its lines and files are written."""

    @property
    def state(self) -> str:
        return self.states[-1][1]

    def seen(self, at: datetime) -> str:
        """Return the state at a time, as a list that lags has it; empty if it does not know the job yet."""
        return next((state for since, state in reversed(self.states) if since <= at), "")


class PlayedCluster(ShellHost):
    """A cluster in a folder. `behave` plays the session of a script; `faults` says what goes wrong."""

    def __init__(self, clock: Clock, behave: Behaviour, queue_s: float, faults: ClusterFaults) -> None:
        super().__init__()
        self._clock, self._behave, self._queue_s, self.faults = clock, behave, queue_s, faults
        self.jobs: list[PlayedJob] = []
        self.struck: list[str] = []
        """Faults that have struck, oldest first."""
        self._submissions = 0
        self._late: list[tuple[datetime, Path, int, tuple[str, ...]]] = []
        self._touched: dict[str, datetime] = {}
        """Time at which sbatch last named a job of a session's folder, or a job took the session."""

    @property
    def running(self) -> list[str]:
        """Names of the sessions that run now."""
        return [job.name for job in self.jobs if job.played is not None]

    # --- commands -------------------------------------------------------------

    def ask(self, *command: str, file: Path | None = None) -> CommandAnswer:
        now = self._clock.now()
        self.advance(now)
        if self.faults.unreachable(now):
            self._strike("the login node cannot be reached")
            raise Transient("the login node cannot be reached by SSH")
        if command[:2] == ("sh", "-c"):
            return self._run_script(command[2], command[4:], file)
        if command[0] in ("squeue", "scancel", "scontrol") and self.faults.away(now):
            self._strike("the controller is away")
            return AWAY
        match command:
            case ("squeue", *rest):
                return CommandAnswer(0, self._queue(rest[rest.index("-n") + 1], now), "")
            case ("sacct", *rest):
                return self._accounting(next(word for word in rest if word.startswith("--name="))[7:])
            case ("scancel", number):
                self._cancel(int(number), now)
            case ("scontrol", *_):
                return CommandAnswer(0, "ClusterName = simulated\n", "")
        return DONE

    @contextmanager
    def reading(self, *command: str) -> Iterator[IO[bytes]]:
        self.advance(self._clock.now())
        skip = int(command[2]) - 1 if command[0] == "tail" else 0
        with Path(command[-1]).open("rb") as stream:
            stream.seek(skip)
            yield stream

    def _queue(self, name: str, now: datetime) -> str:
        at = now - timedelta(seconds=self.faults.lag_s)
        listed = [(job, job.seen(at)) for job in self.jobs if job.name == name]
        if any(state != job.state for job, state in listed):
            self._strike("squeue lags")
        kept = [(job, state) for job, state in listed if state and not self._purged(job, now)]
        return "".join(f"{job.number}|{state}|{job.comment}\n" for job, state in kept)

    def _purged(self, job: PlayedJob, now: datetime) -> bool:
        return job.state not in ("PENDING", "RUNNING") and now - job.states[-1][0] > timedelta(seconds=KEPT_S)

    def _accounting(self, name: str) -> CommandAnswer:
        if not self.faults.accounting:
            raise BadInput("sacct is not there")
        return CommandAnswer(0, "".join(f"{j.number}|{j.state}|{j.comment}\n" for j in self.jobs if j.name == name), "")

    def _cancel(self, number: int, now: datetime) -> None:
        job = self.jobs[number - 1]
        if job.state in ("PENDING", "RUNNING"):
            self._end(job, "CANCELLED", now)

    # --- sbatch ---------------------------------------------------------------

    def _submit(self, folder: Path, command: tuple[str, ...]) -> CommandAnswer:
        self._submissions += 1
        now, fault = self._clock.now(), self.faults.submits.get(self._submissions)
        if fault is not None:
            self._strike(f"sbatch: {fault}")
        if fault is SubmitFault.FULL:
            return CommandAnswer(1, "", "sbatch: error: AssocMaxSubmitJobLimit")
        if fault is SubmitFault.NEVER or (fault is None and self.faults.away(now)):
            return CommandAnswer(1, "", "sbatch: error: Unable to contact slurm controller (connect failure)")
        if fault is SubmitFault.LATE:
            self._late.append((now + timedelta(seconds=self.faults.late_s), folder, folder.stat().st_ino, command))
            raise Transient("sbatch gave no answer in 120 s")
        number = self._take(folder, command, now)
        if fault is SubmitFault.UNNAMED:  # the connection and the shell behind it died in between
            raise Transient("sbatch gave no answer in 120 s")
        self._name(folder, number, now)
        if fault is SubmitFault.LOST:
            raise Transient("sbatch gave no answer in 120 s")
        return CommandAnswer(0, f"{number}\n", "")

    def _take(self, folder: Path, command: tuple[str, ...], now: datetime) -> int:
        given = dict(word[2:].split("=", 1) for word in command if word.startswith("--") and "=" in word)
        job = PlayedJob(
            number=len(self.jobs) + 1,
            name=given["job-name"],
            comment=given["comment"],
            folder=folder,
            limit_s=60.0 * int(given["time"]),
            submitted=now,
            starts=now + timedelta(seconds=self._queue_s),
            states=[(now, "PENDING")],
        )
        self.jobs.append(job)
        return job.number

    def _name(self, folder: Path, number: int, now: datetime) -> None:
        (folder / "submitted").write_text(f"{number}\n")
        self._touched[str(folder)] = now

    # --- jobs -----------------------------------------------------------------

    def advance(self, now: datetime) -> None:
        """Let time pass: jobs arrive late, start, write, are hit by their faults, and end."""
        for late in [late for late in self._late if late[0] <= now]:
            self._late.remove(late)
            at, folder, inode, command = late
            number = self._take(folder, command, at)
            if folder.exists() and folder.stat().st_ino == inode:  # else its shell stands in a folder that is gone
                self._name(folder, number, at)
        for job in self.jobs:
            if job.state == "PENDING" and job.starts <= now:
                self._start(job, job.starts)
            if job.played is not None:
                self._go_on(job, job.played, now)

    def _start(self, job: PlayedJob, now: datetime) -> None:
        job.states.append((now, "RUNNING"))
        claim = job.folder / "claim"
        if not job.folder.exists() or claim.exists():
            self._end(job, "COMPLETED" if job.folder.exists() else "FAILED", now)
            return
        claim.write_text(f"{job.number}\n")
        self._touched[str(job.folder)] = now
        mounts = {each.name: contents(each) for each in (job.folder / "input").iterdir()}
        job.began, job.written_s = now, -1.0
        job.played = self._behave((job.folder / "script.py").read_text(encoding="utf-8"), mounts, job.limit_s)
        job.fault = self.faults.jobs.get(sum(each.began is not None for each in self.jobs))

    def _go_on(self, job: PlayedJob, played: Played, now: datetime) -> None:
        assert job.began is not None
        elapsed_s = (now - job.began).total_seconds()
        ends = [(played.ends_after_s, "COMPLETED" if played.exit_code == 0 else "FAILED"), (job.limit_s, "TIMEOUT")]
        if job.fault is not None:
            ends.append((job.fault.after_s, job.fault.state))
        at_s, state = min(ends, key=lambda end: end[0])
        self._write(job, played, min(elapsed_s, at_s))
        if elapsed_s < at_s:
            return
        at = job.began + timedelta(seconds=at_s)
        if state in ("COMPLETED", "FAILED"):
            (job.folder / "ended").write_text(f"{played.exit_code}\n")
        elif state != "TIMEOUT":
            self._strike(f"job {state.lower()}")
        if state == "REQUEUED":
            job.played, job.fault, job.starts = None, None, at + timedelta(seconds=REQUEUED_S)
            job.states.append((at, "PENDING"))
            return
        self._end(job, state, at)

    def _end(self, job: PlayedJob, state: str, at: datetime) -> None:
        if job.played is not None and job.began is not None:
            self._write(job, job.played, (at - job.began).total_seconds())
        job.played = None
        job.states.append((at, state))

    def _write(self, job: PlayedJob, played: Played, until_s: float) -> None:
        """Write the lines and files of the session time since the last call."""
        lines = [
            text for at_s, text in sorted(played.lines, key=lambda line: line[0]) if job.written_s < at_s <= until_s
        ]
        with (job.folder / f"log-{job.number}").open("a", encoding="utf-8") as log:
            log.write("".join(f"{text}\n" for text in lines))
        for at_s, name, data in sorted(played.files, key=lambda file: file[0]):
            if job.written_s < at_s <= until_s:
                path = job.folder / "working" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        job.written_s = max(job.written_s, until_s)

    def _strike(self, what: str) -> None:
        self.struck.append(what)

    # --- the scripts of the shared folder -----------------------------------------

    def _run_script(self, text: str, given: tuple[str, ...], file: Path | None) -> CommandAnswer:
        if text == SUBMIT:
            return self._submit(Path(given[0]), given[1:])
        if text == scripts.TRACES:
            return CommandAnswer(0, self._traces(Path(given[0]), given[2:]), "")
        return CommandAnswer(0, SCRIPTS[text](given, file), "")

    def _traces(self, folder: Path, names: tuple[str, ...]) -> str:
        if not folder.is_dir():
            return scripts.ABSENT
        told = {name: text_in(folder / name) for name in names}
        touched = self._touched.get(str(folder)) if told["submitted"] or told["claim"] else None
        age = "" if touched is None else str(int((self._clock.now() - touched).total_seconds()))
        return "".join(f"{name}={value}\n" for name, value in (told | {"age": age}).items())
