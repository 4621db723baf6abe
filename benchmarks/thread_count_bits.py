"""Finds out whether the number of CPU threads changes the bits that XLA computes: `python benchmarks/thread_count_bits.py`.

Each row is a program, compiled in processes of their own with `NPROC` set to 1, 2, 4, 8 and 16. XLA compiles a program for
that many threads. The column says into how many different results the counts fall, and which ones agree.
"""

import json
import os
import subprocess
import sys
from typing import Any

COUNTS = (1, 2, 4, 8, 16)


def results() -> dict[str, str]:
    """Compute every program once, and return the beginning of the SHA-256 of each result."""
    import hashlib

    import jax
    import jax.numpy as jnp
    import numpy as np

    generator = np.random.default_rng(0)

    def drawn(*shape: int) -> Any:
        return jnp.asarray(generator.standard_normal(shape).astype(np.float32))

    square, image, kernel, queries = drawn(2048, 2048), drawn(4, 64, 64, 16), drawn(3, 3, 16, 32), drawn(4, 8, 256, 64)
    programs = {
        "dot 8 x 100,000 x 8": (jnp.dot, (drawn(8, 100_000), drawn(100_000, 8))),
        "dot 256 x 2304 x 2304": (jnp.dot, (drawn(256, 2304), drawn(2304, 2304))),
        "sum of 4,194,304": (jnp.sum, (drawn(1 << 22),)),
        "sum over rows of 2048 x 2048": (lambda x: jnp.sum(x, 0), (square,)),
        "sum over columns of 2048 x 2048": (lambda x: jnp.sum(x, 1), (square,)),
        "softmax": (jax.nn.softmax, (square,)),
        "convolution": (lambda x, y: jax.lax.conv(x.transpose(0, 3, 1, 2), y.transpose(3, 2, 0, 1), (1, 1), "SAME"), (image, kernel)),
        "attention": (lambda q: jax.nn.softmax(jnp.einsum("bhqd,bhkd->bhqk", q, q)) @ q, (queries,)),
    }  # fmt: skip
    return {
        name: hashlib.sha256(np.asarray(jax.jit(program)(*given)).tobytes()).hexdigest()[:12]
        for name, (program, given) in programs.items()
    }


def main() -> None:
    """Print a row for each program."""
    if sys.argv[1:] == ["--once"]:
        print(json.dumps(results()))
        return
    found = {count: _with_threads(count) for count in COUNTS}
    for name in found[COUNTS[0]]:
        groups: dict[str, list[int]] = {}
        for count in COUNTS:
            groups.setdefault(found[count][name], []).append(count)
        told = " | ".join(", ".join(map(str, counts)) for counts in groups.values())
        print(f"{name:34} {len(groups)}  threads {told}")


def _with_threads(count: int) -> dict[str, str]:
    environment = {**os.environ, "NPROC": str(count), "JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    done = subprocess.run(
        [sys.executable, __file__, "--once"], env=environment, capture_output=True, text=True, check=True
    )
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
