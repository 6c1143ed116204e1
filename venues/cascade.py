"""Random paths that any process can read at any minute: a dyadic tree of hashes from 2000 to 2127.

A factor is Brownian motion in multifractal trading time (Mandelbrot, Fisher & Calvet 1997, "A multifractal model of
asset returns") plus compound Poisson jumps (Merton 1976). Both are drawn from the whole horizon downwards, as Lévy
built Brownian motion: a node knows what happens over its interval and a hash splits that between its halves, so a
value costs one descent of 26 steps whatever the date, and nothing depends on the order of the questions. The steps
use only + - * / and square roots, which are exact in Python and numpy alike: both give the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from numpy.typing import NDArray

Bits = TypeVar("Bits", int, "NDArray[Any]")
"""An integer below 2^64, or an array of uint64."""
Real = TypeVar("Real", float, "NDArray[Any]")
"""A float, or an array of float64."""

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
LEVELS = 26
MINUTES = 1 << LEVELS
"""Minutes from EPOCH to the end of the horizon, in 2127."""
MINUTES_A_YEAR = 525_960
_YEARS = MINUTES / MINUTES_A_YEAR

BLOCK_LEVELS = 14
BLOCK = 1 << BLOCK_LEVELS
"""Minutes of a block (11 days): the top of the tree is remembered down to here, and arrays come in blocks."""
_TOP = LEVELS - BLOCK_LEVELS

_CALM_LEVELS = 8
_SPREAD = 0.4
# Intervals above half a year halve their variance evenly, so that each year has about its listed volatility. Below,
# a half takes between 0.1 and 0.9 of it, which gives hourly returns the fat tails and the lasting unrest of real ones.
_SPREADS = tuple(0.0 if level < _CALM_LEVELS else _SPREAD for level in range(LEVELS))

_WORD = 0xFFFF_FFFF_FFFF_FFFF
_BELL_LANES = 0x0FFF_0FFF_0FFF_0FFF
_TILT_LANES = 0x000F_000F_000F_000F
_SUM_LANES = 0x0001_0001_0001_0001
_JOIN_LANES = 0x0001_0010_0100_1000
_BELL_SCALE = 1 / math.sqrt((4096**2 - 1) / 3)
_BELL_SHIFT = 8190 * _BELL_SCALE
_TILT_SCALE = 2 / 65535

_JUMP_UNIT = 2.0**-40
"""Jump sums are integers of this size, so that adding them in any order gives the same sum."""


def stream_key(seed: int, name: str) -> int:
    """The start of the random stream that `name` has under `seed`."""
    return int.from_bytes(blake2b(f"{seed}:{name}".encode(), digest_size=8).digest())


def draw(key: int, counter: Bits) -> Bits:
    """The `counter`-th 64 random bits of the SplitMix64 stream that starts at `key` (Steele, Lea & Flood 2014)."""
    bits = (counter * 0x9E37_79B9_7F4A_7C15 + key) & _WORD
    bits = ((bits ^ (bits >> 30)) * 0xBF58_476D_1CE4_E5B9) & _WORD
    bits = ((bits ^ (bits >> 27)) * 0x94D0_49BB_1331_11EB) & _WORD
    return bits ^ (bits >> 31)


def lanes(bits: Bits) -> tuple[Bits, Bits]:
    """Two independent numbers from 64 random bits: 0 to 16380, bell-shaped (4 x 12 bits), and 0 to 65535, uniform."""
    bell = (((bits & _BELL_LANES) * _SUM_LANES) & _WORD) >> 48
    tilt = ((((bits >> 12) & _TILT_LANES) * _JOIN_LANES) & _WORD) >> 48
    return bell, tilt


def split(
    bell: Real, tilt: Real, variance: Real, increment: Real, spread: float, square_root: Callable[[Real], Real]
) -> tuple[Real, Real]:
    """The left half's variance and increment, given the whole interval's: a Brownian bridge at a random time.

    `bell` and `tilt` are what `lanes` gives. The bell ends at 3.5 deviations: fat tails come from the tilts.
    """
    weight = (tilt * _TILT_SCALE - 1.0) * spread + 0.5
    left_variance = variance * weight
    normal = bell * _BELL_SCALE - _BELL_SHIFT
    return left_variance, increment * weight + square_root(left_variance * (1.0 - weight)) * normal


def _alternate(left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    both = left.repeat(2)
    both[1::2] = right
    return both


class _Jumps:
    """Jumps of normal size at uniformly random minutes: how many, and their sum, split down the tree together.

    `share` is the variance that they add in a year. Halving n jumps gives k to the left, binomial, and of their sum
    J a normal part with mean J k / n and variance s^2 k (n - k) / n.
    """

    def __init__(self, key: int, a_year: float, share: float) -> None:
        self._key = key
        self._count = round(a_year * _YEARS)
        self._deviation = math.sqrt(share / a_year) / _JUMP_UNIT if a_year else 0.0
        self._stem = lru_cache(maxsize=16)(self._find_stem)

    def _left(self, node: int, count: int, total: int) -> tuple[int, int]:
        """The left half's count, of which each jump is one random bit, and its sum."""
        ones = 0
        for taken in range(0, count, 64):
            # a node's further draws lie beyond the numbers of all nodes
            bits = draw(self._key, node + ((taken + 64) << 32))
            ones += (bits >> max(0, 64 - (count - taken))).bit_count()
        if ones in (0, count):
            return ones, total if ones else 0
        bell, _ = lanes(draw(self._key, node))
        deviation = self._deviation * math.sqrt(ones * (count - ones) / count)
        return ones, total * ones // count + round(deviation * (bell * _BELL_SCALE - _BELL_SHIFT))

    def _find_stem(self, block: int) -> tuple[int, int, int]:
        """A block's jump count, their sum, and the sum of all before it."""
        return self._descend(block, _TOP, 1, self._count, 0, 0)

    def _descend(self, path: int, steps: int, node: int, count: int, total: int, before: int) -> tuple[int, int, int]:
        for shift in range(steps - 1, -1, -1):
            if not count:
                break
            left_count, left_total = self._left(node, count, total)
            node *= 2
            if path >> shift & 1:
                before += left_total
                node, count, total = node + 1, count - left_count, total - left_total
            else:
                count, total = left_count, left_total
        return count, total, before

    def level(self, minute: int) -> int:
        """The sum of all jumps before `minute`, in jump units."""
        block = minute >> BLOCK_LEVELS
        count, total, before = self._stem(block)
        if count:
            node = (1 << _TOP) + block
            before = self._descend(minute & (BLOCK - 1), BLOCK_LEVELS, node, count, total, before)[2]
        return before

    def between(self, first: int, end: int) -> list[tuple[int, int]]:
        """(minute, size in jump units) of the jumps that `level` has gained at a minute of [first, end), in order."""
        found = []
        rest = [(1, 0, self._count, 0)]
        while rest:
            node, depth, count, total = rest.pop()
            width = LEVELS - depth
            start = (node << width) - MINUTES
            # what happens during a minute shows at the next one's start
            if not count or start + 1 >= end or start + (1 << width) < first:
                continue
            if depth == LEVELS:
                found.append((start + 1, total))
                continue
            left_count, left_total = self._left(node, count, total)
            rest.append((node * 2 + 1, depth + 1, count - left_count, total - left_total))
            rest.append((node * 2, depth + 1, left_count, left_total))
        return found


