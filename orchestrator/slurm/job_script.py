"""The batch script of a session: takes the session, makes its environment once, runs it, and leaves its exit status.

The script tells the session's program what happened before it: in RELAY_PREPARED_S the seconds that passed, and in
RELAY_NOT_PREPARED why the environment could not be made, which the program then reports in place of running.
"""

import shlex
from dataclasses import dataclass

from orchestrator.platforms.environment_script import SessionPlaces, environment_script
from stages.contract import Order

SCRIPT = """#!/bin/sh
# Runs one session of relay. Written by relay; --no-requeue and the claim below keep it from running twice.
began=$(date +%s)
umask 077
cd {folder} || exit 1
echo "$SLURM_JOB_ID" > "claim.$SLURM_JOB_ID"
if ! ln "claim.$SLURM_JOB_ID" claim 2>/dev/null; then
  echo "relay: job $(cat claim) has this session, and job $SLURM_JOB_ID leaves it alone"
  exit 0
fi
leave() {{ echo "$1" > ended.part && mv ended.part ended; exit "$1"; }}
{setup}
python={python} lacking=
{environment}cd working || leave 1
{start}
session=$!
signalled=
trap 'signalled=1; kill -{asks} "$session" 2>/dev/null' USR1 TERM
while :; do
  status=0
  wait "$session" || status=$?
  if [ "$status" -le 128 ] || [ -z "$signalled" ]; then break; fi
  signalled=  # a trapped signal ends wait before the session ends
done
cd .. && leave "$status"
"""

START = 'RELAY_PREPARED_S=$(($(date +%s) - began)) RELAY_NOT_PREPARED="$lacking" "$python" -u ../script.py &'
"""Part of the script that starts the session's program."""
START_SEVERAL = """export RELAY_PREPARED_S=$(($(date +%s) - began)) RELAY_NOT_PREPARED="$lacking"
set -- "$python" -u ../script.py
if [ -z "$lacking" ]; then  # one process alone reports what is lacking
  set -- srun --kill-on-bad-exit=1 --wait=60 --nodes={nodes} --ntasks={tasks} --ntasks-per-node={tasks_per_node} \\
    ${{SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"}} \\
    sh -c 'export RELAY_PROCESS="$SLURM_PROCID" RELAY_LOCAL_PROCESS="$SLURM_LOCALID"; exec "$@"' relay "$@"
fi
"$@" &"""
"""The same for a session of several processes: one that fails or is killed ends them all, and with them the session."""


@dataclass(frozen=True, kw_only=True)
class JobPlaces(SessionPlaces):
    """Folders on the cluster, its Python, and how many processes a session has on how many nodes."""

    nodes: int = 1
    tasks_per_node: int = 1

    @property
    def tasks(self) -> int:
        """Number of processes of a session."""
        return self.nodes * self.tasks_per_node

    @property
    def start(self) -> str:
        """Return the lines that start the session's processes."""
        if self.tasks == 1:
            return START
        return START_SEVERAL.format(nodes=self.nodes, tasks=self.tasks, tasks_per_node=self.tasks_per_node)


def job_script(places: JobPlaces, order: Order | None) -> str:
    """Return the batch script of a session with this order; None for a program that relay did not build."""
    return SCRIPT.format(
        folder=shlex.quote(places.folder),
        setup="\n".join(places.setup),
        python=shlex.quote(places.python),
        environment=environment_script(order, places.environments),
        start=places.start,
        asks="TERM" if places.tasks == 1 else "USR1",  # srun passes USR1 on to its tasks, and kills them at TERM
    )
