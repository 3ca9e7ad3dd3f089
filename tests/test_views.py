"""Views beside torchvision's transformations, image by image; and the laws that their parameters
follow."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as reference

from advlab.augmentation import colour, crop, spatial
from advlab.augmentation.views import Views, view

STILL = Views(crop=1, flip=0, degrees=0, jitter=0, grey=0, blur=0)


def images(count: int = 6, channels: int = 3, height: int = 20, width: int = 16) -> Tensor:
    drawn = torch.rand(count, channels, 5, 5, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(drawn, (height, width), mode="bicubic").clamp(0, 1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- colours --------------------------------------------------------------------------------------
AMOUNTS = {
    "brightness": [0.0, 0.4, 1.0, 1.7],
    "contrast": [0.0, 0.4, 1.0, 1.7],
    "saturation": [0.0, 0.4, 1.0, 1.7],
    "hue": [-0.5, -0.2, 0.0, 0.07, 0.2, 0.5],
}


@pytest.mark.parametrize("name", AMOUNTS)
def test_a_change_of_colour_is_torchvisions(name: str) -> None:
    """Each image with a strength of its own, among them pure, grey, black and white pixels."""
    amounts = torch.tensor(AMOUNTS[name])
    x = images(len(amounts))
    x[:, :, 0, 0], x[:, :, 0, 1], x[:, :, 0, 2] = 0.0, 1.0, 0.5
    x[:, :, 1, 0] = torch.tensor([1.0, 0.0, 0.0])
    x[:, :, 1, 1] = torch.tensor([0.0, 1.0, 1.0])
    changed = getattr(colour, name)(x, amounts)
    expected = torch.stack(
        [
            getattr(reference, f"adjust_{name}")(one, float(amount))
            for one, amount in zip(x, amounts, strict=True)
        ]
    )
    torch.testing.assert_close(changed, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["brightness", "contrast"])
def test_a_change_of_one_channel_is_torchvisions(name: str) -> None:
    x = images(2, channels=1)
    changed = getattr(colour, name)(x, torch.tensor([0.5, 1.5]))
    expected = torch.stack(
        [
            getattr(reference, f"adjust_{name}")(x[0], 0.5),
            getattr(reference, f"adjust_{name}")(x[1], 1.5),
        ]
    )
    torch.testing.assert_close(changed, expected, atol=1e-6, rtol=0)


def test_grey_images() -> None:
    x = images(4)
    grey = colour.greyscale(x, torch.tensor([True, False, True, False]))
    torch.testing.assert_close(grey[::2], reference.rgb_to_grayscale(x[::2], 3), atol=1e-6, rtol=0)
    assert torch.equal(grey[1::2], x[1::2])


# --- crops ----------------------------------------------------------------------------------------
def test_a_crop_is_torchvisions_resized_crop() -> None:
    x = images(3, height=24, width=24)
    pixels = [(3, 5, 12, 16), (0, 0, 24, 24), (10, 2, 8, 6)]  # top, left, height, width
    boxes = torch.tensor(pixels) / 24
    seen = spatial.sample(x, crop.box_to_grid(boxes), None)
    for number, (top, left, height, width) in enumerate(pixels):
        cut = reference.resized_crop(
            x[number],
            top,
            left,
            height,
            width,
            [24, 24],
            InterpolationMode.BILINEAR,
            antialias=False,
        )
        inner = seen[number, :, 2:-2, 2:-2]  # at its edge ours still sees what lies beyond the box
        torch.testing.assert_close(inner, cut[:, 2:-2, 2:-2], atol=1e-5, rtol=0)


def test_boxes_lie_in_the_image_and_follow_torchvisions_law() -> None:
    """Area and ratio as torchvision draws them, on images that are not square, where some tries do
    not fit."""
    height, width, least = 120, 200, 0.3
    boxes = crop.random_boxes(4000, height, width, least, seeded())
    top, left, tall, wide = boxes.unbind(1)
    assert (boxes >= 0).all()
    assert (top + tall <= 1 + 1e-6).all()
    assert (left + wide <= 1 + 1e-6).all()
    torch.manual_seed(0)
    drawn = [
        RandomResizedCrop.get_params(torch.zeros(1, height, width), [least, 1.0], [3 / 4, 4 / 3])
        for _ in range(4000)
    ]
    expected = torch.tensor([(h / height * w / width, w / h) for _, _, h, w in drawn])
    area, ratio = tall * wide, wide * width / (tall * height)
    for ours, theirs in ((area, expected[:, 0]), (ratio, expected[:, 1])):
        for share in (0.05, 0.25, 0.5, 0.75, 0.95):
            assert abs(float(ours.quantile(share)) - float(theirs.quantile(share))) < 0.03


@pytest.mark.parametrize(("height", "width"), [(30, 30), (20, 60), (60, 20)])
def test_a_box_that_never_fits_is_the_middle(height: int, width: int) -> None:
    boxes = crop.random_boxes(5, height, width, 1.0, seeded())
    top, left, tall, wide = RandomResizedCrop.get_params(
        torch.zeros(1, height, width), [1.0, 1.0], [3 / 4, 4 / 3]
    )
    expected = torch.tensor([top / height, left / width, tall / height, wide / width])
    torch.testing.assert_close(
        boxes, expected.expand(5, 4), atol=0.02, rtol=0
    )  # ours is not rounded to whole pixels


def test_one_grid_after_another() -> None:
    first, second = torch.rand(2, 5, 2, 3, generator=seeded())
    point = torch.rand(5, 2, 1, generator=seeded(1))

    def through(theta: Tensor, place: Tensor) -> Tensor:
        return theta[:, :, :2] @ place + theta[:, :, 2:]

    torch.testing.assert_close(
        through(crop.compose(first, second), point), through(first, through(second, point))
    )


# --- views ----------------------------------------------------------------------------------------
def test_nothing_asked_for_changes_nothing() -> None:
    x = images()
    torch.testing.assert_close(view(x, STILL, seeded()), x, atol=1e-6, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "one",
    [
        {"crop": 0.2},
        {"flip": 0.5},
        {"degrees": 20.0},
        {"jitter": 1.0},
        {"grey": 0.5},
        {"blur": 0.7},
    ],
    ids=lambda one: next(iter(one)),
)
def test_every_step_is_drawn_for_each_image(one: dict[str, float], channels: int) -> None:
    """The same image many times over: in range, not all alike, the same again from the same
    generator, and the input untouched."""
    if channels == 1 and "grey" in one:
        pytest.skip("has no colours to lose")
    x = images(1, channels, 64, 64).expand(40, -1, -1, -1).contiguous()
    kept = x.clone()
    views = dataclasses.replace(STILL, **one)
    seen = view(x, views, seeded())
    assert torch.equal(x, kept)
    assert seen.shape == x.shape
    assert seen.min() >= 0
    assert seen.max() <= 1
    assert len({one.numpy().tobytes() for one in seen}) > 1
    assert torch.equal(seen, view(x, views, seeded()))
    assert not torch.equal(seen, view(x, views, seeded(1)))


@pytest.mark.parametrize(("step", "share"), [("flip", 0.3), ("grey", 0.3)])
def test_shares_are_kept(step: str, share: float) -> None:
    x = images(1).expand(2000, -1, -1, -1).contiguous()
    seen = view(x, dataclasses.replace(STILL, **{step: share}), seeded())
    changed = (seen - x).abs().amax((1, 2, 3)) > 1e-3
    assert abs(float(changed.float().mean()) - share) < 0.04


def test_a_mirrored_view_is_the_mirrored_image() -> None:
    x = images()
    torch.testing.assert_close(
        view(x, dataclasses.replace(STILL, flip=1), seeded()), x.flip(3), atol=1e-6, rtol=0
    )


def test_one_in_five_keeps_its_colours() -> None:
    x = images(1).expand(2000, -1, -1, -1).contiguous()
    same = (view(x, dataclasses.replace(STILL, jitter=1.0), seeded()) - x).abs().amax(
        (1, 2, 3)
    ) < 1e-5
    assert abs(float(same.float().mean()) - 0.2) < 0.04
