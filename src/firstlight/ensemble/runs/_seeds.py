"""Counter-based seeding: shard i of a run always draws the same numbers, on every worker."""

from __future__ import annotations

import hashlib

import torch

from firstlight.errors import DomainError

# odd, so that index ↦ base + index·_STRIDE is a bijection of 32-bit words: no two shards share a stream.
# torch's CPU generator reads only 32 bits of its seed, so hashing alone would let streams collide.
_STRIDE = 0x9E3779B1
_WORD = 1 << 32


def shard_seed(seed: int, index: int) -> int:
    """The 32-bit seed of stream ``index`` of a run: distinct for every index below 2³².

    Parameters
    ----------
    seed
        Seed of the whole run, a non-negative integer of any size.
    index
        Number of the stream, 0 ≤ index < 2³².

    Raises
    ------
    DomainError
        A negative seed, or an index outside its range.

    Examples
    --------
    >>> from firstlight.ensemble.runs._seeds import shard_seed
    >>> len({shard_seed(0, i) for i in range(1000)})
    1000
    """
    if seed < 0 or not 0 <= index < _WORD:
        raise DomainError(
            f"while seeding a shard: expected seed ≥ 0 and 0 ≤ index < 2³², got {seed} and {index}"
        )
    digest = hashlib.sha256(f"firstlight ensemble {seed}".encode()).digest()
    return (int.from_bytes(digest[:4], "little") + index * _STRIDE) % _WORD


def shard_generator(seed: int, index: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on ``device`` at the start of stream ``index`` of a run."""
    return torch.Generator(device=device).manual_seed(shard_seed(seed, index))
