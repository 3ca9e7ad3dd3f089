"""Size and visibility of perturbations: norms, PSNR and SSIM, of images in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def norms(perturbed: Tensor, images: Tensor) -> dict[str, Tensor]:
    """L∞, L2 and L1 norms of ``perturbed - images``, each (N,), float64."""
    r = (perturbed.double() - images.double()).flatten(1)
    return {
        "linf": r.abs().amax(dim=1),
        "l2": torch.linalg.vector_norm(r, dim=1),
        "l1": r.abs().sum(dim=1),
    }


def psnr(perturbed: Tensor, images: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, (N,), float64; infinite for equal images."""
    error = (perturbed.double() - images.double()).flatten(1).square().mean(dim=1)
    return -10 * torch.log10(error)


def ssim(perturbed: Tensor, images: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004), (N,), float64; 1 for equal images.

    With the authors' settings: a Gaussian window of σ = 1.5 over 11 × 11 pixels, K1 = .01, K2 =
    .03, averaged over the places where the whole window fits and over the channels.

    Raises:
        ValueError: an image has a side below 11 pixels.
    """
    channels, height, width = images.shape[1:]
    if min(height, width) < 11:
        raise ValueError(f"SSIM needs sides of at least 11 pixels; these are {height} × {width}")
    x, y = perturbed.double(), images.double()
    place = torch.arange(11, dtype=torch.float64, device=images.device) - 5
    bell = torch.exp(-(place**2) / (2 * 1.5**2))
    bell = bell / bell.sum()

    def smooth(z: Tensor) -> Tensor:
        down = functional.conv2d(
            z, bell.view(1, 1, 11, 1).expand(channels, 1, 11, 1), groups=channels
        )
        return functional.conv2d(
            down, bell.view(1, 1, 1, 11).expand(channels, 1, 1, 11), groups=channels
        )

    mean_x, mean_y = smooth(x), smooth(y)
    variance_x = smooth(x * x) - mean_x**2
    variance_y = smooth(y * y) - mean_y**2
    covariance = smooth(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )
    return similarity.flatten(1).mean(dim=1)
