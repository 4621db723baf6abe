"""Slurm's jobs: their states in relay's words, and the commands that submit, find and cancel them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrator.base.errors import Ambiguous, NoSlot, Permanent, Refused, RelayError, Transient
from orchestrator.platforms.port import TIME_LIMIT, SessionSeen, Worker
from orchestrator.platforms.shared_folder import REVOKED
from orchestrator.platforms.shell_host import CommandAnswer, ShellHost

WORKERS: Mapping[str, Worker] = {
    "PENDING": Worker.QUEUED,
    "CONFIGURING": Worker.QUEUED,
    "REQUEUED": Worker.QUEUED,
    "REQUEUE_HOLD": Worker.QUEUED,
    "REQUEUE_FED": Worker.QUEUED,
    "RESV_DEL_HOLD": Worker.QUEUED,
    "SPECIAL_EXIT": Worker.QUEUED,
    "RUNNING": Worker.RUNNING,
    "COMPLETING": Worker.RUNNING,
    "RESIZING": Worker.RUNNING,
    "SIGNALING": Worker.RUNNING,
    "STAGE_OUT": Worker.RUNNING,
    "STOPPED": Worker.RUNNING,
    "SUSPENDED": Worker.RUNNING,
    "COMPLETED": Worker.COMPLETE,
    "CANCELLED": Worker.CANCEL_ACKNOWLEDGED,
    "REVOKED": Worker.CANCEL_ACKNOWLEDGED,
    "TIMEOUT": Worker.CANCEL_ACKNOWLEDGED,
    "DEADLINE": Worker.CANCEL_ACKNOWLEDGED,
    "BOOT_FAIL": Worker.ERROR,
    "FAILED": Worker.ERROR,
    "NODE_FAIL": Worker.ERROR,
    "OUT_OF_MEMORY": Worker.ERROR,
    "PREEMPTED": Worker.ERROR,
}
"""Status of a session by the state of its job (source: squeue(1), "Job state codes")."""

REASONS: Mapping[str, str] = {
    "TIMEOUT": f"it {TIME_LIMIT}",
    "DEADLINE": "its deadline passed",
    "CANCELLED": "it was cancelled",
    "PREEMPTED": "a job of higher priority took its node",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node did not boot",
    "OUT_OF_MEMORY": "it needed more memory than the job has: see slurm.memory",
    "FAILED": "its program failed",
}
FULL_QUEUE = re.compile(r"MaxSubmit\w*|Max\w*Job\w*|job violates accounting/QOS policy", re.IGNORECASE)
"""Wording for a job that the account or its quality of service has no room for now."""
UNANSWERED = re.compile(r"timed out|unable to contact|communication connection failure|zero bytes", re.IGNORECASE)
"""Wording for an answer of the controller that was lost: the job may exist."""
WRONG = re.compile(
    r"invalid|unrecognized|not available|not exist|access|permission|not permitted|cannot be satisfied|more than",
    re.IGNORECASE,
)
"""Wording for a job that no repetition makes acceptable."""


@dataclass(frozen=True)
class SlurmJob:
    """Job as Slurm lists it; `comment` is the token of the session that it was submitted for."""

    id: str
    state: str
    comment: str = ""

    @property
    def worker(self) -> Worker:
        """Status in relay's words; UNKNOWN for a state that Slurm's manual does not have."""
        return WORKERS.get(self.state, Worker.UNKNOWN)

    @property
    def message(self) -> str:
        """Sentence about the end of the job; empty while it lives and if it ended well."""
        reason = REASONS.get(self.state, "")
        return f"Slurm job {self.id} is {self.state}: {reason}" if reason else ""


@dataclass(frozen=True)
class SessionRecord:
    """Traces of a session in the shared folder: job ids, and the exit status; empty if there is none."""

    submitted: str = ""
    claimed: str = ""
    """Job that took the session. Only this one runs it, however many were submitted."""
    ended: str = ""
    age_s: float = 0.0
    """Seconds since sbatch named a job, or one took the session, whichever was later."""


LISTED_S = 300.0
"""Seconds after which a job that Slurm does not list counts as gone; until then its list may lag behind."""


def seen_of(record: SessionRecord, jobs: Iterable[SlurmJob]) -> SessionSeen:
    """Return a session's status. A session without claim whose job is gone is NEW_SCRIPT: `revoke` it before believing so."""
    known = {job.id: job for job in jobs}
    if record.claimed == REVOKED:
        return SessionSeen(
            worker=Worker.CANCEL_ACKNOWLEDGED,
            message=f"Slurm job {record.submitted or 'unknown'} left the queue and never ran",
        )
    newest = max(known, key=_order, default="")
    job = known.get(record.claimed or record.submitted or newest)
    if job is None and not record.claimed:
        job = known.get(newest)
    if job is not None:
        return SessionSeen(
            worker=job.worker, message=job.message or ("" if job.state in WORKERS else f"Slurm says {job.state}")
        )
    if record.ended:
        ended_well = record.ended == "0"
        message = "" if ended_well else f"its program ended with status {record.ended}"
        return SessionSeen(worker=Worker.COMPLETE if ended_well else Worker.ERROR, message=message)
    if record.age_s < LISTED_S and (record.claimed or record.submitted):
        return SessionSeen(worker=Worker.RUNNING if record.claimed else Worker.QUEUED)
    if record.claimed:
        why = f"Slurm does not know job {record.claimed} any more, and it left no exit status"
        return SessionSeen(worker=Worker.ERROR, message=why)
    return SessionSeen(worker=Worker.NEW_SCRIPT)