class Factor:
    """One random path with a variance of 1 a year, of which `jump_share` comes in `jumps_a_year` jumps.

    `blocks_kept` bounds the memory for `path`, at 128 KiB a block: for factors that several symbols share.
    """

    def __init__(
        self, seed: int, name: str, jumps_a_year: float = 0.0, jump_share: float = 0.0, blocks_kept: int = 0
    ) -> None:
        self._key = stream_key(seed, name)
        self._variance = (1.0 - jump_share) * _YEARS
        self._jumps = _Jumps(stream_key(seed, f"{name} jumps"), jumps_a_year, jump_share)
        self._stem = lru_cache(maxsize=16)(self._find_stem)
        self._kept_value = lru_cache(maxsize=64)(self._find_value)
        self._kept_path = lru_cache(maxsize=blocks_kept)(self._find_path)

    def value(self, minute: int) -> float:
        """The path at the start of `minute`, counted from EPOCH (0 <= minute < MINUTES)."""
        return self._kept_value(minute)

    def path(self, block: int) -> NDArray[Any]:
        """`value` at each minute of a block, the same bits: a read-only array of BLOCK float64."""
        return self._kept_path(block)

    def jumps(self, first: int, end: int) -> list[tuple[int, float]]:
        """(minute, size) of the jumps that the path shows for the first time at a minute of [first, end), in order."""
        return [(minute, size * _JUMP_UNIT) for minute, size in self._jumps.between(first, end)]

    def _descend(
        self, path: int, level: int, end: int, node: int, variance: float, increment: float, value: float
    ) -> tuple[float, float, float]:
        """From `node` at `level` down to `end`, left or right as the bits of `path` say.

        Returns the variance and increment there, and the path's value at its start.
        """
        for depth in range(level, end):
            bell, tilt = lanes(draw(self._key, node))
            left_variance, left_increment = split(bell, tilt, variance, increment, _SPREADS[depth], math.sqrt)
            node *= 2
            if path >> (end - 1 - depth) & 1:
                node += 1
                value += left_increment
                variance -= left_variance
                increment -= left_increment
            else:
                variance, increment = left_variance, left_increment
        return variance, increment, value

    def _find_stem(self, block: int) -> tuple[float, float, float]:
        # the whole horizon's increment is 0: no window of a run is long enough to notice
        return self._descend(block, 0, _TOP, 1, self._variance, 0.0, 0.0)

    def _find_value(self, minute: int) -> float:
        block = minute >> BLOCK_LEVELS
        _, _, diffused = self._descend(minute & (BLOCK - 1), _TOP, LEVELS, (1 << _TOP) + block, *self._stem(block))
        return diffused + self._jumps.level(minute) * _JUMP_UNIT

    def _find_path(self, block: int) -> NDArray[Any]:
        # the same steps as _descend, a whole level at a time
        import numpy as np

        first = block << BLOCK_LEVELS
        variance, increment, diffused = (np.array([part]) for part in self._stem(block))
        for depth in range(_TOP, LEVELS):
            first_node = (MINUTES + first) >> (LEVELS - depth)
            nodes = np.arange(first_node, first_node + len(diffused), dtype=np.uint64)
            bell, tilt = (lane.astype(np.float64) for lane in lanes(draw(self._key, nodes)))
            left_variance, left_increment = split(bell, tilt, variance, increment, _SPREADS[depth], np.sqrt)
            diffused = _alternate(diffused, diffused + left_increment)
            variance = _alternate(left_variance, variance - left_variance)
            increment = _alternate(left_increment, increment - left_increment)
        jumped = np.full(BLOCK, self._jumps.level(first), dtype=np.int64)
        for minute, size in self._jumps.between(first + 1, first + BLOCK):
            jumped[minute - first :] += size
        values: NDArray[Any] = diffused + jumped * _JUMP_UNIT
        values.flags.writeable = False
        return values
