"""``advlab attack spatial`` beside torchvision and SciPy, naive loops, and its own files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import ndimage
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms
from watched import Watched

import advlab
from advlab.attacks import spatial
from advlab.cli.main import main
from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.errors import UsageError
from advlab.metrics.classification import is_correct
from advlab.networks import checkpoint
from advlab.perturbation.goal import Goal
from advlab.perturbation.motion import drawn, grid, moved
from advlab.perturbation.randomness import ImageRandom
from advlab.results.attack import AttackResult, SpatialAttackResult
from advlab.results.comparison import ComparisonResult
from advlab.runs import results

MOTIONS = [(0, 1.5, 0), (20, 0, 0), (-30, 3, -3), (7.5, -0.25, 2.75), (180, 0, 0), (45, 9, -1)]


def made(height: int, width: int, count: int = len(MOTIONS)) -> Tensor:
    """Images of two channels, float64; one for each motion unless said otherwise."""
    generator = torch.Generator().manual_seed(0)
    shape = (count, 2, height, width)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


# --- the motion itself ----------------------------------------------------------------------------
@pytest.mark.parametrize(("height", "width"), [(9, 9), (8, 8), (7, 10)])
def test_motions_are_those_of_torchvision_and_scipy(height: int, width: int) -> None:
    """torchvision turns clockwise; SciPy is told where each pixel comes from, as a matrix."""
    images = made(height, width)
    ours = moved(images, torch.tensor(MOTIONS, dtype=torch.float64))
    for image, (degrees, down, right), result in zip(images, MOTIONS, ours, strict=True):
        theirs = transforms.affine(
            image, -degrees, [right, down], 1.0, [0.0], interpolation=InterpolationMode.BILINEAR
        )
        assert torch.allclose(result, theirs, rtol=0, atol=1e-5)  # its grid is float32
        sine, cosine = np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))
        inverse = np.array([[cosine, sine], [-sine, cosine]])
        middle = (np.array([height, width]) - 1) / 2
        for plane, channel in zip(result, image, strict=True):
            expected = ndimage.affine_transform(
                channel.numpy(),
                inverse,
                offset=middle - inverse @ (middle + np.array([down, right])),
                order=1,
                mode="grid-constant",
            )
            assert np.abs(plane.numpy() - expected).max() < 1e-12


def test_quarter_turns_and_whole_shifts_move_pixels_as_they_are() -> None:
    images = made(6, 6)
    turned = moved(images, torch.tensor([[90.0, 0, 0]] * len(images)))
    assert torch.allclose(turned, torch.rot90(images, 1, (2, 3)), rtol=0, atol=1e-12)
    shifted = moved(images, torch.tensor([[0.0, 2, -1]] * len(images)))
    expected = torch.zeros_like(images)
    expected[:, :, 2:, :-1] = images[:, :, :-2, 1:]
    assert torch.allclose(shifted, expected, rtol=0, atol=1e-12)
    assert torch.equal(moved(images.float(), torch.zeros(len(images), 3)), images.float())


def test_the_grid_is_that_of_the_paper_from_the_nearest_to_the_farthest() -> None:
    motions = grid(30, 3, 31, 5)
    assert motions.shape == (775, 3)
    assert len(motions.unique(dim=0)) == 775
    assert motions[0].tolist() == [0, 0, 0]
    assert motions[:, 0].unique().tolist() == [float(angle) for angle in range(-30, 31, 2)]
    for axis in (1, 2):
        assert motions[:, axis].unique().tolist() == [-3, -1.5, 0, 1.5, 3]
    distance = (motions / torch.tensor([30.0, 3, 3])).square().sum(1)
    assert (distance.diff() >= 0).all()


def test_a_grid_without_a_middle_begins_with_the_image_as_it_is_all_the_same() -> None:
    motions = grid(30, 3, 4, 3)
    assert len(motions) == 4 * 9 + 1
    assert motions[0].tolist() == [0, 0, 0]
    assert motions[1:, 0].abs().min() == 10
    assert grid(0, 0, 31, 5).tolist() == [[0, 0, 0]]
    assert len(grid(30, 0, 31, 5)) == 31


def test_random_motions_fill_their_range_and_depend_on_the_image_alone() -> None:
    motions = drawn(ImageRandom(0, torch.arange(50)), 30, 3, 40)
    assert motions.shape == (50, 41, 3)
    assert (motions[:, 0] == 0).all()
    for axis, limit in ((0, 30), (1, 3), (2, 3)):
        values = motions[:, 1:, axis]
        assert values.abs().max() <= limit
        assert values.max() > 0.99 * limit
        assert values.min() < -0.99 * limit
        assert abs(float(values.mean())) < 0.05 * limit
    alone = drawn(ImageRandom(0, torch.tensor([7])), 30, 3, 40)
    assert torch.equal(alone[0], motions[7])


# --- the search -----------------------------------------------------------------------------------
SLOPE = 1.2
"""How steep the network is: so that it withstands some of the motions below."""


def curved(bias: float = 0.0) -> nn.Sequential:
    """A small network in float64; a large bias makes it firm on class 0."""
    torch.manual_seed(0)
    first, last = nn.Linear(98, 16), nn.Linear(16, 3)
    model = nn.Sequential(nn.Flatten(), first, nn.Tanh(), last).double().eval()
    with torch.no_grad():
        first.weight *= SLOPE
        last.bias[0] += bias
    return model


@pytest.mark.parametrize("surrogate", [None, "another"])
@pytest.mark.parametrize("given", [{"angles": 5, "shifts": 3}, {"tries": 12}])
def test_the_search_is_that_of_a_naive_loop(given: dict[str, int], surrogate: str | None) -> None:
    """With a surrogate no image is done early, and the largest margin counts."""
    images, victim = made(7, 7, count=20), Watched(curved())
    goal = Goal(curved()(images).argmax(1))
    options = spatial.Options(degrees=40, shift=2, surrogate=surrogate, **given)
    random = ImageRandom(0, torch.arange(len(images)))
    found = spatial.search(victim, images, goal, random, options)
    assert victim.asked == int(found.queries.sum())
    tried = drawn(ImageRandom(0, torch.arange(len(images))), 40, 2, 12)
    if "angles" in given:
        tried = grid(40, 2, 5, 3).expand(len(images), -1, -1)
    broken = 0
    for number, image in enumerate(images):
        every = moved(image.expand(tried.shape[1], -1, -1, -1), tried[number])
        logits = curved()(every).detach()
        classes = goal.classes[number].expand(len(every))
        margins, wins = Goal(classes).loss(logits, "margin"), Goal(classes).reached(logits)
        best = int(margins.argmax())
        queries = len(every)
        if wins.any() and surrogate is None:
            best = int(wins.nonzero()[0])
            queries = best + 1
            broken += 1
        assert int(found.queries[number]) == queries
        assert torch.allclose(found.parameters[number], tried[number, best])
        assert torch.allclose(found.images[number], every[best], rtol=0, atol=1e-12)
    assert surrogate is not None or 0 < broken < len(images), "both ways out must be taken"


def test_a_firm_network_is_asked_about_every_motion_and_the_image_itself() -> None:
    images, victim = made(7, 7), Watched(curved(bias=1000.0))
    goal = Goal(torch.zeros(len(images), dtype=torch.int64))
    random = ImageRandom(0, torch.arange(len(images)))
    found = spatial.search(victim, images, goal, random, spatial.Options(tries=10))
    assert found.queries.tolist() == [11] * len(images)
    victim.asked = 0
    ones = Goal(torch.ones(len(images), dtype=torch.int64))
    found = spatial.search(victim, images, ones, random, spatial.Options(tries=10))
    assert victim.asked == len(images), "each is at its goal as it is"
    assert torch.equal(found.images, images)
    assert not found.parameters.any()


# --- through the front door -----------------------------------------------------------------------
@pytest.fixture(scope="module")
def attacked(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a comparison of spatial with FGSM on a trained network."""
    out = tmp_path_factory.mktemp("spatial")
    plan = {
        "command": "attack",
        "dataset": "digits",
        "limit": 60,
        "out": str(out),
        "name": "both",
        "variants": [
            {"label": "FGSM", "attack": "fgsm", "eps": 0.1},
            {"label": "spatial", "attack": "spatial", "angles": 7, "shifts": 3},
        ],
    }
    file = out / "both.yaml"
    file.write_text(json.dumps(plan))
    model = str(runs / "train" / "small")
    assert main(["attack", "--config", str(file), "--model", model]) == 0
    return out


