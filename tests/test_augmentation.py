"""Augmentation beside torchvision's, image by image, and input filters beside the libraries that
make them."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import median_filter
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as reference

from advlab.augmentation import spatial
from advlab.augmentation.pipeline import augment
from advlab.config.options.run import AugmentOptions
from advlab.networks.filters import BitDepth, Jpeg, Median, in_front, see_through

EACH = {
    "degrees": 30.0,
    "translate": 0.2,
    "scale": 0.3,
    "shear": 20.0,
    "crop": 4,
    "flip": 0.5,
    "resized_crop": 0.4,
    "flip_vertical": 0.5,
    "saturation": 0.6,
    "hue": 0.3,
    "grey": 0.6,
    "elastic": 20.0,
    "blur": 1.5,
    "brightness": 0.5,
    "contrast": 0.5,
    "noise": 0.2,
    "erase": 0.5,
}


def images(count: int = 6, channels: int = 3, height: int = 20, width: int = 14) -> Tensor:
    """Smooth ones: sharp edges would make a quarter of a pixel look like a fault."""
    drawn = torch.rand(count, channels, 5, 5, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(drawn, (height, width), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize(
    ("degrees", "shift", "scale", "shear"),
    [
        (30, (0, 0), 1, 0),
        (0, (3, -2), 1, 0),
        (0, (0, 0), 1.3, 0),
        (0, (0, 0), 1, 15),
        (-20, (1, 2), 0.8, 10),
        (170, (-4, 0), 1.1, -12),
    ],
)
def test_a_grid_moves_pixels_as_torchvision_does(
    degrees: float, shift: tuple[int, int], scale: float, shear: float
) -> None:
    x = images()
    one = torch.ones(len(x))
    theta = spatial.affine(
        one * math.radians(degrees),
        torch.tensor([shift]).expand(len(x), 2) / torch.tensor([14.0, 20.0]),
        one * scale,
        one * math.radians(shear),
        one > 1,
        20,
        14,
    )
    ours = spatial.sample(x, theta, None)
    theirs = reference.affine(
        x, degrees, list(shift), scale, [shear, 0.0], InterpolationMode.BILINEAR
    )
    assert (ours - theirs).abs().max() < 0.02
    assert (ours - x).abs().max() > 0.1, "the comparison must be able to fail"


def test_a_flip_comes_before_all_else() -> None:
    x, one = images(), torch.ones(6)
    flipped = spatial.sample(
        x, spatial.affine(0 * one, torch.zeros(6, 2), one, 0 * one, one > 0, 20, 14), None
    )
    assert torch.allclose(flipped, x.flip(3), atol=1e-5)
    turned = spatial.sample(
        x, spatial.affine(0.4 * one, torch.zeros(6, 2), one, 0 * one, one > 0, 20, 14), None
    )
    theirs = reference.affine(
        x.flip(3), math.degrees(0.4), [0, 0], 1, [0.0, 0.0], InterpolationMode.BILINEAR
    )
    assert (turned - theirs).abs().max() < 0.02


def test_blur_is_torchvisions_with_a_sigma_for_each_image() -> None:
    x, sigma = images(), torch.tensor([0.5, 1.0, 1.5, 2.0, 0.8, 0.0])
    ours = spatial.gaussian_blur(x, sigma, 5)
    for image, blurred, one in zip(x, ours, sigma, strict=True):
        theirs = reference.gaussian_blur(image, [11, 11], [float(one)] * 2) if one else image
        assert torch.allclose(blurred, theirs, atol=1e-5)


def test_bending_is_smooth_and_of_the_strength_asked_for() -> None:
    torch.manual_seed(0)
    grid = spatial.elastic(40, 28, 28, 30.0, 4.0, torch.device("cpu"))
    pixels = grid * 14  # 2 units are 28 pixels
    assert 0.3 < pixels.abs().mean() < 3
    assert (pixels[:, 1:] - pixels[:, :-1]).abs().mean() < 0.3 * pixels.abs().mean()
    assert torch.allclose(grid * 2, spatial_again(60.0), atol=1e-5)


def spatial_again(alpha: float) -> Tensor:
    torch.manual_seed(0)
    return spatial.elastic(40, 28, 28, alpha, 4.0, torch.device("cpu"))


def test_nothing_asked_for_changes_nothing() -> None:
    x = images()
    assert torch.equal(augment(x, AugmentOptions()), x)


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_transformation_is_drawn_anew_for_each_image_and_stays_in_the_box(
    name: str, channels: int
) -> None:
    values: dict[str, Any] = {name: EACH[name]}
    x = images(1, channels, 24, 24).expand(40, -1, -1, -1)
    torch.manual_seed(0)
    first = augment(x, AugmentOptions(**values))
    assert first.shape == x.shape
    assert first.min() >= 0
    assert first.max() <= 1
    kinds = len(torch.unique(first.flatten(1), dim=0))
    if channels == 1 and name in ("saturation", "hue", "grey"):
        assert torch.equal(first, x), "grey images have no colours to change"
        return
    assert kinds == 2 if name in ("flip", "flip_vertical", "grey") else kinds > 15, (
        "the same image forty times becomes different ones"
    )
    assert not torch.equal(first, augment(x, AugmentOptions(**values)))
    torch.manual_seed(0)
    assert torch.equal(first, augment(x, AugmentOptions(**values)))


def test_a_share_of_the_images_is_erased_and_about_so_much_of_each() -> None:
    torch.manual_seed(0)
    x = torch.ones(2000, 1, 28, 28)
    gone = 1 - augment(x, AugmentOptions(erase=0.3)).mean(dim=(1, 2, 3))
    assert float((gone > 0).double().mean()) == pytest.approx(0.3, abs=0.04)
    assert gone.max() < 0.36
    for hole in (augment(x, AugmentOptions(erase=1.0)) == 0)[:50, 0]:
        rows, columns = hole.any(1).sum(), hole.any(0).sum()
        assert hole.sum() == rows * columns, "a rectangle"


# --- filters --------------------------------------------------------------------------------------
def test_fewer_bits_are_fewer_levels() -> None:
    x = torch.rand(4, 1, 9, 9)
    for bits in range(1, 9):
        assert (
            len(torch.unique(BitDepth(bits)(torch.linspace(0, 1, 999).view(1, 1, 27, 37))))
            == 2**bits
        )
        assert (BitDepth(bits)(x) - x).abs().max() <= 0.5 / (2**bits - 1) + 1e-6


def test_the_median_is_scipys() -> None:
    x = images(3, 2)
    for side in (3, 5):
        theirs = median_filter(x.numpy(), size=(1, 1, side, side), mode="mirror")
        assert np.allclose(Median(side)(x).numpy(), theirs)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_what_the_codec_makes_of_the_bytes(channels: int) -> None:
    x = images(2, channels)
    filtered = Jpeg(40)(x)
    for image, ours in zip(x, filtered, strict=True):
        pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
        file = io.BytesIO()
        Image.fromarray(pixels if channels == 3 else pixels[:, :, 0]).save(
            file, format="JPEG", quality=40
        )
        theirs = np.asarray(Image.open(file)).reshape(pixels.shape)
        assert np.array_equal((ours * 255).round().byte().permute(1, 2, 0).numpy(), theirs)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_filtered_grey_levels_are_the_same_floats_on_every_device(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    levels = torch.from_numpy(np.arange(256, dtype=np.float32) / np.float32(255))
    x = levels.view(1, 1, 16, 16)
    assert torch.equal(BitDepth(8)(x.to(device)).cpu(), x)
    filtered = Jpeg(40)(x.to(device)).cpu()
    assert torch.equal(filtered, levels[(filtered * 255).round().long()])


@pytest.mark.parametrize("name", ["bits", "jpeg"])
def test_a_step_function_hides_the_gradient_and_bpda_finds_it(name: str) -> None:
    (module,) = in_front({name: 3})
    for straight, wanted in ((False, 0.0), (True, 1.0)):
        assert see_through(module, straight)
        x = images(2, 1).requires_grad_(True)
        out = module(x)
        (gradient,) = torch.autograd.grad(out.sum(), x)
        assert (gradient == wanted).all()
        assert torch.allclose(out, module.filtered(x.detach()), atol=1e-6)
    assert not see_through(torch.nn.Linear(2, 2))


def test_the_gradient_of_a_median_leads_to_the_pixel_that_it_chose() -> None:
    x = images(2, 1).requires_grad_(True)
    (gradient,) = torch.autograd.grad(Median(3)(x)[0, 0, 7, 7], x)
    assert gradient.sum() == 1
    chosen = gradient[0, 0].nonzero()
    assert len(chosen) == 1
    assert (chosen[0] - 7).abs().max() <= 1
    assert x[0, 0][tuple(chosen[0])] == Median(3)(x)[0, 0, 7, 7]
