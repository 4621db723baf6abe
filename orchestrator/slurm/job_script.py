"""The batch script of a session: takes the session, makes its environment once, runs it, and leaves its exit status.

The script tells the session's program what happened before it: in RELAY_PREPARED_S the seconds that passed, and in
RELAY_NOT_PREPARED why the environment could not be made, which the program then reports in place of running.
"""

import shlex

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
RELAY_PREPARED_S=$(($(date +%s) - began)) RELAY_NOT_PREPARED="$lacking" "$python" -u ../script.py &
session=$!
signalled=
trap 'signalled=1; kill -TERM "$session" 2>/dev/null' USR1 TERM
while :; do
  status=0
  wait "$session" || status=$?
  if [ "$status" -le 128 ] || [ -z "$signalled" ]; then break; fi
  signalled=  # a trapped signal ends wait before the session ends
done
cd .. && leave "$status"
"""


def job_script(places: SessionPlaces, order: Order | None) -> str:
    """Return the batch script of a session with this order; None for a program that relay did not build."""
    return SCRIPT.format(
        folder=shlex.quote(places.folder),
        setup="\n".join(places.setup),
        python=shlex.quote(places.python),
        environment=environment_script(order, places.environments),
    )
