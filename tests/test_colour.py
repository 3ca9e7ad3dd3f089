"""``advlab attack colour`` beside torchvision, naive loops, a closed form, and its own files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.transforms import functional as transforms
from watched import Watched

import advlab
from advlab.attacks import colour
from advlab.cli.main import main
from advlab.config.options.run import DataOptions
from advlab.config.threats import ColourShift
from advlab.data import load_images
from advlab.errors import UsageError
from advlab.experiments.attack.colour import shift_text
from advlab.metrics.classification import is_correct
from advlab.networks import checkpoint
from advlab.perturbation.colour import drawn, grid, kinds, limits_of, shifted
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.results.attack import ColourAttackResult
from advlab.runs import results

SHIFTS = [(0.3, 0, 0, 0), (0, -0.4, 0, 0), (0, 0, 0.5, 0), (0, 0, 0, 75), (-0.2, 0.3, -1, -140)]


def made(count: int, channels: int = 3, side: int = 6) -> Tensor:
    """Random pixels in float64."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, channels, side, side, generator=generator, dtype=torch.float64)


# --- the shift itself -----------------------------------------------------------------------------
def test_shifts_are_those_of_torchvision_one_after_the_other() -> None:
    images = made(len(SHIFTS))
    ours = shifted(images, torch.tensor(SHIFTS, dtype=torch.float64))
    for image, (brightness, contrast, saturation, hue), result in zip(
        images, SHIFTS, ours, strict=True
    ):
        theirs = transforms.adjust_brightness(image, 1 + brightness)
        theirs = transforms.adjust_contrast(theirs, 1 + contrast)
        theirs = transforms.adjust_saturation(theirs, 1 + saturation)
        theirs = transforms.adjust_hue(theirs, hue / 360)
        assert torch.allclose(result, theirs, rtol=0, atol=1e-6)


def test_grey_images_have_brightness_and_contrast_alone() -> None:
    images = made(2, channels=1)
    shifts = torch.tensor([[0.2, 0.0], [0.0, -0.5]], dtype=torch.float64)
    ours = shifted(images, shifts)
    assert torch.allclose(ours[0], (1.2 * images[0]).clamp(max=1))
    assert torch.allclose(ours[1], 0.5 * images[1] + 0.5 * images[1].mean())
    assert kinds(1) == ("brightness", "contrast")
    with pytest.raises(UsageError, match="2 channels"):
        kinds(2)


def test_no_shift_leaves_images_to_the_bit_and_a_whole_turn_comes_back() -> None:
    images = made(3).float()
    assert torch.equal(shifted(images, torch.zeros(3, 4)), images)
    turned = images
    for _ in range(3):
        turned = shifted(turned, torch.tensor([[0.0, 0, 0, 120]] * 3))
    assert torch.allclose(turned, images, atol=1e-6)
    # A third of the circle takes red to green, green to blue, and blue to red.
    third = shifted(images, torch.tensor([[0.0, 0, 0, 120]] * 3))
    assert torch.allclose(third, images.roll(1, dims=1), atol=1e-6)


def test_the_grid_begins_with_no_shift_and_has_half_a_turn_once() -> None:
    threat = ColourShift(hue=180, saturation=0.5, brightness=0.2, contrast=0)
    shifts = grid(limits_of(threat, 3), 5)
    assert len(shifts) == 5 * 1 * 5 * 4 == len(shifts.unique(dim=0))
    assert shifts[0].tolist() == [0, 0, 0, 0]
    assert shifts[:, 3].unique().tolist() == [-90, 0, 90, 180]
    assert shifts[:, 2].unique().tolist() == [-0.5, -0.25, 0, 0.25, 0.5]
    limits = torch.tensor([0.2, 1, 0.5, 180], dtype=torch.float64)
    assert ((shifts / limits).square().sum(1).diff() >= -1e-12).all()
    assert len(grid(limits_of(threat, 1), 5)) == 5
    assert len(grid(limits_of(threat, 3), 4)) == 4 * 1 * 4 * 3 + 1, "none, and a grid without it"


