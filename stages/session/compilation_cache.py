"""Saves the programs that XLA compiled with the checkpoint, so that the next session need not compile them again.

JAX stores compiled programs in a folder if that folder is configured before JAX starts (its persistent compilation
cache). The folder is lost with the session, so each checkpoint gets a second file with the programs that the session
used, if the time saved outweighs the transfer. A program's name contains a hash of everything it depends on
(computation, options, versions, kind of device), so a wrong program is never found. A file that is damaged or from
another kind of machine is ignored, and the programs are compiled again.
"""

import hashlib
import importlib
import importlib.util
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from stages.contract import COMPILED_NAME, FileEntry, Manifest
from stages.session import packing
from stages.session.duration_text import duration

DIRECTORY_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
SMALLEST_VARIABLE = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
XLA_VARIABLE = "JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES"
LARGEST_VARIABLE = "JAX_COMPILATION_CACHE_MAX_SIZE"
SIZE_BYTES_MAX = 512 * 2**20
"""Largest total size of saved programs. A checkpoint of an adapter and its optimizer has some 230 MiB for a 2B model;
larger programs would not be small beside it."""
TRANSFER_BYTES_S = 700_000
"""Assumed transfer rate in bytes per second. A program travels to the user's machine and back; 1.4
MB/s was measured each way."""
QUOTA_WORTH = 8.0
"""Value of a second on the accelerator in seconds of waiting for a transfer: the quota is 20 of a week's 168 hours."""
ABOUT_NAME = "about.json"
PROGRAM, ASKED = "-cache", "-atime"
"""File name suffixes of JAX's cache: a program, and the time of its last use."""
NEVER = bytes(8)
NAME = re.compile(r"[^/\\\0]+" + PROGRAM)
COMPILING = "/jax/core/compile/backend_compile_duration"
"""Event by which JAX reports the duration of a compilation; it includes the short time of
fetching a program from the cache."""


