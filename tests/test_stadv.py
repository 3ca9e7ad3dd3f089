"""``advlab attack stadv`` beside SciPy, finite differences, closed forms, and its own files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy import ndimage, optimize
from torch import Tensor, nn

import advlab
from advlab.attacks import stadv
from advlab.cli.main import main
from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.metrics.classification import is_correct
from advlab.networks import checkpoint
from advlab.perturbation.flow import variation, warped
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.transformed import Searched
from advlab.perturbation.victim import Victim
from advlab.results.attack import FlowAttackResult
from advlab.runs import results


def made(*shape: int, seed: int = 0) -> Tensor:
    """Random numbers in [0, 1), float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def sampled(image: NDArray[np.float64], flow: NDArray[np.float64]) -> NDArray[np.float64]:
    """One image (C, H, W) under a flow (2, H, W), by SciPy."""
    places = np.mgrid[: image.shape[1], : image.shape[2]] + flow
    planes = [ndimage.map_coordinates(plane, places, order=1, mode="nearest") for plane in image]
    return np.stack(planes)


def roughness(flow: NDArray[np.float64]) -> float:
    """The paper's L_flow of one flow (2, H, W): over pixels and their neighbours on four sides."""
    return 2 * sum(float(np.hypot(*np.diff(flow, axis=axis)).sum()) for axis in (1, 2))


# --- the warp -------------------------------------------------------------------------------------
@pytest.mark.parametrize(("height", "width"), [(6, 6), (5, 8), (1, 7), (7, 1)])
def test_warped_images_and_their_roughness_are_those_of_scipy_and_a_loop(
    height: int, width: int
) -> None:
    images, flow = made(4, 2, height, width), 5 * made(4, 2, height, width, seed=1) - 2.5
    ours, rough = warped(images, flow), variation(flow)
    for number in range(4):
        expected = sampled(images[number].numpy(), flow[number].numpy())
        assert np.abs(ours[number].numpy() - expected).max() < 1e-12
        assert float(rough[number]) == pytest.approx(roughness(flow[number].numpy()), abs=1e-3)


def test_whole_shifts_move_pixels_and_none_leaves_them_to_the_bit() -> None:
    images = made(2, 3, 6, 5).float()
    assert torch.equal(warped(images, torch.zeros(2, 2, 6, 5)), images)
    flow = torch.zeros(2, 2, 6, 5)
    flow[:, 0], flow[:, 1] = 2, -1
    shifted = warped(images, flow)
    assert torch.equal(shifted[:, :, :4, 1:], images[:, :, 2:, :-1])
    assert torch.equal(shifted[:, :, 4:, 1:], images[:, :, 5:, :-1].expand(-1, -1, 2, -1))
    even = torch.full((2, 2, 6, 5), 0.7)
    assert float(variation(even).abs().max()) == 0


def test_the_gradient_is_that_of_finite_differences() -> None:
    """Of a network's margin and of the roughness, in float64, away from whole pixels."""
    network, images = curved(), made(3, 1, 5, 5)
    flow = 1.6 * made(3, 2, 5, 5, seed=1) - 0.8
    whole = (torch.arange(5) + flow[:, 1]).frac().abs()
    assert float(torch.minimum(whole, 1 - whole).min()) > 1e-5
    goal = Goal(torch.tensor([0, 1, 2]))
    options = stadv.Options(margin=1e6)
    state = stadv._Best(Victim(network), images, goal, options)
    ours = stadv._slope(state, torch.arange(3), flow, 0.3)

    def value(some: Tensor) -> float:
        logits = network(warped(images, some)).detach()
        return float((-goal.loss(logits, "margin") + 0.3 * variation(some)).sum())

    for place in range(0, flow.numel(), 3):
        step = torch.zeros_like(flow)
        step.view(-1)[place] = 1e-6
        expected = (value(flow + step) - value(flow - step)) / 2e-6
        assert float(ours.flatten()[place]) == pytest.approx(expected, rel=1e-5, abs=1e-7)


