"""The programs that XLA compiled ride along with the checkpoint, so that the next session does not compile them again.

JAX keeps compiled programs in a folder if it is told of one before it starts (its persistent compilation cache). That folder is
lost with the session, so each checkpoint gets a second file with the programs that the session used, where this pays.
A program's name holds a hash of all that it depends on (computation, options, versions, kind of device), so a wrong one
is never found; a file that is damaged or of another kind of machine is left alone, and the programs are compiled again.
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

DIRECTORY_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
SMALLEST_VARIABLE = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
XLA_VARIABLE = "JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES"
LARGEST_VARIABLE = "JAX_COMPILATION_CACHE_MAX_SIZE"
SIZE_BYTES_MAX = 512 * 2**20
"""More would not be small beside the checkpoint of an adapter and its optimizer (some 230 MiB for a 2B model)."""
TRANSFER_BYTES_S = 700_000
"""A program travels home and back again through a home's line; 1.4 MB/s each way has been measured there."""
QUOTA_WORTH = 8.0
"""A second of accelerator is worth so many of waiting for a transfer: of a week's 168 hours 20 may be computed."""
ABOUT_NAME = "about.json"
PROGRAM, ASKED = "-cache", "-atime"
"""JAX's suffixes: a program, and when it was last asked for."""
NEVER = bytes(8)
NAME = re.compile(r"[^/\\\0]+" + PROGRAM)
COMPILING = "/jax/core/compile/backend_compile_duration"
"""JAX's own measurement; the time in which a program is fetched from the cache counts as well, and is small."""


class Compiled:
    """The programs of one session. All of it is about speed: what fails here is said, and the training goes on."""

    def __init__(self, directory: Path, machine: str, say: Callable[[str], None]) -> None:
        self._directory = directory
        self._machine = machine
        self._say = say
        self._seconds: dict[str, float] = {}
        """What compiling each program took, whichever session did it."""
        self._said = False
        self._set: list[str] = []

    @classmethod
    def begin(cls, scratch: Path, platform_name: str, say: Callable[[str], None]) -> "Compiled | None":
        """Tell JAX where to keep programs; None where somebody else has (a rehearsal), or where JAX runs already."""
        if "jax" in sys.modules or os.environ.get(DIRECTORY_VARIABLE):
            return None
        directory = scratch / "compiled"
        directory.mkdir()
        wanted = {
            DIRECTORY_VARIABLE: str(directory),
            SMALLEST_VARIABLE: "0",  # many small ones make up much of a start
            XLA_VARIABLE: "none",  # they would put the folder's name, another one each session, into the programs' names
        }
        if (
            importlib.util.find_spec("filelock") is not None
        ):  # with a bound JAX notes what it uses, and needs this for it
            wanted[LARGEST_VARIABLE] = str(SIZE_BYTES_MAX)
        made = cls(directory, machine(platform_name), say)
        made._set = [name for name in wanted if name not in os.environ]
        os.environ.update({name: wanted[name] for name in made._set})
        return made if made._listen() else None

    def end(self) -> None:
        """Leave the environment, and a JAX that was started in it, as they were found."""
        for name in self._set:
            os.environ.pop(name, None)
        config = getattr(sys.modules.get("jax"), "config", None)
        if config is not None:
            config.update("jax_compilation_cache_dir", None)

    def _listen(self) -> bool:
        """Have JAX tell what each compilation took; whether it can."""
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
            f"{len(seconds)} compiled programs came with the checkpoint, {sum(seconds.values()):.1f} s of compiling"
        )

    # --- into a checkpoint -----------------------------------------------------

    def pack(self, folder: Path) -> FileEntry | None:
        """Write the programs that this session used beside a checkpoint's state, if they are worth their transfer."""
        chosen = self._chosen()
        size_bytes = sum((self._directory / name).stat().st_size for name in chosen)
        if not self._pays(size_bytes, sum(chosen.values())):
            return None
        packing_place = self._directory.with_name("compiled-outgoing")
        try:
            packing_place.mkdir()
            for name in chosen:
                os.link(self._directory / name, packing_place / name)
            about = json.dumps({"machine": self._machine, "seconds": chosen}, sort_keys=True)
            (packing_place / ABOUT_NAME).write_text(about, encoding="ascii")
            return packing.pack(packing_place, folder / COMPILED_NAME)
        except OSError as error:
            self._say(f"the compiled programs are not saved: {error}")
            (folder / COMPILED_NAME).unlink(missing_ok=True)
            return None
        finally:
            shutil.rmtree(packing_place, ignore_errors=True)

    def _chosen(self) -> dict[str, float]:
        """Programs that were compiled or fetched in this session, with what compiling them took."""
        used = [name for name in sorted(self._programs()) if self._is_used(name)]
        return {name: self._seconds.get(name, 0.0) for name in used}

    def _is_used(self, name: str) -> bool:
        asked = self._directory / name.replace(PROGRAM, ASKED)
        return not asked.exists() or asked.read_bytes() != NEVER

    def _pays(self, size_bytes: int, seconds: float) -> bool:
        pays = pays_off(size_bytes, seconds)
        if not self._said and size_bytes > 0:
            self._said = True
            verb = "ride along" if pays else "stay behind"
            self._say(f"the compiled programs {verb}: {seconds:.1f} s of compiling in {size_bytes:,} bytes")
        return pays


def pays_off(size_bytes: int, seconds: float) -> bool:
    """Whether to send programs that took so long to compile: their transfer is waited for, compiling uses up quota."""
    if not 0 < size_bytes <= SIZE_BYTES_MAX:
        return False
    return QUOTA_WORTH * seconds > size_bytes / TRANSFER_BYTES_S


def machine(platform_name: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What programs are bound to beyond what their names say: the accelerator, and what the processor beside it can do.

    Beside an accelerator's programs there are some for the processor, and one with an instruction that it lacks would end
    the process.
    """
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return f"{platform_name} {platform.machine()} {hashlib.sha256(features.encode()).hexdigest()[:16]}"
