"""Size and visibility of perturbations: norms, PSNR and SSIM, of images in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

WINDOW = 11  # pixels of a side of the window of SSIM
_AT_ONCE = 1 << 20  # pixels whose SSIM is computed together, at some two hundred bytes each


def norms(perturbed: Tensor, images: Tensor) -> dict[str, Tensor]:
    """Return the L∞, L2, L1 and L0 norms of ``perturbed - images``, each float64 (N,).

    L0 is the number of pixels that differ in any channel.
    """
    difference = perturbed.double() - images.double()
    r = difference.flatten(1)
    return {
        "linf": r.abs().amax(dim=1),
        "l2": torch.linalg.vector_norm(r, dim=1),
        "l1": r.abs().sum(dim=1),
        "l0": (difference != 0).any(dim=1).flatten(1).sum(dim=1).double(),
    }


def psnr(perturbed: Tensor, images: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in dB, float64 (N,); infinity for equal images."""
    error = (perturbed.double() - images.double()).flatten(1).square().mean(dim=1)
    return -10 * torch.log10(error)


def ssim(perturbed: Tensor, images: Tensor) -> Tensor:
    """Return the structural similarity (Wang et al. 2004), float64 (N,); 1 for equal images.

    The settings are those of the authors: a Gaussian window with σ = 1.5 of 11 × 11 pixels,
    K1 = 0.01 and K2 = 0.03. The mean is taken over the channels and over all positions at which the
    window lies within the image.

    Raises:
        ValueError: an image has a side below 11 pixels.
    """
    channels, height, width = images.shape[1:]
    if min(height, width) < WINDOW:
        raise ValueError(f"SSIM needs images of at least 11 × 11 pixels, not {height} × {width}")
    # Large photos in bands of rows: a window of every position, none of them twice.
    rows = height - WINDOW + 1
    band = max(1, _AT_ONCE // max(1, len(images) * channels * width))
    sums = [
        _similarities(perturbed[:, :, start:stop], images[:, :, start:stop]).flatten(1).sum(dim=1)
        for start in range(0, rows, band)
        for stop in [min(start + band, rows) + WINDOW - 1]
    ]
    total: Tensor = torch.stack(sums).sum(dim=0)
    return total / (channels * rows * (width - WINDOW + 1))


def _similarities(perturbed: Tensor, images: Tensor) -> Tensor:
    """The structural similarity at every position of the window, float64 (N, C, H - 10, W - 10)."""
    channels = images.shape[1]
    x, y = perturbed.double(), images.double()
    offsets = torch.arange(WINDOW, dtype=torch.float64, device=images.device) - WINDOW // 2
    window = torch.exp(-(offsets**2) / (2 * 1.5**2))
    window = window / window.sum()

    def smooth(z: Tensor) -> Tensor:
        down = functional.conv2d(
            z, window.view(1, 1, 11, 1).expand(channels, 1, 11, 1), groups=channels
        )
        return functional.conv2d(
            down, window.view(1, 1, 1, 11).expand(channels, 1, 1, 11), groups=channels
        )

    mean_x, mean_y = smooth(x), smooth(y)
    variance_x = smooth(x * x) - mean_x**2
    variance_y = smooth(y * y) - mean_y**2
    covariance = smooth(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity: Tensor = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )
    return similarity
