"""Augmentation of training images by the options ``--degrees``, ``--erase`` and others."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from advlab.augmentation import colour, crop, spatial
from advlab.config.options.run import AugmentOptions

_ELASTIC_SIGMA = 4.0  # pixels; displacements vary over about the width of a stroke


def augment(images: Tensor, options: AugmentOptions) -> Tensor:
    """Transform images at random, with independent parameters for each image.

    Spatial transformations are applied first, in one interpolation. Vertical flips, blur, contrast,
    brightness, colours, noise and erasing follow in this order. Random numbers come from torch's
    global generator.

    Args:
        images: (N, C, H, W) in [0, 1].

    Returns:
        New images of the same shape in [0, 1].
    """
    result = images
    if moves_pixels(options):
        result = _moved(result, options)
    if options.flip_vertical:
        result = torch.where(
            _per_image(_uniform(images, 0.0, 1.0) < options.flip_vertical), result.flip(2), result
        )
    if options.blur:
        radius = min(math.ceil(3 * options.blur), min(images.shape[2:]) - 1)
        result = spatial.gaussian_blur(result, _uniform(images, 0.0, options.blur), radius)
    if options.contrast:
        grey = result.mean(dim=(1, 2, 3), keepdim=True)
        result = grey + (result - grey) * _per_image(
            _uniform(images, 1 - options.contrast, 1 + options.contrast)
        )
    if options.brightness:
        result = result * _per_image(
            _uniform(images, 1 - options.brightness, 1 + options.brightness)
        )
    if images.shape[1] == 3:
        result = _recoloured(result, options)
    if options.noise:
        level = _per_image(_uniform(images, 0.0, options.noise))
        result = result + level * torch.randn(images.shape).to(images.device)
    result = result.clamp(0, 1)
    return _erased(result, options.erase) if options.erase else result


def _recoloured(images: Tensor, options: AugmentOptions) -> Tensor:
    if options.saturation:
        images = colour.saturation(
            images, _uniform(images, 1 - options.saturation, 1 + options.saturation)
        )
    if options.hue:
        images = colour.hue(images.clamp(0, 1), _uniform(images, -options.hue, options.hue))
    return (
        colour.greyscale(images, _uniform(images, 0.0, 1.0) < options.grey)
        if options.grey
        else images
    )


def moves_pixels(options: AugmentOptions) -> bool:
    """Return whether the options contain a transformation that moves pixels."""
    affine = options.degrees or options.translate or options.scale or options.shear
    return bool(
        affine or options.flip or options.elastic or options.crop or options.resized_crop < 1
    )


def _moved(images: Tensor, options: AugmentOptions) -> Tensor:
    count, _, height, width = images.shape
    angle = _uniform(images, -math.radians(options.degrees), math.radians(options.degrees))
    shear = _uniform(images, -math.radians(options.shear), math.radians(options.shear))
    scale = _uniform(images, 1 - options.scale, 1 + options.scale)
    shift = torch.stack(
        [_uniform(images, -options.translate, options.translate) for _ in range(2)], 1
    )
    if options.crop:
        # A crop of the zero-padded image is a shift by whole pixels.
        pixels = torch.randint(-options.crop, options.crop + 1, (count, 2)).to(images.device)
        shift = shift + pixels / torch.tensor([width, height], device=images.device)
    flip = _uniform(images, 0.0, 1.0) < options.flip
    theta = spatial.affine(angle, shift, scale, shear, flip, height, width)
    if options.resized_crop < 1:
        boxes = crop.random_boxes(
            count, height, width, options.resized_crop, torch.default_generator
        )
        theta = crop.compose(theta, crop.box_to_grid(boxes).to(images.device))
    displacement = (
        spatial.elastic(count, height, width, options.elastic, _ELASTIC_SIGMA, images.device)
        if options.elastic
        else None
    )
    return spatial.sample(images, theta, displacement)


def _erased(images: Tensor, fraction: float) -> Tensor:
    """Black out a random rectangle in a fraction of the images (Zhong et al., arXiv:1708.04896).

    The rectangle covers 2 to 33 % of the area.
    """
    height, width = images.shape[2:]
    area = _uniform(images, 0.02, 0.33) * height * width
    ratio = torch.exp(_uniform(images, math.log(0.3), math.log(3.3)))
    tall, wide = (area * ratio).sqrt().clamp_max(height), (area / ratio).sqrt().clamp_max(width)
    top, left = (
        _uniform(images, 0.0, 1.0) * (height - tall),
        _uniform(images, 0.0, 1.0) * (width - wide),
    )
    selected = _uniform(images, 0.0, 1.0) < fraction
    rows = torch.arange(height, device=images.device) + 0.5
    columns = torch.arange(width, device=images.device) + 0.5
    in_rows = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
    in_columns = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
    erased = in_rows[:, None, :, None] & in_columns[:, None, None, :] & selected.view(-1, 1, 1, 1)
    return images.masked_fill(erased, 0.0)


def _uniform(images: Tensor, low: float, high: float) -> Tensor:
    """Draw one number per image, on the CPU, so that the numbers are the same for every device."""
    return (torch.rand(images.shape[0]) * (high - low) + low).to(images.device)


def _per_image(value: Tensor) -> Tensor:
    return value.view(-1, 1, 1, 1)
