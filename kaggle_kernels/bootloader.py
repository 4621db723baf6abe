"""The single script that Kaggle runs: unpack the embedded sources, verify their checksum, and start the session."""

import base64
import hashlib
import io
import json
import os
import sys
import tempfile
import time
import zipfile
import zlib
from pathlib import Path

PREPARED_S = float(os.environ.get("RELAY_PREPARED_S", "0"))
"""Seconds that the machine spent on this session before this script, such as on an environment of its packages."""
STARTED_S = time.monotonic() - PREPARED_S

# Filled in by kaggle_kernels.build.
ORDER = ""
BUNDLE_SHA256 = ""
BUNDLE = ""


def main() -> int:
    """Run the order and return the kernel's exit status. Code before the version check must run on Python 3.6."""
    working, inputs = places(Path.cwd())
    if sys.version_info < (3, 11):  # noqa: UP036 - this file runs on whatever Kaggle has
        found = ".".join(str(part) for part in sys.version_info[:3])
        return refuse(working, "python-too-old", "relay needs Python 3.11 or newer, and this kernel runs on " + found)
    if os.environ.get("RELAY_NOT_PREPARED"):
        return refuse(working, "environment-install", os.environ["RELAY_NOT_PREPARED"], transient=True)
    packed = base64.b85decode("".join(BUNDLE.split()))
    if hashlib.sha256(packed).hexdigest() != BUNDLE_SHA256:
        return refuse(working, "kernel-damaged", "the sources packed in this kernel do not match their checksum")
    sources = Path(tempfile.mkdtemp(prefix="relay-sources-"))
    zipfile.ZipFile(io.BytesIO(zlib.decompress(packed))).extractall(sources)
    (sources / "order.json").write_text(ORDER)
    return start(sources, working, inputs)


def places(here: Path) -> "tuple[Path, Path]":
    """Return (working, input): Kaggle's folders, or those of a local folder with the same layout as `/kaggle`."""
    if here.name == "working" and (here.parent / "input").is_dir():
        return here, here.parent / "input"
    return Path("/kaggle/working"), Path("/kaggle/input")


def start(sources: Path, working: Path, inputs: Path) -> int:
    """Start the unpacked `stages` package, never another package of that name installed here."""
    sys.path.insert(0, str(sources))
    for name in [name for name in sys.modules if name.partition(".")[0] == "stages"]:
        del sys.modules[name]
    from stages.session import bootstrap

    if Path(bootstrap.__file__).resolve().parents[2] != sources.resolve():
        return refuse(
            working, "foreign-sources", "another package called stages is in the way: " + str(bootstrap.__file__)
        )
    return bootstrap.main(
        bootstrap.Places(sources=sources, working=working, inputs=inputs, started_s=STARTED_S, installed_s=PREPARED_S)
    )


def refuse(working: Path, cause: str, reason: str, *, transient: bool = False) -> int:
    """Write a failure report, by hand since `stages.contract` cannot be imported here, and return exit status 1."""
    order = json.loads(ORDER)
    report = {name: order[name] for name in ("run", "session", "attempt", "token")}
    report.update(format=1, document="report", outcome="failed", started=order["start"], reached=order["start"])
    report.update(cause=cause, reason=reason, transient=transient)
    folder = working / "relay"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report))
    print(reason, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
