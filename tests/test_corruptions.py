"""Common corruptions beside independent versions of them, and ``advlab evaluate corruptions``."""

from __future__ import annotations

import json
import math
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from scipy import ndimage, signal
from scipy.stats import poisson as poisson_distribution
from skimage import color, feature, filters, morphology, transform
from sklearn.datasets import load_sample_images
from torch import Tensor

import advlab
from advlab.cli.main import main
from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.errors import UsageError
from advlab.evaluation.corruption import blur, digital, digits, noise, sampling, weather
from advlab.evaluation.corruption.catalogue import DIGITS, KINDS, NATURAL, Corruption, suited
from advlab.metrics.classification import is_correct
from advlab.networks import checkpoint
from advlab.perturbation.randomness import ImageRandom

Array = NDArray[np.float64]
EVERY = [(sort, kind) for sort, kinds in KINDS.items() for kind in kinds]
NAMES = [f"{sort} {kind.name}" for sort, kind in EVERY]


def photos(side: int = 32) -> Array:
    """Six parts of scikit-learn's two photos, (6, 3, side, side)."""
    parts = [
        Image.fromarray(photo[20:420, left : left + 400]).resize((side, side), Image.Resampling.BOX)
        for photo in load_sample_images().images
        for left in (0, 100, 200)
    ]
    return np.stack([np.asarray(part) for part in parts]).transpose(0, 3, 1, 2) / 255.0


def numerals(count: int = 6) -> Array:
    """Embedded digits, (N, 1, 28, 28)."""
    test = load_images.load(DataOptions(dataset="digits")).test
    return test.inputs(slice(0, count)).double().numpy()


def drawn(count: int = 6, seed: int = 3) -> ImageRandom:
    return ImageRandom(seed, torch.arange(count))


def as_tensor(x: Array) -> Tensor:
    return torch.from_numpy(x.astype(np.float32))