def test_random_shifts_grow_up_to_their_limits_and_depend_on_the_image_alone() -> None:
    limits = torch.tensor([0.2, 0.3, 0.5, 180], dtype=torch.float64)
    shifts = drawn(ImageRandom(0, torch.arange(300)), limits, 10)
    assert shifts.shape == (300, 11, 4)
    assert not shifts[:, 0].any()
    for number in range(1, 11):
        largest = shifts[:, number].abs().amax(0) / (limits * number / 10)
        assert (largest <= 1).all()
        assert (largest > 0.98).all()
    assert torch.equal(drawn(ImageRandom(0, torch.tensor([7])), limits, 10)[0], shifts[7])


# --- the search -----------------------------------------------------------------------------------
def curved() -> nn.Sequential:
    """A small network in float64."""
    torch.manual_seed(0)
    first, last = nn.Linear(108, 16), nn.Linear(16, 3)
    with torch.no_grad():
        first.weight *= 2
    return nn.Sequential(nn.Flatten(), first, nn.Tanh(), last).double().eval()


@pytest.mark.parametrize("surrogate", [None, "another"])
@pytest.mark.parametrize("given", [{"levels": 3}, {"tries": 20}])
def test_the_search_is_that_of_a_naive_loop(given: dict[str, int], surrogate: str | None) -> None:
    images, victim = made(20), Watched(curved())
    goal = Goal(curved()(images).argmax(1))
    options = colour.Options(
        hue=40, saturation=0.3, brightness=0.2, contrast=0.1, surrogate=surrogate, **given
    )
    random = ImageRandom(0, torch.arange(len(images)))
    found = colour.search(victim, images, goal, random, options)
    assert victim.asked == int(found.queries.sum())
    limits = limits_of(options.threat, 3)
    tried = drawn(ImageRandom(0, torch.arange(len(images))), limits, 20)
    if "levels" in given:
        tried = grid(limits, 3).expand(len(images), -1, -1)
    broken = 0
    for number, image in enumerate(images):
        every = shifted(image.expand(tried.shape[1], -1, -1, -1), tried[number])
        logits = curved()(every).detach()
        classes = goal.classes[number].expand(len(every))
        margins, wins = Goal(classes).loss(logits, "margin"), Goal(classes).reached(logits)
        best, queries = int(margins.argmax()), len(every)
        if wins.any() and surrogate is None:
            best = int(wins.nonzero()[0])
            queries, broken = best + 1, broken + 1
        assert int(found.queries[number]) == queries
        assert torch.allclose(found.parameters[number], tried[number, best])
        assert torch.allclose(found.images[number], every[best], rtol=0, atol=1e-12)
    assert surrogate is not None or 0 < broken < len(images), "both ways out must be taken"


def test_of_a_network_that_counts_brightness_the_break_is_where_the_closed_form_says() -> None:
    """Class 1 wins where the mean of the image exceeds 0.5: a factor above 0.5 / mean."""
    layer = nn.Linear(16, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0], [1 / 16]]).expand(2, 16))
        layer.bias.copy_(torch.tensor([0.5, 0.0]))
    victim = Watched(nn.Sequential(nn.Flatten(), layer).double().eval())
    means = torch.tensor([0.3, 0.4, 0.46, 0.49], dtype=torch.float64)
    images = means.view(4, 1, 1, 1).expand(4, 1, 4, 4).clone()
    options = colour.Options(brightness=0.3, contrast=0, levels=31)
    random, goal = ImageRandom(0, torch.arange(4)), Goal(torch.zeros(4, dtype=torch.int64))
    found = colour.search(victim, images, goal, random, options)
    # The first of the steps of 2 % that suffices: 0.4 needs 25 %, 0.46 about 8.7 %, 0.49 about 2.04
    assert found.parameters[:, 0].tolist() == pytest.approx([0.3, 0.26, 0.1, 0.04])
    assert goal.reached(victim.logits(found.images)).tolist() == [False, True, True, True]