class Compiled:
    """Compiled programs of one session. They only affect speed: a failure here is logged and training goes on."""

    def __init__(self, directory: Path, machine: str, say: Callable[[str], None]) -> None:
        self._directory = directory
        self._machine = machine
        self._say = say
        self._seconds: dict[str, float] = {}
        """Seconds of compilation by program, including programs compiled by earlier sessions."""
        self._logged = False
        self._set: list[str] = []

    @classmethod
    def begin(cls, scratch: Path, platform_name: str, say: Callable[[str], None]) -> "Compiled | None":
        """Set JAX's cache folder; None if a folder is already configured (as in a rehearsal)
        or JAX is already imported."""
        if "jax" in sys.modules or os.environ.get(DIRECTORY_VARIABLE):
            return None
        directory = scratch / "compiled"
        directory.mkdir()
        wanted = {
            DIRECTORY_VARIABLE: str(directory),
            SMALLEST_VARIABLE: "0",  # compiling many small programs takes much of the start-up time
            XLA_VARIABLE: "none",  # they would hash the folder's name, which differs per session
        }
        if (
            importlib.util.find_spec("filelock") is not None
        ):  # JAX records uses only with a size limit, and needs filelock for it
            wanted[LARGEST_VARIABLE] = str(SIZE_BYTES_MAX)
        made = cls(directory, machine(platform_name), say)
        made._set = [name for name in wanted if name not in os.environ]
        os.environ.update({name: wanted[name] for name in made._set})
        return made if made._listen() else None

    def end(self) -> None:
        """Restore the environment variables and the configuration of an imported JAX."""
        for name in self._set:
            os.environ.pop(name, None)
        config = getattr(sys.modules.get("jax"), "config", None)
        if config is not None:
            config.update("jax_compilation_cache_dir", None)

    def _listen(self) -> bool:
        """Register a listener for compilation times; returns whether this JAX supports it."""
        try:
            monitoring = importlib.import_module("jax.monitoring")
            monitoring.register_event_duration_secs_listener(self._heard)
        except (ImportError, AttributeError) as error:
            self._say(f"compiled programs are not kept: {error}")
            self.end()
            return False
        return True

    def _heard(self, event: str, duration_s: float, **_: object) -> None:
        if event != COMPILING:
            return
        fresh = self._programs() - self._seconds.keys()
        self._seconds.update(dict.fromkeys(fresh, duration_s / max(1, len(fresh))))

    def _programs(self) -> set[str]:
        return {path.name for path in self._directory.glob(f"*{PROGRAM}")}

    # --- from the parent -------------------------------------------------------

    def take_in(self, folder: Path, manifest: Manifest) -> None:
        """Unpack the programs of a mounted checkpoint, if it has any that fit this machine."""
        entry = next((entry for entry in manifest.files if entry.path == COMPILED_NAME), None)
        if entry is None:
            return
        incoming = self._directory.with_name("compiled-incoming")
        try:
            packing.verify_files(folder, [entry])
            packing.unpack(folder / COMPILED_NAME, incoming, size_bytes_max=entry.size_bytes)
            self._adopt(incoming)
        except (packing.CorruptCheckpoint, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._say(f"the compiled programs of the parent are not used: {error}")
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    def _adopt(self, incoming: Path) -> None:
        about = json.loads((incoming / ABOUT_NAME).read_text(encoding="ascii"))
        if about["machine"] != self._machine:
            self._say("the compiled programs of the parent are for another kind of machine")
            return
        seconds = {str(name): float(spent) for name, spent in about["seconds"].items()}
        for name in sorted(seconds):
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no program's name")
            (incoming / name).rename(self._directory / name)
            (self._directory / name.replace(PROGRAM, ASKED)).write_bytes(NEVER)
        self._seconds.update(seconds)
        self._say(
            f"{len(seconds)} compiled programs came with the checkpoint, {duration(sum(seconds.values()))} of compiling"
        )

    # --- into a checkpoint -----------------------------------------------------

    def pack(self, folder: Path) -> FileEntry | None:
        """Write the programs that this session used beside a checkpoint's state, if that
        saves more time than it costs."""
        chosen = self._used_programs()
        size_bytes = sum((self._directory / name).stat().st_size for name in chosen)
        if not self._pays(size_bytes, sum(chosen.values())):
            return None
        outgoing = self._directory.with_name("compiled-outgoing")
        try:
            outgoing.mkdir()
            for name in chosen:
                os.link(self._directory / name, outgoing / name)
            about = json.dumps({"machine": self._machine, "seconds": chosen}, sort_keys=True)
            (outgoing / ABOUT_NAME).write_text(about, encoding="ascii")
            return packing.pack(outgoing, folder / COMPILED_NAME)
        except OSError as error:
            self._say(f"the compiled programs are not saved: {error}")
            (folder / COMPILED_NAME).unlink(missing_ok=True)
            return None
        finally:
            shutil.rmtree(outgoing, ignore_errors=True)

    def _used_programs(self) -> dict[str, float]:
        """Return the programs that were compiled or loaded in this session, with their compilation times in seconds."""
        used = [name for name in sorted(self._programs()) if self._is_used(name)]
        return {name: self._seconds.get(name, 0.0) for name in used}

    def _is_used(self, name: str) -> bool:
        asked = self._directory / name.replace(PROGRAM, ASKED)
        return not asked.exists() or asked.read_bytes() != NEVER

    def _pays(self, size_bytes: int, seconds: float) -> bool:
        pays = pays_off(size_bytes, seconds)
        if not self._logged and size_bytes > 0:
            self._logged = True
            verb = "are saved with the checkpoint" if pays else "are not saved, their transfer would take too long"
            self._say(f"the compiled programs {verb}: {duration(seconds)} of compiling in {size_bytes:,} bytes")
        return pays


def pays_off(size_bytes: int, seconds: float) -> bool:
    """Return whether saving the programs is worthwhile: their transfer costs waiting time,
    compiling again costs quota."""
    if not 0 < size_bytes <= SIZE_BYTES_MAX:
        return False
    return QUOTA_WORTH * seconds > size_bytes / TRANSFER_BYTES_S


def machine(platform_name: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Describe what programs depend on beyond their names: the accelerator, and the CPU's features.

    The cache also contains programs for the CPU, and one that uses an instruction which this CPU
    lacks would crash the process.
    """
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return f"{platform_name} {platform.machine()} {hashlib.sha256(features.encode()).hexdigest()[:16]}"
