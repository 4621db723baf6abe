"""A platform's folder, on a cluster or a machine: sessions and published files below it, through scripts of `sh`.

`sessions/SLUG` holds a session: `script.py`, the folders `input` and `working`, and its traces: `claim` (what runs it, a
hard link that one process alone can make), `ended` (its exit status) and what else a platform keeps there. `datasets/SLUG`
holds what was published under that name: `files` and `description`. Both appear whole: they are built in a hidden folder
beside and renamed.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from orchestrator.base.errors import NameTaken, Transient
from orchestrator.platforms.shell_host import ShellHost

ABSENT = "relay-absent"
"""Output of a script that found no such folder; any other empty output is a failure of the file system."""

PREPARE = 'umask 077; mkdir -p "$1" "$2"'
LAY_OUT = 'mkdir -p "$1/input" "$1/working" "$1/tmp"'
KEEP = (
    'cd "$1" && shift && for found in *; do keep=; for name; do [ "$found" != "$name" ] || keep=1; done; '
    '[ -n "$keep" ] || rm -rf -- "$found"; done'
)
WRITE = 'mkdir -p "$1" && cat > "$1/$2" && sync "$1/$2"'
SHOW = f'[ -d "$1" ] || {{ [ -d "$2" ] && echo {ABSENT}; exit; }}; cat "$1/$3"'
TAKE = '[ ! -e "$2" ] || { echo taken; exit 0; }; chmod -R a-w "$3" && mv -T "$1" "$2" && echo done'
LIST = f'[ -d "$1" ] || {{ [ -d "$2" ] && echo {ABSENT}; exit; }}; cd "$1" && find . -type f -printf "%s %P\\0"'
NAMES = 'umask 077; mkdir -p "$1" && cd "$1" && find . -mindepth 1 -maxdepth 1 -type d ! -name ".*" -printf "%T@ %P\\n"'
REVOKED = "relay"
"""Claim with which relay keeps a session from ever being run by what was started for it."""
TRACES = (
    f'[ -d "$1" ] || {{ [ -d "$2" ] && echo {ABSENT}; exit; }}; cd "$1" && shift 2 && '
    'for name; do printf "%s=%s\\n" "$name" "$(cat "$name" 2>/dev/null)"; done; '
    'newest=$(stat -c %Y "$@" 2>/dev/null | sort -n | tail -n 1); '
    'printf "age=%s\\n" "${newest:+$(($(date +%s) - newest))}"'
)
REVOKE = (
    f'cd "$1" && [ ! -e claim ] && echo {REVOKED} > claim.relay && ln claim.relay claim 2>/dev/null; [ -e "$1/claim" ]'
)
REPLACE = 'mkdir -p "$2" && { [ ! -e "$3" ] || mv -T "$3" "$2/.old-$(basename "$1")"; } && mv -T "$1" "$3" && rm -rf "$2"/.old-* "$2/.part-$(basename "$3")"-*'
MOUNT = 'mkdir -p "$2" && { cp -al "$1/." "$2" 2>/dev/null || cp -a "$1/." "$2"; }'
SUMS = '[ -d "$1" ] || exit 0; cd "$1" && find . -maxdepth 1 -type f -exec sha256sum -z {} +'
DELETE = '[ ! -e "$1" ] || { mv -T "$1" "$2" && chmod -R u+w "$2" && rm -rf "$2"; }'


@dataclass(frozen=True)
class SharedFile:
    """File of a folder on the platform; `name` is relative to the folder."""

    name: str
    size_bytes: int


class SharedFolder:
    """Sessions and datasets below one folder. `root` is its absolute path there."""

    def __init__(self, host: ShellHost, root: str) -> None:
        self._host = host
        self.root = PurePosixPath(root)

    @property
    def sessions(self) -> PurePosixPath:
        """Folder with one folder for each session."""
        return self.root / "sessions"

    @property
    def datasets(self) -> PurePosixPath:
        """Folder with one folder for each published dataset."""
        return self.root / "datasets"

    def prepare(self) -> None:
        """Make the folders, readable for this user alone. Safe to repeat."""
        self._host.script(PREPARE, str(self.sessions), str(self.datasets))

    # --- sessions -------------------------------------------------------------

    def traces(self, slug: str, *names: str) -> dict[str, str] | None:
        """Return the texts of a session's files of these names, empty for one that is not there; None without a session.

        `age`: seconds since the newest of them was written, empty if there is none.
        """
        told = self._host.script(TRACES, str(self.sessions / slug), str(self.root), *names)
        if told.strip() == ABSENT:
            return None
        found = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
        if not found.keys() >= set(names):
            raise Transient(f"the folder {self.root} on {self._host.name} cannot be read now")
        return found

    def revoke(self, slug: str) -> None:
        """Take a session that nothing has taken, so that nothing ever does. Without effect on one that is taken."""
        self._host.script(REVOKE, str(self.sessions / slug))

    def source(self, slug: str) -> str | None:
        """Return a session's program, or None if there is no session of that name."""
        found = self._host.script(SHOW, str(self.sessions / slug), str(self.root), "script.py")
        return None if found.strip() == ABSENT else found

    def place_session(self, slug: str, texts: Mapping[str, str], mounts: Mapping[str, PurePosixPath]) -> None:
        """Write a session's folder, whole; one of that name that never ran is replaced."""
        part = self.sessions / f".part-{slug}-{secrets.token_hex(4)}"
        with TemporaryDirectory(prefix="relay-folder-") as here:
            for name, text in texts.items():
                path = Path(here) / name
                path.write_text(text, encoding="utf-8", newline="\n")
                self._host.script(WRITE, str(part), name, file=path)
        self._host.script(LAY_OUT, str(part))
        for name, folder in mounts.items():
            self._host.script(MOUNT, str(folder), str(part / "input" / name))
        self._host.script(REPLACE, str(part), str(self.sessions), str(self.sessions / slug))

    # --- datasets -------------------------------------------------------------

    def files(self, folder: PurePosixPath) -> tuple[SharedFile, ...] | None:
        """List the files below a folder, or None if there is no such folder."""
        told = self._host.script(LIST, str(folder), str(self.root))
        if told.strip() == ABSENT:
            return None
        rows = [row.split(" ", 1) for row in told.split("\0") if " " in row]
        return tuple(sorted((SharedFile(name, int(size)) for size, name in rows), key=lambda file: file.name))

    def description(self, slug: str) -> str:
        """Return what was written about a dataset when it was published."""
        return self._host.script(SHOW, str(self.datasets / slug), str(self.root), "description")

    def names(self, folder: PurePosixPath) -> tuple[tuple[float, str], ...]:
        """List the visible folders below a folder with their times of change, in seconds since 1970, newest first."""
        rows = [line.split(" ", 1) for line in self._host.script(NAMES, str(folder)).splitlines() if " " in line]
        return tuple(sorted(((float(at), name) for at, name in rows), reverse=True))

    def send(self, slug: str, file: Path) -> None:
        """Copy a file to where the dataset of that name is built."""
        self._host.script(WRITE, str(self._building(slug) / "files"), file.name, file=file)

    def sent(self, slug: str) -> dict[str, str]:
        """Return the SHA-256 of each file that is where a dataset is built, computed there."""
        told = self._host.script(SUMS, str(self._building(slug) / "files"))
        rows = (row.split("  ", 1) for row in told.split("\0") if "  " in row)
        return {name.removeprefix("./"): digest.lstrip("\\") for digest, name in rows}

    def publish(self, slug: str, names: Sequence[str], description: str) -> None:
        """Rename what was built to its place. Raises NameTaken if there is a dataset of that name."""
        building = self._building(slug)
        with TemporaryDirectory(prefix="relay-folder-") as here:
            about = Path(here) / "description"
            about.write_text(description, encoding="utf-8", newline="\n")
            self._host.script(WRITE, str(building), about.name, file=about)
        self._host.script(KEEP, str(building / "files"), *names)
        told = self._host.script(TAKE, str(building), str(self.datasets / slug), str(building / "files"))
        if told.strip() == "taken":
            raise NameTaken(f"there is a dataset {slug} in {self.datasets} already")

    def delete(self, slug: str) -> None:
        """Delete a dataset; one that does not exist counts as deleted. It disappears whole."""
        self._host.script(
            DELETE, str(self.datasets / slug), str(self.datasets / f".gone-{slug}-{secrets.token_hex(4)}")
        )

    def _building(self, slug: str) -> PurePosixPath:
        return self.datasets / f".part-{slug}"
