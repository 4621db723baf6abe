"""The hash that a second thread computes is that of the blocks in their order."""

import hashlib
import random

from orchestrator.kaggle.background_hash import QUEUED_BLOCKS_MAX, BackgroundHasher


def test_blocks_that_are_hashed_behind_give_the_hash_of_all_of_them_in_order() -> None:
    rng = random.Random(3)
    blocks = [rng.randbytes(rng.choice((0, 1, 100, 300_000))) for _ in range(10 * QUEUED_BLOCKS_MAX)]
    with BackgroundHasher() as sha256:
        for number, block in enumerate(blocks):
            sha256.update(block)
            if number % 25 == 0:
                assert sha256.hexdigest() == hashlib.sha256(b"".join(blocks[: number + 1])).hexdigest()
        assert sha256.hexdigest() == hashlib.sha256(b"".join(blocks)).hexdigest()


def test_a_hash_that_is_begun_anew_forgets_what_still_waited() -> None:
    with BackgroundHasher() as sha256:
        for _ in range(QUEUED_BLOCKS_MAX):
            sha256.update(bytes(1_000_000))
        sha256.restart()
        sha256.update(b"other")
        assert sha256.hexdigest() == hashlib.sha256(b"other").hexdigest()
