"""Sizes and visibility of the perturbations of an attack, as ``metrics.json`` holds them."""

from __future__ import annotations

import torch
from torch import Tensor

from advlab.metrics import perturbation as visible


def sizes_of(perturbed: Tensor, clean: Tensor, changed: Tensor) -> dict[str, float]:
    """Norms and visibility of the perturbations of the images that were changed; nothing where none
    was."""
    if not bool(changed.any()):
        return {}
    figures: dict[str, float] = {}
    for name, size in visible.norms(perturbed, clean).items():
        figures[f"{name}_mean"], figures[f"{name}_max"] = (
            float(size[changed].mean()),
            float(size.max()),
        )
    figures["psnr_mean"] = float(visible.psnr(perturbed[changed], clean[changed]).mean())
    if min(clean.shape[2:]) >= 11:
        parts = zip(perturbed[changed].split(1000), clean[changed].split(1000), strict=True)
        figures["ssim_mean"] = float(torch.cat([visible.ssim(*part) for part in parts]).mean())
    return figures
