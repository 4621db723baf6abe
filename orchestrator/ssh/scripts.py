"""Scripts of `sh` that run on the machine: start a session, look at it, and stop it."""

import shlex

from orchestrator.platforms.environment_script import SessionPlaces, environment_script
from orchestrator.platforms.shared_folder import ABSENT
from orchestrator.ssh.lease import AT_LIMIT
from stages.contract import Order

PROGRAMS = ("setsid", "flock", "nohup", "awk", "sed", "find", "tail", "sha256sum", "sync")
"""Programs that the machine needs: those of coreutils, findutils and util-linux, as every Linux with GNU tools has."""
BEGIN_S = 20
"""Longest time in which a session that was started has to take its lease, in seconds."""
GRACE_S = 30
"""Seconds between the request to end and the signal that ends."""

# --- the session's own script --------------------------------------------------

SESSION = """#!/bin/sh
# Runs one session of relay. Written by relay; the claim below keeps it from running twice.
began=$(date +%s)
umask 077
cd {folder} || exit 1
set -- $(sed 's/.*) //' /proc/$$/stat)
[ "$3" = "$$" ] || exit 1  # signals go to the process group
echo "$$ ${{20}} $(cat /proc/sys/kernel/random/boot_id) {slug} {token}" > "claim.$$" && sync "claim.$$" || exit 1
ln "claim.$$" claim 2>/dev/null || exit 0
exec > log 2>&1 < /dev/null
asked=
session=
trap 'asked=1; [ -z "$session" ] || kill -TERM "$session" 2>/dev/null' TERM
record() {{ echo "$1" > "ended.$1" && sync "ended.$1" && ln "ended.$1" ended; }}
leave() {{ cd {folder}; record "$1"; trap '' TERM; kill -TERM 0; exit "$1"; }}
{watcher}{setup}
python={python} lacking=
{environment}cd working || leave 1
[ -z "$asked" ] || leave 143
RELAY_PREPARED_S=$(($(date +%s) - began)) RELAY_NOT_PREPARED="$lacking" "$python" -u ../script.py &
session=$!
[ -z "$asked" ] || kill -TERM "$session"
while :; do
  status=0
  wait "$session" || status=$?
  kill -0 "$session" 2>/dev/null || leave "$status"  # else a signal ended wait before the session ended
done
"""

WATCHER = """( sleep {gentle_s}; kill -TERM $$; sleep {signal_s}; record {at_limit}; kill -s KILL -- -$$ ) &
"""


def session_script(places: SessionPlaces, slug: str, order: Order | None, limit_s: int | None, signal_s: int) -> str:
    """Return the script of a session that has this order and, if one is given, this time limit in seconds.

    It is asked to end `signal_s` seconds before its limit. `order` is None for a program that relay
    did not build; its name then is its token.
    """
    signal_s = min(signal_s, limit_s or 0)
    watcher = WATCHER.format(gentle_s=(limit_s or 0) - signal_s, signal_s=signal_s, at_limit=AT_LIMIT)
    return SESSION.format(
        folder=shlex.quote(places.folder),
        slug=shlex.quote(slug),
        token=shlex.quote(order.token if order is not None else slug),
        watcher=watcher if limit_s else "",
        setup="\n".join(places.setup),
        python=shlex.quote(places.python),
        environment=environment_script(order, places.environments),
    )


# --- what relay runs ---------------------------------------------------------------

LIVES = """boot=$(cat /proc/sys/kernel/random/boot_id)
in_group() {  # a process of the group works in the session's folder: its leader was killed alone
  for found in $(cat /proc/[0-9]*/stat 2>/dev/null |
      awk -v group="$1" '{ pid = $1; sub(/.*\\) /, ""); if ($3 == group && $1 != "Z") print pid }'); do
    case $(readlink "/proc/$found/cwd") in "$2" | "$2"/*) return 0 ;; esac
  done
  return 1
}
lives() {  # $1: a session's folder; sets pid
  pid= began= born=
  read -r pid began born _ 2>/dev/null < "$1/claim"
  [ -n "$born" ] && [ "$born" = "$boot" ] && [ "$pid" -gt 1 ] || return 1  # -1 would be every process
  place=$(cd "$1" && pwd -P)
  set -- $(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null)
  case ${1:-Z} in
    Z | X) in_group "$pid" "$place" ;;
    *) [ "${20:-}" = "$began" ] ;;
  esac
}
"""
"""Functions that tell a live session from one whose process id belongs to another process by now.

Signals to a group are written `kill -s NAME -- -PID`: without the two hyphens, procps 4.0.2 takes the first digit of the id
for the whole, and -1 is every process.
"""