# --- natural images -------------------------------------------------------------------------------
def test_gaussian_noise_has_its_deviation_and_no_mean() -> None:
    change = noise.gaussian_noise(np.full((6, 3, 32, 32), 0.5), drawn(), 0.08) - 0.5
    assert abs(change.std() - 0.08) < 0.001
    assert abs(change.mean()) < 0.002
    assert abs(np.corrcoef(change[0].ravel(), change[1].ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("photons", [3.0, 25.0, 500.0])
def test_shot_noise_is_scipys_quantile_of_the_poisson_distribution(photons: float) -> None:
    x = photos()
    u = sampling.uniform(drawn(), x.shape[1:])
    with np.errstate(invalid="ignore"):
        expected = np.where(x > 0, poisson_distribution.ppf(u, photons * x), 0.0)
    assert np.array_equal(noise.poisson(photons * x, u), expected)
    assert np.array_equal(noise.shot_noise(x, drawn(), photons), expected / photons)


def test_impulse_noise_is_half_salt_half_pepper() -> None:
    x = np.full((6, 3, 32, 32), 0.4)
    found = noise.impulse_noise(x, drawn(), 0.27)
    counts = [int((found == value).sum()) for value in (0.0, 0.4, 1.0)]
    assert sum(counts) == x.size
    for count, fraction in zip(counts, (0.135, 0.73, 0.135), strict=True):
        assert abs(count / x.size - fraction) < 0.01


@pytest.mark.parametrize("radius", [1, 3, 8])
def test_defocus_blur_is_a_convolution_with_a_disk(radius: int) -> None:
    """Without smoothing of the rim, beside scikit-image's disk; the rim keeps the sum."""
    x, kernel = photos(), morphology.disk(radius) / morphology.disk(radius).sum()
    padded = np.pad(x[0, 1], radius, mode="reflect")
    expected = signal.convolve2d(padded, kernel, mode="valid")
    np.testing.assert_allclose(blur.defocus_blur(x, drawn(), radius, 0.1)[0, 1], expected)
    assert math.isclose(blur.disk(radius, 0.5).sum(), 1)
    assert blur.disk(radius, 0.5).max() < kernel.max() or radius > 1


@pytest.mark.parametrize("chance", [1.0, 0.5])
def test_glass_blur_swaps_pixels_one_after_another(chance: float) -> None:
    x, (sigma, reach, rounds) = photos(), (0.7, 2, 2)
    random = sampling.uniform(drawn(), (rounds, 32, 32, 3))
    expected = []
    for image, numbers in zip(x, random, strict=True):
        smoothed = filters.gaussian(image, sigma=sigma, channel_axis=0)
        pixels = np.floor(smoothed * 255).transpose(1, 2, 0) / 255
        for turn in range(rounds):
            for row in range(32 - reach, reach, -1):
                for column in range(32 - reach, reach, -1):
                    right, down, coin = numbers[turn, row, column]
                    if coin >= chance:
                        continue
                    there = (
                        row - reach + math.floor(down * 2 * reach),
                        column - reach + math.floor(right * 2 * reach),
                    )
                    here = pixels[row, column].copy()
                    pixels[row, column] = pixels[there]
                    pixels[there] = here
        expected.append(filters.gaussian(pixels.transpose(2, 0, 1), sigma=sigma, channel_axis=0))
    found = blur.glass_blur(x, drawn(), sigma, reach, rounds, chance)
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-12)


def slow_motion(image: Array, degrees: float, radius: int, sigma: float) -> Array:
    """Every pixel is a weighted mean along a line that begins at it, from ``image`` (H, W)."""
    height, width = image.shape
    weights = [math.exp(-(step**2) / (2 * sigma**2)) for step in range(2 * radius + 1)]
    result = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            for step, weight in enumerate(weights):
                down = math.ceil(step * math.sin(degrees * math.pi / 180) - 0.5)
                right = math.ceil(step * math.cos(degrees * math.pi / 180) - 0.5)
                there = min(max(row + down, 0), height - 1), min(max(column + right, 0), width - 1)
                result[row, column] += weight * image[there]
    return result / sum(weights)


def test_motion_blur_is_a_weighted_mean_along_a_line() -> None:
    x = photos()[:2]
    angles = 90 * sampling.uniform(drawn(2), (1,))[:, 0] - 45
    found = blur.motion_blur(x, drawn(2), 9, 2.5)
    for number in range(2):
        expected = slow_motion(x[number, 0], angles[number], 9, 2.5)
        np.testing.assert_allclose(found[number, 0], expected)


def clipped_zoom(image: Array, factor: float) -> Array:
    """By SciPy, from (H, W)."""
    side = image.shape[0]
    kept = math.ceil(side / factor)
    top = (side - kept) // 2
    large = ndimage.zoom(image[top : top + kept, top : top + kept], factor, order=1)
    trim = (large.shape[0] - side) // 2
    return np.asarray(large[trim : trim + side, trim : trim + side])


@pytest.mark.parametrize("factor", [1, 1.01, 1.07, 1.25, 1.75, 2.25, 4.5])
def test_an_enlarged_middle_is_scipys(factor: float) -> None:
    x = photos(28)
    np.testing.assert_allclose(
        sampling.zoomed(x, factor)[0, 2], clipped_zoom(x[0, 2], factor), atol=1e-12
    )


def test_zoom_blur_is_a_mean_of_enlargements() -> None:
    x = photos()
    expected = (x[1, 0] + sum(clipped_zoom(x[1, 0], factor) for factor in (1, 1.1, 1.2))) / 4
    np.testing.assert_allclose(blur.zoom_blur(x, drawn(), 3, 0.1)[1, 0], expected, atol=1e-12)


def test_snow_is_a_layer_of_moved_flakes_twice() -> None:
    x, random = photos()[:1], drawn(1)
    flakes = clipped_zoom(0.3 + 0.3 * sampling.normal(random, (32, 32))[0], 1.25)
    flakes = np.where(flakes < 0.65, 0, flakes).clip(0, 1)
    angle = -135 + 90 * float(sampling.uniform(random, (1,))[0, 0])
    layer = slow_motion(flakes, angle, 14, 12)
    grey = np.tensordot([0.299, 0.587, 0.114], x[0], 1)
    whitened = 0.8 * x[0] + 0.2 * np.maximum(x[0], grey * 1.5 + 0.5)
    found = weather.snow(x, drawn(1), 0.3, 0.3, 1.25, 0.65, 14, 12, 0.8)
    np.testing.assert_allclose(found[0], whitened + layer + np.rot90(layer, 2))
    assert layer.max() > 0.1


def test_frost_is_a_bright_layer_that_does_not_depend_on_the_image() -> None:
    x = photos()
    found = weather.frost(x, drawn(), 0.75, 0.45)
    ice = (found - 0.75 * x) / 0.45
    black = weather.frost(np.zeros_like(x), drawn(), 0.75, 0.45) / 0.45
    np.testing.assert_allclose(ice, black, atol=1e-12)
    assert ice.min() >= -1e-12
    assert ice.max() <= 1 + 1e-12
    assert 0.3 < ice.mean() < 0.9
    assert (ice.std((1, 2, 3)) > 0.05).all()
    assert (np.abs(np.diff(ice.mean((1, 2, 3)))) > 0.001).all()


def slow_plasma(random: ImageRandom, side: int, decay: float) -> Array:
    """The diamond-square algorithm of one image, point by point."""
    heights, step, wobble = np.zeros((side, side)), side, 100.0
    while step >= 2:
        half, cells = step // 2, side // step
        for phase, (down, right) in enumerate(((half, half), (0, half), (half, 0))):
            numbers = sampling.uniform(random, (cells, cells))[0]
            for row in range(cells):
                for column in range(cells):
                    y, x = row * step + down, column * step + right
                    near = [(-half, -half), (-half, half), (half, -half), (half, half)]
                    if phase:
                        near = [(-half, 0), (half, 0), (0, -half), (0, half)]
                    total = sum(heights[(y + dy) % side, (x + dx) % side] for dy, dx in near)
                    heights[y, x] = total / 4 + wobble**2 * (2 * numbers[row, column] - 1)
        step, wobble = half, wobble / decay
    heights -= heights.min()
    return np.asarray(heights / heights.max())


def test_fog_is_a_fractal_by_the_diamond_square_algorithm() -> None:
    haze = slow_plasma(drawn(1), 32, 1.75)
    np.testing.assert_allclose(sampling.plasma(drawn(1), 32, 1.75)[0], haze, atol=1e-12)
    x = photos()[:1]
    expected = (x[0] + 1.5 * haze) * x.max() / (x.max() + 1.5)
    np.testing.assert_allclose(weather.fog(x, drawn(1), 1.5, 1.75)[0], expected, atol=1e-12)


def test_brightness_raises_the_value_of_hsv() -> None:
    x = np.concatenate([photos(), np.zeros((1, 3, 32, 32))])
    hsv = color.rgb2hsv(x, channel_axis=1)
    hsv[:, 2] = (hsv[:, 2] + 0.3).clip(0, 1)
    found = weather.brightness(x, drawn(7), 0.3)
    np.testing.assert_allclose(found, color.hsv2rgb(hsv, channel_axis=1), atol=1e-9)
    np.testing.assert_allclose(
        weather.brightness(x[:, :1], drawn(7), 0.3), (x[:, :1] + 0.3).clip(0, 1)
    )


def test_contrast_keeps_means_and_scales_deviations() -> None:
    x = photos()
    found = digital.contrast(x, drawn(), 0.15)
    np.testing.assert_allclose(found.mean((2, 3)), x.mean((2, 3)))
    np.testing.assert_allclose(found.std((2, 3)), 0.15 * x.std((2, 3)))


def test_elastic_transform_is_an_affine_one_and_a_displacement() -> None:
    """The affine part beside scikit-image's estimate from three points, away from the border, where
    that pads; the displacement beside its Gaussian blur."""
    x, random = photos()[:2], drawn(2)
    moves = (2 * sampling.uniform(random, (3, 2)) - 1) * 0.08 * 32
    noises = 2 * sampling.uniform(random, (2, 32, 32)) - 1
    points = np.array([[26.0, 26], [26, 6], [6, 6]])
    turned = []
    for image, move in zip(x, moves, strict=True):
        affine = transform.AffineTransform.from_estimate(points + move, points)
        turned.append(transform.warp(image[0], affine, order=1, mode="reflect"))
    found = digital.elastic_transform(x, drawn(2), 0.0, 0.1, 0.08)
    np.testing.assert_allclose(found[:, 0], np.stack(turned), atol=1e-6)
    rows, columns = np.mgrid[:32, :32].astype(float)
    down, right = (
        filters.gaussian(part, 0.03 * 32, mode="reflect", truncate=3, preserve_range=True) * 3.2
        for part in noises[0]
    )
    expected = ndimage.map_coordinates(x[0, 0], (rows + down, columns + right), order=1)
    found = digital.elastic_transform(x, drawn(2), 0.1, 0.03, 0.0)
    np.testing.assert_allclose(found[0, 0, 4:-4, 4:-4], expected[4:-4, 4:-4], atol=1e-9)
    assert np.abs(found[0, 0] - x[0, 0]).max() > 0.05


def test_pixelate_gives_means_of_blocks() -> None:
    x = photos()
    blocks = x.reshape(6, 3, 16, 2, 16, 2).mean((3, 5)).repeat(2, 2).repeat(2, 3)
    np.testing.assert_allclose(digital.pixelate(x, drawn(), 0.5), blocks, atol=1.01 / 255)


def test_jpeg_loses_as_much_as_its_quality_says() -> None:
    """Beside Pillow's file for one image, and as a fixed point: saving the result again changes
    less."""
    x = photos()
    found = digital.jpeg_compression(x, drawn(), 40)
    file = BytesIO()
    levels = np.rint(x[2] * 255).astype(np.uint8).transpose(1, 2, 0)
    Image.fromarray(levels).save(file, "JPEG", quality=40)
    assert np.array_equal(found[2] * 255, np.asarray(Image.open(file)).transpose(2, 0, 1))
    again = digital.jpeg_compression(found, drawn(), 40)
    assert np.abs(again - found).mean() < 0.5 * np.abs(found - x).mean()
    grey = digital.jpeg_compression(x[:, :1], drawn(), 95)
    assert np.abs(grey - x[:, :1]).mean() < 0.02


# --- digits ---------------------------------------------------------------------------------------
def warped(x: Array, matrix: list[list[float]]) -> Array:
    """By scikit-image: about the middle, from outside black."""
    about = np.array([[1, 0, 13.5], [0, 1, 13.5], [0, 0, 1]])
    full = about @ np.array([*[[*row, 0] for row in matrix], [0, 0, 1]]) @ np.linalg.inv(about)
    return np.asarray(transform.warp(x, transform.AffineTransform(full), order=1))


@pytest.mark.parametrize("name", ["shear", "rotate", "scale"])
def test_geometry_of_digits_is_scikit_images(name: str) -> None:
    x, strength = numerals(), 0.6
    found = getattr(digits, name)(x, drawn(), strength)
    signs = np.where(sampling.uniform(drawn(), (1,))[:, 0] < 0.5, -1, 1)
    assert set(signs) == {-1, 1}
    for image, result, sign in zip(x, found, signs, strict=True):
        sine, cosine = math.sin(sign * strength), math.cos(strength)
        matrix = {
            "shear": [[1.0, -sine], [0.0, cosine]],
            "rotate": [[cosine, -sine], [sine, cosine]],
            "scale": [[1 / strength, 0.0], [0.0, 1 / strength]],
        }[name]
        np.testing.assert_allclose(result[0], warped(image[0], matrix), atol=1e-6)


def test_translate_moves_by_whole_pixels_in_four_directions() -> None:
    x = numerals(20)
    found, seen = digits.translate(x, drawn(20), 4), set()
    for image, result in zip(x[:, 0], found[:, 0], strict=True):
        for down, right in ((4, 4), (4, -4), (-4, 4), (-4, -4)):
            expected = np.zeros((36, 36))
            expected[4 + down : 32 + down, 4 + right : 32 + right] = image
            if np.allclose(result, expected[4:32, 4:32]):
                seen.add((down, right))
                break
        else:
            raise AssertionError("none of the four")
    assert len(seen) == 4


def test_stripe_inverts_both_edges() -> None:
    x = numerals()
    found = digits.stripe(x, drawn(), 7)
    np.testing.assert_allclose(found[..., :7], 1 - x[..., :7])
    np.testing.assert_allclose(found[..., 21:], 1 - x[..., 21:])
    assert np.array_equal(found[..., 7:21], x[..., 7:21])


def test_spatter_is_mud_where_blurred_noise_is_high() -> None:
    x = numerals()
    noises = 0.65 + 0.3 * sampling.normal(drawn(), (28, 28))
    found = digits.spatter(x, drawn(), 0.65, 0.3, 2, 0.68, 0.5)
    for image, field, result in zip(x[:, 0], noises, found[:, 0], strict=True):
        liquid = filters.gaussian(field, sigma=2, preserve_range=True)
        mud = filters.gaussian((liquid > 0.68).astype(float), sigma=0.5)
        mud[mud < 0.8] = 0
        np.testing.assert_allclose(result, image * (1 - mud) + 63 / 255 * mud, atol=1e-9)


def slow_segment(start: tuple[float, float], end: tuple[float, float]) -> Array:
    """Pixel by pixel, (28, 28)."""
    line = np.zeros((28, 28))
    for column in range(math.floor(start[0]), min(math.ceil(end[0]), 28)):
        slope = (end[1] - start[1]) / (end[0] - start[0])
        for row in range(28):
            distance = abs(row - start[1] - slope * (column - start[0]))
            if distance < 2.3:
                line[row, column] = max(0.0, 1 + math.log(1 - distance / 2.3 + 1e-12))
    return line


def test_lines_fade_with_the_distance_along_the_column() -> None:
    for start, end in [((0, 3), (27, 20)), ((2.3, 25.5), (7.1, 1.0)), ((4.0, 6.0), (9.0, 6.0))]:
        found = digits.segment((28, 28), start, end)
        np.testing.assert_allclose(found, slow_segment(start, end), atol=1e-9)
    assert digits.segment((28, 28), (4, 6), (4, 9)).max() == 0


def test_a_dotted_line_has_every_other_pair_of_columns() -> None:
    black = np.zeros((4, 1, 28, 28))
    ends = np.floor(sampling.uniform(drawn(4), (1, 2)) * 27)
    found = digits.dotted_line(black, drawn(4), 1)
    for image, ((left, right),) in zip(found[:, 0], ends, strict=True):
        dashes = np.arange(28) % 4 >= 2
        np.testing.assert_allclose(image, slow_segment((0, left), (27, right)) * dashes, atol=1e-9)


def test_a_zigzag_has_teeth_on_both_sides_of_its_line() -> None:
    """A level one from (2, 14) to (25, 14): tips two pixels above and below in turns, a tooth in
    every four columns."""
    points = digits._zigzag((2.0, 14.0), (25.0, 14.0), 1.0)
    tips = points[1:-1]
    np.testing.assert_allclose(tips[:, 0], 4 + 4 * np.arange(len(tips)))
    np.testing.assert_allclose(tips[:, 1], 14 + 2 * (-1.0) ** np.arange(len(tips)))
    np.testing.assert_allclose(points[[0, -1]], [[2, 14], [25, 14]])
    black = np.zeros((6, 1, 28, 28))
    one, three = (digits.zigzag(black, drawn(), lines) for lines in (1, 3))
    assert ((one > 0.5).sum((1, 2, 3)) > 0).all()
    assert ((three > 0.5).sum((1, 2, 3)) > (one > 0.5).sum((1, 2, 3))).all()


def test_canny_edges_are_scikit_images() -> None:
    for image in numerals(30)[:, 0]:
        assert np.array_equal(digits.canny(image), feature.canny(image))
    for image in photos(40).mean(1):
        assert np.array_equal(digits.canny(image), feature.canny(image))


# --- all of them ----------------------------------------------------------------------------------
@pytest.mark.parametrize(("sort", "kind"), EVERY, ids=NAMES)
def test_grey_levels_of_unit_range_and_the_same_bits_in_any_batch(
    sort: str, kind: Corruption
) -> None:
    x = as_tensor(photos() if sort == NATURAL else numerals())
    ids = torch.arange(10, 10 + len(x))
    for severity in (1, 4):
        found = kind.apply(x, ids, severity, seed=0)
        assert found.shape == x.shape
        assert found.dtype == torch.float32
        assert torch.equal(found, (found * 255).round() / 255)
        assert 0 <= float(found.min()) < float(found.max()) <= 1
        for part in (torch.tensor([4]), torch.tensor([3, 0, 5])):
            assert torch.equal(kind.apply(x[part], ids[part], severity, seed=0), found[part])
    random = sort == DIGITS or kind.group != "digital" or kind.name == "elastic_transform"
    fixed = {"defocus_blur", "zoom_blur", "brightness", "stripe", "scale", "canny_edges"}
    other = kind.apply(x, ids, 4, seed=1)
    assert torch.equal(other, found) != (random and kind.name not in fixed)


UNORDERED = {
    (NATURAL, "glass_blur"),
    (NATURAL, "frost"),
    (NATURAL, "elastic_transform"),
    (DIGITS, "fog"),
    (DIGITS, "spatter"),
}
"""Those whose published parameters do not move images farther at each severity; frost, for one,
keeps less of the image."""


@pytest.mark.parametrize(("sort", "kind"), EVERY, ids=NAMES)
def test_images_move_farther_with_every_severity(sort: str, kind: Corruption) -> None:
    x = as_tensor(photos() if sort == NATURAL else numerals(40))
    distances = [
        float((kind.apply(x, torch.arange(len(x)), severity, 0) - x).flatten(1).norm(dim=1).mean())
        for severity in range(1, 6)
    ]
    assert distances[0] > 0
    assert (distances == sorted(distances)) != ((sort, kind.name) in UNORDERED)


def test_parameters_meet_the_published_ones_and_lie_between_elsewhere() -> None:
    kinds = {kind.name: kind for kind in KINDS[NATURAL]}
    for kind in kinds.values():
        for severity in range(1, 6):
            for side, published in ((32, kind.small), (224, kind.large), (299, kind.large)):
                expected = pytest.approx(published[severity - 1])
                assert kind.parameters(severity, side) == expected
    # Tiny ImageNet-C has parameters of its own for 64 × 64: the mean of two logarithms is near.
    tiny = {
        "gaussian_noise": (0.04, 0.08, 0.12, 0.15, 0.18),
        "shot_noise": (250, 100, 50, 30, 15),
        "impulse_noise": (0.01, 0.02, 0.05, 0.08, 0.14),
    }
    for name, values in tiny.items():
        for severity, value in enumerate(values, 1):
            (between,) = kinds[name].parameters(severity, 64)
            assert 0.6 < between / value < 1.6


def test_what_suits_which_images() -> None:
    shapes = [
        (3, 32, 32),
        (1, 64, 48),
        (1, 28, 28),
        (1, 16, 30),
        (3, 28, 28),
        (1, 8, 8),
        (4, 64, 64),
    ]
    expected = [NATURAL, NATURAL, DIGITS, DIGITS, None, None, None]
    assert [suited(*shape) for shape in shapes] == expected
    x = torch.rand(2, 1, 40, 33, generator=torch.Generator().manual_seed(0))
    for sort, kind in EVERY:
        part = x if sort == NATURAL else x[:, :, :20, :17]
        assert kind.apply(part, torch.arange(2), 5, 0).shape == part.shape


# --- through the front door -----------------------------------------------------------------------
LINE = "evaluate corruptions --dataset digits --limit 40 --out samples"


@pytest.fixture
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(f"samples/evaluate/{name}/metrics.json").read_text())
    return found