def _order(job: str) -> int:
    return int(job) if job.isdigit() else 0


class SlurmQueue:
    """Slurm's commands about jobs of one user."""

    def __init__(self, host: ShellHost) -> None:
        self._host = host

    def find(self, name: str, user: str) -> tuple[SlurmJob, ...]:
        """Return the jobs of that name: those that squeue still lists, and if there is none those of the accounting."""
        listed = self._host.ask("squeue", "-h", "-t", "all", "-u", user, "-n", name, "-o", "%i|%T|%k")
        if listed.status != 0:
            raise Transient(f"squeue on {self._host.name} failed: {listed.message}")
        if found := jobs_in(listed.out):
            return found
        try:
            counted = self._host.ask(
                "sacct", "-n", "-P", "-X", "-u", user, f"--name={name}", "-S", "now-60days", "-o", "JobID,State,Comment"
            )
        except RelayError:  # a cluster without accounting
            return ()
        return jobs_in(counted.out) if counted.status == 0 else ()

    def cancel(self, job: str) -> None:
        """Cancel a job; one that has ended counts as cancelled. Raises Transient."""
        answer = self._host.ask("scancel", job)
        if answer.status != 0 and "invalid job id" not in answer.message.lower():
            raise Transient(f"scancel on {self._host.name} failed: {answer.message}")


def jobs_in(listing: str) -> tuple[SlurmJob, ...]:
    """Parse lines of id, state and comment. A state such as `CANCELLED by 1000` loses its end."""
    rows = [line.split("|", 2) for line in listing.splitlines() if line.count("|") >= 2]
    return tuple(
        SlurmJob(id_.strip(), state.split()[0] if state.split() else "", comment) for id_, state, comment in rows
    )


def refusal(slug: str, answer: CommandAnswer) -> RelayError:
    """Return the error for an sbatch that failed. Ambiguous: the job may exist, because the controller's
    answer was lost or sbatch itself was interrupted."""
    text = f"sbatch did not take {slug}: {answer.message}"
    if UNANSWERED.search(answer.message) or "sbatch: error" not in answer.message:
        return Ambiguous(text)
    if FULL_QUEUE.search(answer.message):
        return NoSlot(text)
    return (
        Permanent(f"{text}; correct the slurm section with relay retry --pipeline FILE")
        if WRONG.search(answer.message)
        else Refused(text)
    )
