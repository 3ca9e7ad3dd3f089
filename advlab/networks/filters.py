"""Input filters: bit-depth reduction, JPEG and a median filter. They hide the gradient.

The first two are step functions of their input, so their true gradient is zero almost everywhere,
and an attack that climbs it stands still. That is obfuscation, not robustness (Athalye, Carlini and
Wagner 2018, arXiv:1802.00420): passed backwards as if they were the identity, which they nearly
are, the gradient finds the same images as ever (BPDA). A median has a true gradient, which leads to
the one pixel that it chose, and needs no such help.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional


class InputFilter(nn.Module):
    """Images (N, C, H, W) in [0, 1] to filtered ones.

    Attributes:
        steps: whether it is a step function.
        straight_through: pass gradients of a step function backwards unchanged (BPDA) in place of
            the true ones, which are zero.
    """

    steps = True
    straight_through = False

    def forward(self, images: Tensor) -> Tensor:
        """The filtered images, in the type of ``images``."""
        if not self.steps:
            return self.filtered(images)
        with torch.no_grad():
            filtered = self.filtered(images.detach().float()).to(images.dtype)
        return (
            images + (filtered - images).detach()
            if self.straight_through
            else filtered + 0 * images
        )

    def filtered(self, images: Tensor) -> Tensor:
        """What comes out for float32 images."""
        raise NotImplementedError


class BitDepth(InputFilter):
    """Grey levels reduced to 2 ** bits (Xu, Evans and Qi 2018, arXiv:1704.01155)."""

    def __init__(self, bits: int) -> None:
        """Keep this many bits a channel, 1 to 8."""
        super().__init__()
        self.levels = 2**bits - 1

    def filtered(self, images: Tensor) -> Tensor:
        """Each value at the nearest of the levels."""
        return _divided((images * self.levels).round(), self.levels)


class Median(InputFilter):
    """Each pixel the median of the square around it (Xu, Evans and Qi 2018, arXiv:1704.01155)."""

    steps = False

    def __init__(self, size: int) -> None:
        """A square of this odd side."""
        super().__init__()
        self.size = size

    def filtered(self, images: Tensor) -> Tensor:
        """Edges are mirrored."""
        count, channels, height, width = images.shape
        padded = functional.pad(images, [self.size // 2] * 4, mode="reflect")
        windows = padded.unfold(2, self.size, 1).unfold(3, self.size, 1)
        return windows.reshape(count, channels, height, width, -1).median(dim=-1).values


class Jpeg(InputFilter):
    """What a JPEG file of some quality keeps (Guo et al. 2018, arXiv:1711.00117), by the codec that
    writes such files."""

    def __init__(self, quality: int) -> None:
        """Quality from 1 to 95."""
        super().__init__()
        self.quality = quality

    def filtered(self, images: Tensor) -> Tensor:
        """Through bytes and back, one image after another; the codec knows no batches."""
        pixels = (
            (images * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        )
        through = np.stack([self._through(image) for image in pixels])
        decoded = torch.from_numpy(through).to(images.device).permute(0, 3, 1, 2)
        return _divided(decoded.float(), 255)

    def _through(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        file = io.BytesIO()
        Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(
            file, format="JPEG", quality=self.quality
        )
        with Image.open(file) as opened:
            return np.asarray(opened).reshape(image.shape)


def _divided(levels: Tensor, top: int) -> Tensor:
    """``levels`` / ``top``, with the same bits on every device.

    CUDA divides by a Python number by multiplying with its reciprocal; it does divide by a tensor.
    """
    return levels / levels.new_full((), top)


KINDS = {"bits": BitDepth, "jpeg": Jpeg, "median": Median}


def in_front(filters: Mapping[str, int]) -> list[InputFilter]:
    """The filters of a checkpoint's metadata, by name and strength, in order."""
    return [KINDS[name](strength) for name, strength in filters.items()]


def see_through(model: nn.Module, straight: bool = True) -> bool:
    """Let the gradients of ``model`` pass its filters unchanged, or again not; whether it has
    any."""
    filters = [module for module in model.modules() if isinstance(module, InputFilter)]
    for module in filters:
        module.straight_through = straight
    return bool(filters)