def test_shifts_in_words_leave_out_what_rounds_to_none() -> None:
    def words(*shifts: float) -> str:
        return shift_text(torch.tensor(shifts, dtype=torch.float64))

    assert words(-0.3, 0.1) == "brightness −30 %, contrast +10 %"
    assert words(-0.004, 0, 0, -29.6) == "hue −30°"
    assert words(-0.004, 0) == "shifts below 0.5 % and 0.5°"
    assert words(0, 0) == "no shift"


# --- through the front door -----------------------------------------------------------------------
@pytest.fixture(scope="module")
def folder(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an attack on a network of grey images."""
    out = tmp_path_factory.mktemp("colour")
    line = "attack colour --dataset digits --limit 60 --brightness 0.9 --contrast 0.9"
    assert main([*line.split(), "--model", str(runs / "train" / "small"), "--out", str(out)]) == 0
    (folder,) = out.glob("attack/*")
    return folder


def test_the_result_is_that_of_the_saved_images(folder: Path, runs: Path) -> None:
    result = results.read_as(ColourAttackResult, folder)
    saved = load_file(folder / "images.safetensors")
    images, labels = load_images.load(DataOptions(dataset="digits")).test.tensors(60)
    network, _ = checkpoint.load(runs / "train" / "small")
    with torch.no_grad():
        clean = is_correct(network(images), labels)
        right = clean & is_correct(network(saved["perturbed"]), labels)
    assert torch.equal(saved["perturbed"], shifted(images, saved["shifts"]))
    assert result.robust_accuracy == int(right.sum()) / 60 < result.clean_accuracy
    assert result.candidates == 25
    assert result.queries == float(saved["queries"].sum()) / result.attacked
    changed = (saved["perturbed"] != images).flatten(1).any(1)
    means = saved["shifts"][changed].abs().mean(0).tolist()
    assert [result.brightness_mean, result.contrast_mean] == pytest.approx(means)
    assert result.hue_mean is result.saturation_mean is None
    assert result.summary().endswith("under colour shift, brightness ±90 %, contrast ±90 %")
    assert (folder / "confusion.png").is_file()


def test_a_finished_run_of_grey_images_says_that_they_have_no_hue(
    folder: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "attack colour --dataset digits --limit 60 --brightness 0.9 --contrast 0.9"
    model = ["--model", str(runs / "train" / "small"), "--out", str(folder.parent.parent)]
    assert main([*line.split(), *model]) == 0
    assert "these images are grey" in capsys.readouterr().out


def test_colour_images_and_python(tmp_path: Path) -> None:
    """A network that tells red from blue: a turn of the hue by 120 degrees breaks it."""
    layer = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 0, 1.0]]))
    network = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), layer).eval()
    images = torch.zeros(2, 3, 8, 8)
    images[0, 0], images[1, 2] = 0.8, 0.8
    labels = torch.tensor([0, 1])
    robust = advlab.attack(network, images, labels, "colour", hue=30)
    assert robust.robust_accuracy == 1
    broken = advlab.attack(network, images, labels, "colour", hue=180)
    assert broken.robust_accuracy == 0
    with pytest.raises(UsageError, match="no option 'eps'"):
        advlab.attack(network, images, labels, "colour", eps=0.1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--eps", "0.1"], "--eps: colour has no ε; its limits are --hue"),
        (["--hue", "200"], "--hue"),
        (["--tries", "10", "--levels", "3"], "--tries replaces"),
        (["--model", "torchvision:resnet18", "--image", "cat.jpg"], "no photos"),
    ],
)
def test_what_it_has_no_use_for_is_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["attack", "colour", *words]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert len(printed.strip().splitlines()) == 1