def _folder(out: Path, attack: str) -> Path:
    (folder,) = out.glob(f"attack/*{attack}*")
    return folder


def test_the_result_is_that_of_the_saved_images(attacked: Path, runs: Path) -> None:
    folder = _folder(attacked, "spatial")
    result = results.read_as(SpatialAttackResult, folder)
    saved = load_file(folder / "images.safetensors")
    digits = load_images.load(DataOptions(dataset="digits")).test
    model, _ = checkpoint.load(runs / "train" / "small")
    with torch.no_grad():
        right = is_correct(model(saved["perturbed"]), digits.labels[:60])
        clean = is_correct(model(digits.inputs(slice(0, 60))), digits.labels[:60])
    assert result.robust_accuracy == int(right.sum()) / 60 < result.clean_accuracy
    assert result.clean_accuracy == int(clean.sum()) / 60
    assert result.success_rate == pytest.approx(1 - result.robust_accuracy / result.clean_accuracy)
    assert torch.equal(saved["perturbed"], moved(digits.inputs(slice(0, 60)), saved["motions"]))
    assert result.candidates == 63
    assert result.attacked == int(clean.sum())
    assert result.queries == float(saved["queries"].sum()) / result.attacked
    changed = (saved["perturbed"] != digits.inputs(slice(0, 60))).flatten(1).any(1)
    assert result.changed == int(changed.sum()) >= int((clean & ~right).sum())
    mean = float(saved["motions"][changed][:, 0].abs().mean())
    assert result.degrees_mean == pytest.approx(mean)
    assert result.summary().endswith("under rotation and translation, ±30°, ±3 px")
    for picture in ("attacked", "flipped", "confusion"):
        assert (folder / f"{picture}.png").is_file()