# --- the attack -----------------------------------------------------------------------------------
def curved(pixels: int = 25) -> nn.Sequential:
    """A small network in float64, of square images of so many pixels."""
    torch.manual_seed(0)
    layers = (nn.Flatten(), nn.Linear(pixels, 12), nn.Tanh(), nn.Linear(12, 3))
    return nn.Sequential(*layers).double().eval()


def attacked(
    network: nn.Module, images: Tensor, classes: Tensor, options: stadv.Options
) -> Searched:
    random = ImageRandom(0, torch.arange(len(images)))
    return stadv.search(Victim(network), images, Goal(classes), random, options)


def test_on_a_ramp_the_largest_margin_is_that_of_the_closed_form() -> None:
    """A linear network, and an image that rises evenly: each pixel inside changes by its
    displacement times the slope of the ramp, at most by ``max_shift`` along both sides."""
    torch.manual_seed(1)
    layer = nn.Linear(49, 2)
    network = nn.Sequential(nn.Flatten(), layer).double().eval()
    with torch.no_grad():
        mask = torch.zeros(7, 7)
        mask[1:-1, 1:-1] = 1  # beyond the edge the ramp does not go on
        layer.weight *= mask.flatten()
        layer.bias.copy_(torch.tensor([100.0, 0.0]))
    ramp = 0.1 + 0.05 * torch.arange(7.0)[:, None] + 0.07 * torch.arange(7.0)[None]
    image = ramp[None, None].double()
    slope = (layer.weight[1] - layer.weight[0]).detach().view(7, 7)
    logits = network(image).detach()
    largest = float(logits[0, 1] - logits[0, 0]) + 0.8 * 0.12 * float(slope.abs().sum())
    options = stadv.Options(max_shift=0.8, flow_weight=0, search_steps=1, steps=60)
    found = attacked(network, image, torch.tensor([0]), options)
    reached = network(found.images).detach()
    assert float(reached[0, 1] - reached[0, 0]) == pytest.approx(largest, abs=1e-6)
    inside = found.parameters[0, :, 1:-1, 1:-1]
    assert torch.allclose(inside, 0.8 * slope.sign()[1:-1, 1:-1].expand(2, -1, -1))


