"""Shuffled data order with random access: the item at a position is computed from the seed alone.

Resumed training must see the same data as uninterrupted training. There is no iterator state to save: position p of the
stream is item `shuffled(p % size)` of epoch `p // size`, by a keyed permutation whose cost does not depend on p.
"""

import hashlib


def derive_seed(*parts: object) -> int:
    """Return a 31-bit seed, accepted by every random generator in use, as a hash of all parts."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def index_at(position: int, size: int, seed: int) -> int:
    """Return the index (below `size`) of the item at `position` of an endless stream; each epoch is newly shuffled."""
    if position < 0 or size < 1:
        raise ValueError(f"position {position} of {size} items does not exist")
    epoch, place = divmod(position, size)
    half_bits = max(1, ((size - 1).bit_length() + 1) // 2)
    key = derive_seed(seed, "epoch", epoch)
    # Cycle walking: a Feistel network permutes a power of four; iterating it until below `size` permutes 0 … size-1.
    place = _feistel(place, half_bits, key)
    while place >= size:
        place = _feistel(place, half_bits, key)
    return place


def _feistel(value: int, half_bits: int, key: int) -> int:
    mask = (1 << half_bits) - 1
    left, right = value >> half_bits, value & mask
    for turn in range(4):
        left, right = right, left ^ (_mix(right, turn, key) & mask)
    return (left << half_bits) | right


def _mix(value: int, turn: int, key: int) -> int:
    digest = hashlib.blake2b(f"{key}/{turn}/{value}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
