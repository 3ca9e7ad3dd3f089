"""Random numbers that depend on the image and not on its batch.

A torch generator deals one stream to whoever asks next, so that a random start depends on the batch
size, on the images already dropped, and on the device. Here a number is a hash of (seed, image,
draw, pixel): the same image gets the same noise in a batch of 1 or of 1,000, alone or with the
whole test set, on any device.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod

import torch
from torch import Tensor

from advlab.runs.machine import seed_generators

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB
_LAST = 0xFFFFFFFFFFFFFFFF
_AT_ONCE = 1 << 22  # numbers that are hashed together: eight bytes each, several times over


@contextmanager
def repeatable(seed: int, device: torch.device) -> Iterator[None]:
    """Within it, whoever draws from torch's own generators draws the numbers of this seed.

    Their states are restored afterwards. Networks that keep a generator of their own are not
    reached.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        seed_generators(seed, device)
        yield


class ImageRandom:
    """A source of random numbers for a batch of images.

    Successive calls give fresh numbers. ``select`` narrows it to some of the images, each of which
    goes on with the numbers that it would have had anyway.
    """

    def __init__(self, seed: int, images: Tensor, draws: int = 0) -> None:
        """Numbers for the images with these ids (int64, shape (N,)), of which ``draws`` arrays were
        taken before."""
        # The seed is mixed before the image is added, or seed 3 and image 5 would be seed 4 and
        # image 4.
        self._keys = _mix(images.cpu() + _mixed(seed))
        self._draws = draws

    def __len__(self) -> int:
        """How many images it serves."""
        return self._keys.shape[0]

    def select(self, index: Tensor) -> ImageRandom:
        """The source for the images at ``index``."""
        narrowed = copy.copy(self)
        narrowed._keys = self._keys[index.cpu()]
        return narrowed

    def skip(self, draws: int) -> None:
        """Go on as if so many arrays had been drawn."""
        self._draws += draws

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        """Uniform float32 in [0, 1), shape (N, *shape), on the CPU."""
        key = _mix(self._keys + _wrap(self._draws * _GOLDEN))
        self._draws += 1
        count = prod(shape)
        drawn = torch.empty(len(self), count)
        width = max(1, _AT_ONCE // max(1, len(self)))
        for start in range(0, count, width):
            pixel = torch.arange(start + 1, min(start + width, count) + 1, dtype=torch.int64)
            bits = _mix(key[:, None] + pixel * _GOLDEN)
            drawn[:, start : start + width] = ((bits >> 40) & 0xFFFFFF).float().div_(1 << 24)
        return drawn.view(len(self), *shape)

    def signs(self, shape: tuple[int, ...]) -> Tensor:
        """-1 or +1 with equal chance, shape (N, *shape)."""
        return torch.where(self.uniform(shape) < 0.5, -1.0, 1.0)

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """Standard normal float32, shape (N, *shape), by the inverse of its distribution
        function."""
        # Half a step into each of the 2^24 cells keeps clear of the infinite ends.
        drawn = self.uniform(shape)
        for part in drawn.view(-1).split(_AT_ONCE):
            part.copy_(torch.special.ndtri(part.double() + 2.0**-25))
        return drawn

    def exponential(self, shape: tuple[int, ...]) -> Tensor:
        """Standard exponential float32, shape (N, *shape)."""
        return -torch.log1p(-self.uniform(shape))


def _wrap(value: int) -> int:
    """An integer modulo 2^64, as a signed one."""
    value &= _LAST
    return value - (1 << 64) if value >= 1 << 63 else value


def _mixed(value: int) -> int:
    """``_mix`` of one integer, modulo 2^64."""
    x = value & _LAST
    x = (x ^ (x >> 30)) * _MIX_1 & _LAST
    x = (x ^ (x >> 27)) * _MIX_2 & _LAST
    return _wrap(x ^ (x >> 31))


def _mix(x: Tensor) -> Tensor:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    # In place where it is our own: numbers are drawn for every step of some attacks.
    x = (x >> 30).bitwise_and_(0x3FFFFFFFF).bitwise_xor_(x).mul_(_MIX_1)
    x = (x >> 27).bitwise_and_(0x1FFFFFFFFF).bitwise_xor_(x).mul_(_MIX_2)
    return (x >> 31).bitwise_and_(0x1FFFFFFFF).bitwise_xor_(x)