def test_flows_are_no_rougher_than_those_of_scipys_minimiser() -> None:
    """L-BFGS-B, the bounded form of the paper's minimiser, from the same starts, of the paper's
    objective with a margin that must be exceeded by a little; with differences for its gradient,
    and warp, margin and roughness of its own."""
    network, steepness = curved(16), 4.0
    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for layer in layers:
            layer.weight *= steepness
    images = torch.from_numpy(ndimage.gaussian_filter(made(4, 1, 4, 4).numpy(), (0, 0, 0.8, 0.8)))
    with torch.no_grad():
        classes = network(images).argmax(1)
    weight, margin = 0.02, 0.02
    options = stadv.Options(
        max_shift=1.5, flow_weight=weight, search_steps=1, steps=200, margin=margin
    )
    found = attacked(network, images, classes, options)
    (w1, b1), (w2, b2) = (
        (layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in layers
    )

    def cost(flat: NDArray[np.float64], image: NDArray[np.float64], label: int) -> float:
        flow = flat.reshape(2, 4, 4)
        logits = w2 @ np.tanh(w1 @ sampled(image, flow).ravel() + b1) + b2
        lead = np.delete(logits, label).max() - logits[label]
        return float(max(margin - lead, 0) + weight * roughness(flow))

    starts = 0.15 * (2 * ImageRandom(0, torch.arange(4)).uniform((2, 4, 4)).numpy() - 1)
    ours, theirs = [], []
    for number in range(len(images)):
        image, label = images[number].numpy(), int(classes[number])
        solution = optimize.minimize(
            cost,
            starts[number].ravel().astype(np.float64),
            (image, label),
            "L-BFGS-B",
            bounds=[(-1.5, 1.5)] * 32,
            options={"maxiter": 60},
        )
        theirs.append(float(solution.fun))
        ours.append(cost(found.parameters[number].numpy().ravel(), image, label))
        assert ours[-1] <= 1.1 * theirs[-1] + 0.01
    assert sum(ours) <= sum(theirs)


def test_an_image_at_its_goal_stays_and_queries_are_counted() -> None:
    images = made(6, 1, 5, 5)
    predicted = curved()(images).argmax(1)
    classes = torch.where(torch.arange(6) < 3, predicted, (predicted + 1) % 3)
    found = attacked(curved(), images, classes, stadv.Options(steps=7, search_steps=1))
    assert torch.equal(found.images[3:], images[3:])
    assert not found.parameters[3:].any()
    assert found.queries[3:].tolist() == [1, 1, 1]
    assert ((found.queries[:3] >= 8) & (found.queries[:3] <= 15)).all()
    assert float(found.parameters.abs().max()) <= 1


# --- through the front door -----------------------------------------------------------------------
@pytest.fixture(scope="module")
def folder(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an attack on a trained network."""
    out = tmp_path_factory.mktemp("stadv")
    line = "attack stadv --dataset digits --limit 25 --steps 40 --max-shift 1.5"
    assert main([*line.split(), "--model", str(runs / "train" / "small"), "--out", str(out)]) == 0
    (folder,) = out.glob("attack/*")
    return folder


def test_the_result_is_that_of_the_saved_flows(folder: Path, runs: Path) -> None:
    result = results.read_as(FlowAttackResult, folder)
    saved = load_file(folder / "images.safetensors")
    images, labels = load_images.load(DataOptions(dataset="digits")).test.tensors(25)
    network, _ = checkpoint.load(runs / "train" / "small")
    with torch.no_grad():
        clean = is_correct(network(images), labels)
        right = clean & is_correct(network(saved["perturbed"]), labels)
    flows = saved["flows"]
    assert torch.equal(warped(images, flows).clamp(0, 1), saved["perturbed"])
    assert float(flows.abs().max()) <= 1.5
    assert result.robust_accuracy == int(right.sum()) / 25
    assert result.robust_accuracy < result.clean_accuracy - 0.2
    changed = (saved["perturbed"] != images).flatten(1).any(1)
    assert result.changed == int(changed.sum())
    assert result.shift_mean == pytest.approx(float(flows[changed].norm(dim=1).mean()))
    assert result.roughness_mean == pytest.approx(float(variation(flows[changed]).mean()))
    assert result.summary().endswith(
        "under displacement of each pixel, at most 1.5 px along each side"
    )
    assert result.queries == float(saved["queries"].sum()) / result.attacked
    for picture in ("attacked", "flipped", "flows", "confusion"):
        assert (folder / f"{picture}.png").is_file()


def test_python_gives_the_figures_of_the_command_line(folder: Path, runs: Path) -> None:
    result = results.read_as(FlowAttackResult, folder)
    images, labels = advlab.load_dataset("digits").test.tensors(25)
    model = advlab.load_model(runs / "train" / "small")
    found = advlab.attack(model, images, labels, "stadv", steps=40, max_shift=1.5)
    assert found.robust_accuracy == result.robust_accuracy


def test_without_room_nothing_is_searched() -> None:
    images, classes = made(3, 1, 5, 5), torch.zeros(3, dtype=torch.int64)
    found = attacked(curved(), images, classes, stadv.Options(max_shift=0))
    assert torch.equal(found.images, images)
    assert not found.parameters.any()
    assert found.queries.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--norm", "l2"], "--norm: stadv has no norm; its limit is --max-shift"),
        (["--max-shift", "-1"], "--max-shift"),
        (["--model", "torchvision:resnet18", "--image", "cat.jpg"], "no photos"),
    ],
)
def test_what_it_has_no_use_for_is_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["attack", "stadv", *words]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert len(printed.strip().splitlines()) == 1
