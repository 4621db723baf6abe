"""Environments with an order's packages, made once in a platform's folder by the first session that needs them."""

import hashlib
import shlex
from dataclasses import dataclass

from stages.contract import Order
from stages.session.package_lock import PackageLock

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
"""Part of a session's script. It needs a function `leave`, which ends the session with an exit status, and `$python`.

It sets `$lacking` to the reason if the environment could not be made: for RELAY_NOT_PREPARED, from which the session's
program reports it.
"""


@dataclass(frozen=True, kw_only=True)
class SessionPlaces:
    """Folders of a session on the machine or cluster that runs it, and the Python there."""

    folder: str
    """The session's own folder."""
    environments: str
    python: str
    setup: tuple[str, ...] = ()
    """Lines of shell to run before the session, such as `module load python/3.12`."""


def environment_script(order: Order | None, environments: str) -> str:
    """Return the lines of `sh` that make the environment of an order below that folder and set `$python` to its Python.

    Empty for an order without packages, and for None: a program that relay did not build.
    """
    if order is None or not order.pins:
        return ""
    return ENVIRONMENT.format(
        environments=shlex.quote(environments),
        key=environment_key(order),
        locked_version=shlex.quote(PackageLock.parse(order.lock).python if order.lock else "none"),
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
