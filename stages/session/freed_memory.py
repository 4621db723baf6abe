"""Gives memory that this process has freed back to the system.

glibc keeps freed memory for later allocations: the compiler's after a compilation, and that of arrays smaller than 32 MiB.
In sessions of Gemma 3 270M on a CPU that was up to 4 GiB, which the next program could not use for its one large buffer.
"""

import contextlib
import ctypes

COMPILED_LONG_S = 0.5
"""Seconds from which on the compiler took enough memory that it is worth giving back, which takes up to 0.1 s."""


def give_back() -> None:
    """Return free pages of the heap to the system (`malloc_trim`, man 3); without effect where there is no glibc."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # TypeError: Windows has no library without a name
        ctypes.CDLL(None).malloc_trim(0)