def test_a_comparison_with_a_ball_says_that_it_is_none(attacked: Path) -> None:
    (folder,) = attacked.glob("compare/*")
    result = results.read_as(ComparisonResult, folder)
    assert result.threat_models == ["L∞ ball", "rotation and translation"]
    assert not result.same_target
    assert "strongest" not in result.summary()
    assert result.summary().endswith("under L∞ ball and rotation and translation")
    text = (folder / "table.md").read_text()
    assert "different threat models" in text
    (fgsm,) = (line for line in text.splitlines() if line.startswith("| FGSM"))
    (moving,) = (line for line in text.splitlines() if line.startswith("| spatial"))
    assert "at ε = 0.1 (L∞)" in fgsm
    assert "±30°, ±3 px" in moving
    assert not (folder / "curves.png").exists()


def test_python_gives_the_figures_of_the_command_line(attacked: Path, runs: Path) -> None:
    result = results.read_as(SpatialAttackResult, _folder(attacked, "spatial"))
    images, labels = advlab.load_dataset("digits").test.tensors(60)
    model = advlab.load_model(runs / "train" / "small")
    found = advlab.attack(model, images, labels, "spatial", angles=7, shifts=3)
    assert found.robust_accuracy == result.robust_accuracy
    still = advlab.attack(model, images, labels, "spatial", degrees=0, shift=0)
    assert still.robust_accuracy == still.clean_accuracy
    assert torch.equal(still.images, images)
    with pytest.raises(UsageError, match="no option 'eps'"):
        advlab.attack(model, images, labels, "spatial", eps=0.1)


def test_an_attack_in_a_ball_says_its_ball_as_its_threat_model(attacked: Path) -> None:
    assert results.read_as(AttackResult, _folder(attacked, "fgsm")).threat_model() == "L∞ ball"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--eps", "0.1"], "--eps"),
        (["--degrees", "181"], "--degrees"),
        (["--model", "torchvision:resnet18", "--image", "cat.jpg"], "no photos"),
    ],
)
def test_what_it_has_no_use_for_is_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["attack", "spatial", *words]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert len(printed.strip().splitlines()) == 1
