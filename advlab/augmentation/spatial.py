"""Random spatial transformations: rotation, shift, scale, shear, flip and elastic deformation.

All transformations of an image are combined in one sampling grid, so that interpolation blurs the
image only once. Parameters have the meaning that they have in torchvision's v2 transforms. Random
numbers come from torch's global generator.
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
    """Return affine maps from output to input coordinates, in the units of ``grid_sample``.

    The images are flipped, then scaled and sheared, rotated about the centre, and shifted.

    Args:
        angle: rotation in radians, with the sign of torchvision's ``affine``, (N,).
        shift: fractions of width and height, (N, 2).
        scale: scale factor, (N,).
        shear: shear along x in radians, (N,).
        flip: whether to mirror left to right, bool (N,).
        height: height of the images in pixels.
        width: width of the images in pixels.

    Returns:
        Affine maps, (N, 2, 3).
    """
    cos, sin, tan = angle.cos(), angle.sin(), shear.tan()
    # The map from input to output, in pixels, is A = scale · R(angle) · shear. The grid needs its
    # inverse.
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
    # The coordinates of grid_sample range from -1 to 1 over both width and height, so that lengths
    # along x and y have different units.
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
    """Return smooth random displacements (Simard, Steinkraus and Platt 2003).

    Uniform noise in [-1, 1] is smoothed by a Gaussian and scaled, as in torchvision's
    ``ElasticTransform``.

    Args:
        count: number of images N.
        alpha: scale of the displacements in pixels.
        sigma: standard deviation of the Gaussian in pixels.

    Returns:
        Displacements in the units of ``grid_sample``, (N, H, W, 2).
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
    """Sample images (N, C, H, W) at a grid; points outside of the image are black.

    Args:
        theta: affine maps from output to input coordinates, (N, 2, 3).
        displacement: added to the grid, (N, H, W, 2); None for none.
    """
    grid = functional.affine_grid(theta.to(images.dtype), list(images.shape), align_corners=False)
    if displacement is not None:
        grid = grid + displacement
    return functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )


def gaussian_blur(images: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Blur each image with a Gaussian; edges are mirrored, as in torchvision's ``gaussian_blur``.

    Args:
        images: (N, C, H, W).
        sigma: standard deviation per image in pixels, (N,); 0 does not blur.
        radius: radius in pixels at which the kernel is truncated.
    """
    count, channels, height, width = images.shape
    offsets = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    weight = torch.exp(-(offsets**2) / (2 * sigma.clamp_min(1e-3).to(images.dtype)[:, None] ** 2))
    kernel = (weight / weight.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    padded = functional.pad(images, [radius] * 4, mode="reflect").reshape(
        1, count * channels, height + 2 * radius, width + 2 * radius
    )
    horizontal = functional.conv2d(padded, kernel[:, None, None, :], groups=count * channels)
    return functional.conv2d(horizontal, kernel[:, None, :, None], groups=count * channels).view_as(
        images
    )
