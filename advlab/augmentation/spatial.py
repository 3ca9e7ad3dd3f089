"""Random spatial transformations: rotation, shift, scale, shear, flip and elastic deformation.

All of them are combined in one sampling grid per image.

Sampled once, an image is blurred by interpolation once, however many transformations it went
through. Parameters mean what they mean in torchvision's v2 transforms. Random numbers come from
torch's global generator.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def affine(
    angle: Tensor,
    shift: Tensor,
    scale: Tensor,
    shear: Tensor,
    flip: Tensor,
    height: int,
    width: int,
) -> Tensor:
    """From output to input coordinates, in the units of ``grid_sample``; shape (N, 2, 3).

    The output is the input scaled and sheared, turned by ``angle`` about its centre, then shifted;
    flipped before all.

    Args:
        angle: radians, counted as torchvision's ``affine`` counts degrees, (N,).
        shift: share of width and of height, (N, 2).
        scale: factor, (N,).
        shear: radians along x, (N,).
        flip: bool, mirrored left to right, (N,).
    """
    cos, sin, tan = angle.cos(), angle.sin(), shear.tan()
    # Forward, in pixels: A = scale · R(angle) · shear; backward is its inverse.
    a, b = scale * cos, scale * (-cos * tan - sin)
    c, d = scale * sin, scale * (-sin * tan + cos)
    determinant = a * d - b * c
    inverse = torch.stack([torch.stack([d, -b], 1), torch.stack([-c, a], 1)], 1) / determinant.view(
        -1, 1, 1
    )
    offset = -(
        inverse
        @ (shift * torch.tensor([width, height], dtype=shift.dtype, device=shift.device)).unsqueeze(
            2
        )
    )
    # grid_sample's coordinates run from -1 to 1 over width and height, so lengths along x and y are
    # in different units.
    ratio = torch.tensor(
        [[1.0, height / width], [width / height, 1.0]], dtype=angle.dtype, device=angle.device
    )
    size = torch.tensor([[2.0 / width], [2.0 / height]], dtype=angle.dtype, device=angle.device)
    theta = torch.cat([inverse * ratio, offset * size], dim=2)
    mirrored = torch.where(flip, -1.0, 1.0).to(theta.dtype)
    return theta * torch.stack([mirrored, torch.ones_like(mirrored)], 1).unsqueeze(2)


def elastic(
    count: int, height: int, width: int, alpha: float, sigma: float, device: torch.device
) -> Tensor:
    """Smooth random displacements in the units of ``grid_sample``, shape (N, H, W, 2).

    Noise uniform in [-1, 1] smoothed by a Gaussian of ``sigma`` pixels, times ``alpha`` pixels
    (Simard, Steinkraus and Platt 2003), as in torchvision's ``ElasticTransform``.
    """
    noise = (torch.rand(count * 2, 1, height, width) * 2 - 1).to(device)
    smooth = gaussian_blur(
        noise,
        torch.full((count * 2,), sigma, device=device),
        radius=min(math.ceil(3 * sigma), height - 1, width - 1),
    )
    units = torch.tensor([alpha * 2 / width, alpha * 2 / height], device=device)
    return smooth.view(count, 2, height, width).permute(0, 2, 3, 1) * units


def sample(images: Tensor, theta: Tensor, displacement: Tensor | None) -> Tensor:
    """The images (N, C, H, W) seen through the grid; black where it looks outside."""
    grid = functional.affine_grid(theta.to(images.dtype), list(images.shape), align_corners=False)
    if displacement is not None:
        grid = grid + displacement
    return functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )


def gaussian_blur(images: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Each image smoothed by a Gaussian of its own ``sigma`` (N,) in pixels, cut at ``radius``; 0
    leaves it as it is.

    Edges are mirrored, as in torchvision's ``gaussian_blur``.
    """
    count, channels, height, width = images.shape
    place = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    weight = torch.exp(-(place**2) / (2 * sigma.clamp_min(1e-3).to(images.dtype)[:, None] ** 2))
    kernel = (weight / weight.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    padded = functional.pad(images, [radius] * 4, mode="reflect").reshape(
        1, count * channels, height + 2 * radius, width + 2 * radius
    )
    along = functional.conv2d(padded, kernel[:, None, None, :], groups=count * channels)
    return functional.conv2d(along, kernel[:, None, :, None], groups=count * channels).view_as(
        images
    )
