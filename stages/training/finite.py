"""Finds arrays with numbers that are not finite: one in a weight or a moment spreads to all later steps."""

from collections.abc import Mapping
from typing import Any

CHUNK = 1 << 20
"""Numbers to check at a time, which bounds the memory for the intermediate results of a large array."""

EXPONENT = 0x7F80
"""Exponent bits of a bfloat16; all of them are set exactly for infinities and NaN."""


def not_finite(arrays: Mapping[str, Any]) -> str:
    """Return the name of the first host array that contains an infinity or NaN; empty if there is none."""
    return next((name for name, array in arrays.items() if _has_not_finite(array)), "")


def _has_not_finite(array: Any) -> bool:
    import numpy as np  # imported late: only callers with arrays need NumPy

    array = np.asarray(array)
    # NumPy reports bfloat16 and similar types as kind "V"; plain void and non-numeric types cannot be checked.
    if array.dtype.kind not in "fc" and (array.dtype.kind != "V" or array.dtype.type is np.void):
        return False
    flat = array.reshape(-1)
    chunks = (flat[start : start + CHUNK] for start in range(0, flat.size, CHUNK))
    if array.dtype.name == "bfloat16":  # testing its bits is three times as fast as its arithmetic
        return any(((chunk.view(np.uint16) & EXPONENT) == EXPONENT).any() for chunk in chunks)
    return not all(np.isfinite(chunk).all() for chunk in chunks)