LOOK = (
    LIVES
    + f"""[ -d "$1" ] || {{ [ -d "$2" ] && echo {ABSENT}; exit; }}
cd "$1" || exit 1
there() {{ if [ -e "$1" ]; then echo 1; else echo 0; fi; }}
if lives .; then alive=1; else alive=0; fi
printf '%s\\n' "claimed=$(there claim)" "claim=$(cat claim 2>/dev/null)" "alive=$alive" "boot=$boot" \\
  "stopped=$(there stopped)" "ended=$(cat ended 2>/dev/null)" whole=1
"""
)
"""Prints a session's traces. $1: its folder, $2: relay's folder. The exit status is read after the process."""

START = (
    LIVES
    + f"""cd "$1" || exit 1
umask 077
exec 9> ../.starting && flock 9 || exit 1
live=0
for other in ../*/; do
  [ -e "$other/ended" ] || ! lives "$other" || live=$((live + 1))
done
[ "$live" -lt "$2" ] || {{ echo full; exit; }}
export XDG_RUNTIME_DIR="${{XDG_RUNTIME_DIR:-/run/user/$(id -u)}}"
in_unit() {{  # only a user's manager that outlives the login keeps a session
  systemctl --user show-environment > /dev/null || return 1
  [ "$(loginctl show-user "$(id -un)" --property=Linger --value)" = yes ] || return 1
  systemd-run --user --quiet --collect \\
    --unit="relay-$3" --setenv=PATH="$PATH" --working-directory="$1" sh "$1/session.sh"
}}
if ! in_unit "$@" 2>/dev/null 9>&-; then
  setsid nohup sh "$1/session.sh" > start-errors 2>&1 < /dev/null 9>&- &
fi
waited=0
while [ ! -e claim ] && [ "$waited" -lt {BEGIN_S * 10} ]; do sleep 0.1; waited=$((waited + 1)); done
if [ -e claim ]; then echo started; else echo "late $(tail -c 300 start-errors 2>/dev/null)"; fi
"""
)
"""Starts a session, unless as many live as may. $1: its folder, $2: how many may live, $3: its name."""

STOP = (
    LIVES
    + """cd "$1" || exit 0
[ ! -e ended ] && lives . || exit 0
now=$(date +%s)
begun=$(cat stopped 2>/dev/null)
if [ -n "$begun" ] && [ "$((now - begun))" -ge "$3" ]; then kill -s KILL -- "-$pid"; exit 0; fi
[ -n "$begun" ] || { echo "$now" > stopped.part && mv stopped.part stopped; }
kill -s TERM -- "-$pid" 2>/dev/null
[ -z "$begun" ] || exit 0
export LIVES="$2" GRACE_S="$3"
setsid nohup sh -c 'sleep "$GRACE_S"; eval "$LIVES"; [ ! -e ended ] && lives . && kill -s KILL -- "-$pid"' \\
  > /dev/null 2>&1 < /dev/null &
"""
)
"""Asks a session to end and, later, ends it. $1: its folder, $2: LIVES once more, $3: the grace in seconds."""

OFFER = """umask 077
for program in $3; do
  command -v "$program" > /dev/null || missing="$missing $program"
done
[ "$(uname -s)" = Linux ] && [ -r /proc/self/stat ] || missing=" Linux"
echo "missing=$missing"
mkdir -p -- "$1" && [ -w "$1" ] && echo folder=1
[ -z "$2" ] || "$2" -c 'import sys; print("python=%d.%d" % sys.version_info[:2])'
echo "user=$(id -un)"
"""
"""Prints what a machine offers. $1: relay's folder, $2: the Python to ask for its version, or empty, $3: programs."""
