"""The one script that Kaggle runs: unpacks the sources it carries, checks that they are whole, and starts the session."""

import base64
import hashlib
import io
import json
import sys
import tempfile
import time
import zipfile
import zlib
from pathlib import Path

STARTED_S = time.monotonic()

# kaggle_kernels.build fills these three in.
ORDER = ""
BUNDLE_SHA256 = ""
BUNDLE = ""


def main() -> int:
    """Run the order; the exit status of the kernel. Nothing before the version check needs more than Python 3.6."""
    working, inputs = places(Path.cwd())
    if sys.version_info < (3, 11):  # noqa: UP036 - this file runs on whatever Kaggle has
        found = ".".join(str(part) for part in sys.version_info[:3])
        return refuse(working, "python-too-old", "relay needs Python 3.11 or newer, and this kernel runs on " + found)
    packed = base64.b85decode("".join(BUNDLE.split()))
    if hashlib.sha256(packed).hexdigest() != BUNDLE_SHA256:
        return refuse(working, "kernel-damaged", "the sources in this kernel are not the ones that were put in")
    sources = Path(tempfile.mkdtemp(prefix="relay-sources-"))
    zipfile.ZipFile(io.BytesIO(zlib.decompress(packed))).extractall(sources)
    (sources / "order.json").write_text(ORDER)
    return start(sources, working, inputs)


def places(here: Path) -> "tuple[Path, Path]":
    """(working, input): Kaggle's own, or those of a folder that is shaped like `/kaggle`."""
    if here.name == "working" and (here.parent / "input").is_dir():
        return here, here.parent / "input"
    return Path("/kaggle/working"), Path("/kaggle/input")


def start(sources: Path, working: Path, inputs: Path) -> int:
    """Hand over to the unpacked `stages`, and to no others that may be installed here."""
    sys.path.insert(0, str(sources))
    for name in [name for name in sys.modules if name.partition(".")[0] == "stages"]:
        del sys.modules[name]
    from stages.session import bootstrap

    if Path(bootstrap.__file__).resolve().parents[2] != sources.resolve():
        return refuse(
            working, "foreign-sources", "another package called stages is in the way: " + str(bootstrap.__file__)
        )
    return bootstrap.main(bootstrap.Places(sources=sources, working=working, inputs=inputs, started_s=STARTED_S))


def refuse(working: Path, cause: str, reason: str) -> int:
    """Leave a report written by hand, since `stages.contract` cannot be used here."""
    order = json.loads(ORDER)
    report = {name: order[name] for name in ("run", "session", "attempt", "token")}
    report.update(format=1, document="report", outcome="failed", started=order["start"], reached=order["start"])
    report.update(cause=cause, reason=reason)
    folder = working / "relay"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report))
    print(reason, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
