"""Preprocessing as layers in front of a network, so that attacks see the images themselves.

An image goes in as it is, in [0, 1] and at its own size: ε is in its own pixels, and gradients
reach every one that the network sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from advlab.networks.classifier import Normalize


class Framing(nn.Module):
    """Scale the shorter side, then cut out the middle.

    Scaling is antialiased and differentiable. Torchvision and timm round a scaled uint8 photo to
    whole grey levels; this does not, since rounding has no gradient, so its logits differ by what
    that rounding does.
    """

    def __init__(self, resize: int | None, crop: int | None, interpolation: str) -> None:
        """To a shorter side of ``resize`` pixels, of which the middle ``crop`` × ``crop`` are kept;
        None leaves that step out. ``interpolation`` is as of ``Preprocessing``."""
        super().__init__()
        self.resize, self.crop, self.interpolation = resize, crop, interpolation

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] to (N, C, crop, crop) in [0, 1]."""
        # Torchvision takes seconds to import, and few networks scale their images.
        from torchvision.transforms import InterpolationMode, functional

        framed, mode = images, InterpolationMode(self.interpolation)
        if self.resize is not None and min(images.shape[2:]) != self.resize:
            framed = functional.resize(framed, [self.resize], mode, antialias=True)
        if self.crop is not None:
            framed = functional.center_crop(framed, [self.crop, self.crop])
        # A cubic overshoots black and white; for bytes that is cut off as well.
        cubic = mode == InterpolationMode.BICUBIC
        return framed.clamp(0, 1) if cubic and framed is not images else framed

    def seen(self, height: int, width: int) -> Tensor:
        """Which pixels of an image of that size reach the network, bool (1, 1, height, width)."""
        image = torch.full((1, 3, height, width), 0.5, requires_grad=True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(self(image).sum(), image)
        return gradient[:, :1] != 0


class ColourChannels(nn.Module):
    """Grey images (N, 1, H, W) as colour images (N, channels, H, W) of equal channels."""

    def __init__(self, channels: int) -> None:
        """To ``channels`` channels."""
        super().__init__()
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        """The same images, each channel a copy of the one."""
        return images.expand(-1, self.channels, -1, -1)


@dataclass(frozen=True)
class Preprocessing:
    """What is done to images before a network sees them.

    Attributes:
        resize: what the shorter side is scaled to, in pixels; None for nothing.
        crop: side of the central square that is kept; None for all.
        interpolation: how images are scaled, a value of torchvision's ``InterpolationMode``.
        mean: subtracted from pixels in [0, 1], one number for each channel; None for nothing.
        std: divides them after that.
    """

    resize: int | None = None
    crop: int | None = None
    interpolation: str = "bilinear"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def changed(
        self,
        resize: int | None,
        crop: int | None,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
    ) -> Preprocessing:
        """The same with what is given; 0 leaves ``resize`` or ``crop`` out."""
        preprocessing = self
        if resize is not None:
            preprocessing = replace(preprocessing, resize=resize or None)
        if crop is not None:
            preprocessing = replace(preprocessing, crop=crop or None)
        if mean is not None:
            preprocessing = replace(preprocessing, mean=tuple(mean))
        if std is not None:
            preprocessing = replace(preprocessing, std=tuple(std))
        return preprocessing

    def layers(self) -> list[nn.Module]:
        """The layers that do it, none where nothing is done."""
        layers: list[nn.Module] = []
        if self.resize is not None or self.crop is not None:
            layers.append(Framing(self.resize, self.crop, self.interpolation))
        if self.mean is not None or self.std is not None:
            channels = max(len(self.mean or ()), len(self.std or ()))
            mean = list(self.mean or [0.0] * channels)
            layers.append(Normalize(mean, list(self.std or [1.0] * channels)))
        return layers

    def describe(self) -> str:
        """A phrase for people: ``shorter side to 256, middle 224 × 224, mean 0.485 …``."""
        parts: list[str] = []
        if self.resize is not None:
            parts.append(f"shorter side to {self.resize} ({self.interpolation})")
        if self.crop is not None:
            parts.append(f"middle {self.crop} × {self.crop}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None:
                parts.append(f"{name} {', '.join(f'{value:.3g}' for value in values)}")
        return ", ".join(parts) or "none"
