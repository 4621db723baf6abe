"""Run one transfer by relay's client, and print seconds, processor time and peak memory as JSON."""

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path

from orchestrator.kaggle.client import connect
from orchestrator.platforms.port import FileWanted, OutputFile
from stages.session import packing

DATASET = "bench-3f9a-c0001"


def memory_bytes_max() -> int:
    """Return this process's peak memory. Linux's VmHWM starts at exec; `getrusage` may include the parent's peak."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Transfer one file; RELAY_KAGGLE_URL names the server."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("way", choices=("down", "up"))
    parser.add_argument("path", type=Path, help="local file")
    parser.add_argument("size", type=int)
    parser.add_argument("sha256")
    asked = parser.parse_args()
    gateway = connect(os.environ, asked.path.parent, uploads=asked.path.parent / "uploads")
    gateway.owner()
    compared_s, busy_s, begin = 0.0, time.process_time(), time.perf_counter()
    if asked.way == "down":
        url = f"{os.environ['RELAY_KAGGLE_URL']}/files/state.bin"
        wanted = FileWanted(size_bytes=asked.size, sha256=asked.sha256)
        gateway.download(OutputFile(name="state.bin", url=url), asked.path, wanted)
    else:  # as `publish` does: first verify every byte against the collected checkpoint
        assert packing.sha256_of(asked.path) == asked.sha256
        compared_s, busy_s = time.perf_counter() - begin, time.process_time()
        gateway.create_dataset(DATASET, [asked.path], {asked.path.name: asked.sha256})
    whole_s, busy_s = time.perf_counter() - begin, time.process_time() - busy_s
    done = {"seconds": whole_s - compared_s, "compared_s": compared_s, "busy_s": busy_s, "memory": memory_bytes_max()}
    sys.stdout.write(json.dumps(done))


if __name__ == "__main__":
    main()
