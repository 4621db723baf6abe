"""The batch script of a session: takes the session, makes its environment once, runs it, and leaves its exit status.

The script tells the session's program what happened before it: in RELAY_PREPARED_S the seconds that passed, and in
RELAY_NOT_PREPARED why the environment could not be made, which the program then reports in place of running.
"""

import hashlib
import shlex
from dataclasses import dataclass

from stages.contract import Order
from stages.session.package_lock import PackageLock

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

ENVIRONMENT = """version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || leave 1
environment={environments}/{key}-"$version"
made() {{
  [ -f "$environment/ready" ] && return 0
  rm -rf "$environment"
  "$python" -m venv "$environment" || return 1
  if [ "$version" = {locked_version} ]; then set -- --no-deps --require-hashes -r locked.txt; else set -- -r pins.txt; fi
  "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-input "$@" || return 1
  touch "$environment/ready"
}}
mkdir -p {environments} || leave 1
if ( flock 9 && made ) > environment.log 2>&1 9> "$environment.lock"; then
  python="$environment/bin/python"
else
  cat environment.log
  lacking="the environment of its packages could not be made: $(tail -c 600 environment.log)"
fi
"""


@dataclass(frozen=True, kw_only=True)
class JobPlaces:
    """Folders on the cluster, and its Python."""

    folder: str
    """The session's own folder."""
    environments: str
    python: str
    setup: tuple[str, ...] = ()
    """Lines of shell to run before the session, such as `module load python/3.12`."""


def job_script(places: JobPlaces, order: Order | None) -> str:
    """Return the batch script of a session with this order; None for a program that relay did not build."""
    environment = ""
    if order is not None and order.pins:
        environment = ENVIRONMENT.format(
            environments=shlex.quote(places.environments),
            key=environment_key(order),
            locked_version=shlex.quote(PackageLock.parse(order.lock).python if order.lock else "none"),
        )
    return SCRIPT.format(
        folder=shlex.quote(places.folder),
        setup="\n".join(places.setup),
        python=shlex.quote(places.python),
        environment=environment,
    )


def requirement_files(order: Order | None) -> dict[str, str]:
    """Return the files from which the environment is made, by name."""
    if order is None or not order.pins:
        return {}
    files = {"pins.txt": "\n".join(order.pins) + "\n"}
    if order.lock:
        lock = PackageLock.parse(order.lock)
        files["locked.txt"] = lock.requirements(lock.all_pins)
    return files


def environment_key(order: Order) -> str:
    """Return the name of the environment with an order's packages: equal packages have equal names."""
    return hashlib.sha256("\n".join((order.lock, *order.pins)).encode()).hexdigest()[:16]