def typed(line: str) -> int:
    return main(f"{LINE} {line}".split())


@pytest.mark.usefixtures("_elsewhere")
def test_a_run_leaves_what_its_files_say(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = runs / "train" / "small"
    line = f"--model {place} --corruptions rotate stripe --severities 5 1 --seed 2 --name a"
    assert typed(line) == 0
    said = capsys.readouterr().out
    found, folder = result("a"), Path("samples/evaluate/a")
    assert found["image_sort"] == "digits"
    assert found["severities"] == [1, 5]
    test = load_images.load(DataOptions(dataset="digits")).test
    x, labels = test.inputs(slice(0, 40)), test.labels[:40]
    network = checkpoint.load(place)[0]
    errors = []
    points = iter(found["points"])
    for name in ("rotate", "stripe"):
        kind = next(kind for kind in KINDS[DIGITS] if kind.name == name)
        for severity in (1, 5):
            with torch.no_grad():
                answers = network(kind.apply(x, torch.arange(40), severity, 2))
            correct, point = is_correct(answers, labels), next(points)
            assert (point["corruption"], point["severity"]) == (name, severity)
            assert point["accuracy"] == int(correct.sum()) / 40
            assert point["low"] < point["accuracy"] < point["high"] or point["accuracy"] in (0, 1)
            errors.append(1 - point["accuracy"])
    assert found["mean_corruption_error"] == pytest.approx(sum(errors) / 4)
    assert sum(errors) > 0
    assert found["relative_mce"] is None
    assert "unnormalised: no reference network was given" in said
    stored = load_file(folder / "correct.safetensors")
    names = {"network/clean", "network/rotate", "network/stripe"}
    assert set(stored) == names | {f"finite/{name}" for name in names}
    assert all(bool(stored[f"finite/{name}"].all()) for name in names)
    assert int(stored["network/clean"].sum()) / 40 == found["clean_accuracy"]
    assert {"heatmap.png", "curve.png", "examples.png"} <= {file.name for file in folder.iterdir()}
    assert typed(line) == 0
    assert "finished already" in capsys.readouterr().out
    # A grid over networks is a comparison by the headline.
    several = f"--model {place} {runs / 'train' / 'other'} --corruptions stripe --name both"
    assert typed(several) == 0
    assert "mean corruption error" in capsys.readouterr().out


@pytest.mark.usefixtures("_elsewhere")
def test_an_interrupted_run_goes_on_to_the_same_result(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = f"--model {runs / 'train' / 'small'} --corruptions shot_noise shear translate"
    assert typed(f"{line} --name whole") == 0
    apply = Corruption.apply
    applied: list[str] = []

    def stopping(self: Corruption, *given: Any, **named: Any) -> Tensor:
        if self.name == "shear" and applied.count("shear") == 2:
            raise KeyboardInterrupt
        applied.append(self.name)
        return apply(self, *given, **named)

    monkeypatch.setattr(Corruption, "apply", stopping)
    assert typed(f"{line} --name parts") == 130
    applied.clear()
    monkeypatch.setattr(
        Corruption, "apply", lambda self, *given, **named: apply(self, *given, **named)
    )
    assert typed(f"{line} --name parts") == 0
    whole, parts = result("whole"), result("parts")
    for varying in ("seconds", "total_seconds", "date"):
        whole.pop(varying), parts.pop(varying)
    assert whole == parts


@pytest.mark.usefixtures("_elsewhere")
def test_a_reference_divides_the_errors(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small, other = (runs / "train" / name for name in ("small", "other"))
    line = f"--model {small} --corruptions rotate zigzag --severities 3 5"
    assert typed(f"{line} --reference {small} --name itself") == 0
    assert result("itself")["relative_mce"] == 1
    assert typed(f"{line} --reference {other} --name other") == 0
    assert typed(f"{line.replace(str(small), str(other))} --name alone") == 0
    divided, alone = result("other"), result("alone")
    ratios = [
        one["error"] / another["error"]
        for one, another in zip(divided["corruptions"], alone["corruptions"], strict=True)
    ]
    assert divided["relative_mce"] == pytest.approx(sum(ratios) / 2)
    assert divided["reference_clean_accuracy"] == alone["clean_accuracy"]
    record = Path("samples/evaluate/other/.heatmap.figure").read_bytes()
    assert b"reference: other (mlp)" in record
    assert "relative to other" in capsys.readouterr().out
    # Figures relative to other networks do not compare.
    assert main(["compare", "evaluate/itself", "evaluate/other"]) == 2
    assert "relative to mlp" in capsys.readouterr().err


@pytest.mark.usefixtures("_elsewhere")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--corruptions fogg", "--corruptions fogg: not among those of digits (did you mean 'fog'"),
        ("--severities 6", "--severities"),
        ("--reference nowhere", "--reference"),
        ("--eps 0.1", "--eps"),
        ("--steps 3", "--steps"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(
    line: str, words: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(f"--model {runs / 'train' / 'small'} {line}") == 2
    assert words in capsys.readouterr().err


@pytest.mark.usefixtures("_elsewhere")
def test_images_that_no_corruption_suits_are_refused(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.zeros((40, 8, 8), dtype=np.uint8)
    np.savez("small.npz", images=pixels, labels=np.arange(40) % 2)
    assert main(["evaluate", "corruptions", "--dataset", "npz:small.npz"]) == 2
    assert "1 × 8 × 8 have none" in capsys.readouterr().err


@pytest.mark.usefixtures("_elsewhere")
def test_corruptions_are_no_suite_of_attacks(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, labels = advlab.load_dataset("digits").test.tensors(5)
    model = advlab.load_model(runs / "train" / "small")
    with pytest.raises(UsageError, match="no suite of attacks; these are: autoattack, quick"):
        advlab.evaluate(model, x, labels, eps=0.1, suite="corruptions")
    assert main(["defend", "fast", "--dataset", "digits", "--verdict", "corruptions"]) == 2
    assert "no suite of attacks" in capsys.readouterr().err
    Path("both.yaml").write_text(
        "command: evaluate\ndataset: digits\nvariants:\n"
        "  - {label: a, suite: quick}\n  - {label: b, suite: corruptions}\n"
    )
    assert main(f"evaluate --config both.yaml --model {runs / 'train' / 'small'}".split()) == 2
    assert "separate lines" in capsys.readouterr().err
