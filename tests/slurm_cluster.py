"""A real Slurm on this machine, without systemd: munged, slurmctld and slurmd in a folder of their own.

`python -m tests.slurm_cluster FOLDER` starts one by hand and keeps it until Ctrl-C; it prints the variable to set.
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

INSTALL = "apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
PATIENCE_S = 60.0

CONFIG = """
ClusterName=relaytest
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/ended-jobs.txt
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
MinJobAge=3600
KillWait=3
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP OverTimeLimit=0 OverSubscribe=FORCE:8
"""


def missing() -> str:
    """Why no Slurm can be started here, with the command to type; empty if one can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=SYSTEM_PATH) is None]
    return f"{', '.join(absent)} not installed: {INSTALL}" if absent else ""


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Start a cluster of one node; yields the environment variables with which Slurm's commands find it."""
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    config = folder / "slurm.conf"
    ports = [_free_port(), _free_port()]
    config.write_text(
        CONFIG.format(
            host=socket.gethostname().split(".")[0],
            user=getpass.getuser(),
            folder=folder,
            controller_port=ports[0],
            node_port=ports[1],
            cpus=os.cpu_count(),
        )
    )
    environment = {"SLURM_CONF": str(config), "PATH": SYSTEM_PATH}
    with ExitStack() as stack:
        for command in (_munged(folder), ["slurmctld", "-D", "-f", str(config)], ["slurmd", "-D", "-f", str(config)]):
            stack.callback(_end, _start(command, environment))
            _until(lambda: (folder / "munge" / "socket").exists())
        _until(lambda: "idle" in _told(["sinfo", "-h", "-o", "%T"], environment))
        try:
            yield environment
        finally:
            subprocess.run(["scancel", "-u", getpass.getuser()], env=environment, check=False, capture_output=True)


def ended_jobs(folder: Path) -> list[dict[str, str]]:
    """Slurm's own record of the jobs that ended, one mapping for each."""
    path = folder / "ended-jobs.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [dict(part.split("=", 1) for part in line.split() if "=" in part) for line in lines]


def _munged(folder: Path) -> list[str]:
    own = folder / "munge"
    key = own / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    files = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    return ["munged", "-F", "--force", f"--key-file={key}", *(f"--{name}={own / file}" for name, file in files.items())]


def _start(command: list[str], environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    program = shutil.which(command[0], path=SYSTEM_PATH)
    assert program is not None, command[0]
    return subprocess.Popen(
        [program, *command[1:]], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _end(started: "subprocess.Popen[bytes]") -> None:
    started.terminate()
    try:
        started.wait(10)
    except subprocess.TimeoutExpired:
        started.kill()
        started.wait()


def _told(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def _until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "Slurm did not start"
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


if __name__ == "__main__":
    with slurm_cluster(Path(sys.argv[1]).absolute()) as told:
        print(f"export SLURM_CONF={told['SLURM_CONF']}", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
