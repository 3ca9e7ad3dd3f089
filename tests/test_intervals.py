"""Interval bounds: sound, exact where they can be, and trained on as in the paper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advlab.cli.main import main
from advlab.data.image_set import Images
from advlab.defenses import ibp
from advlab.errors import UsageError
from advlab.evaluation.verify import verified
from advlab.networks.classifier import Normalize
from advlab.networks.intervals import Box, bounds, chain, worst_logits
from advlab.runs.machine import Machine

CPU = Machine(torch.device("cpu"), "fp32")


def mixed() -> nn.Sequential:
    """A network of every kind of layer, float64, in evaluation mode."""
    torch.manual_seed(0)
    network = nn.Sequential(
        Normalize([0.3, 0.5], [0.2, 0.4]),
        nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 6, 3, padding=2, dilation=2, bias=False),
            nn.ELU(inplace=True),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Dropout(0.5),
            nn.AvgPool2d(2),
            nn.Flatten(),
        ),
        nn.Linear(6, 8, bias=False),
        nn.BatchNorm1d(8),
        nn.Tanh(),
        nn.Linear(8, 5),
    ).double()
    for layer in network.modules():
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(layer.get_buffer("running_mean"))
            nn.init.uniform_(layer.get_buffer("running_var"), 0.3, 2)
            nn.init.normal_(layer.weight)  # of both signs
    return network.eval()


@pytest.mark.parametrize("eps", [0.0, 0.02, 0.2, 1.0])
def test_the_bounds_hold_for_random_points_of_the_box_and_for_its_corners(eps: float) -> None:
    network, random = mixed(), torch.Generator().manual_seed(1)
    images = torch.rand(6, 2, 8, 8, generator=random).double()
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    box = Box.around(images, eps)
    before = images.clone()
    with torch.no_grad():
        found = bounds(network, box)
        logits, worst = worst_logits(network, box, labels)
        assert torch.equal(images, before), "layers in place leave the images alone"
        assert torch.allclose(found.value, network(images))
        assert torch.allclose(logits, network(images))
        for number in range(300):
            drawn = torch.rand(images.shape, generator=random).double()
            place = drawn.round() if number % 2 else drawn
            outputs = network(box.lower + place * (box.upper - box.lower))
            assert (outputs >= found.lower - 1e-9).all()
            assert (outputs <= found.upper + 1e-9).all()
            assert (outputs - outputs.gather(1, labels[:, None]) <= worst + 1e-9).all()
    loose = found.upper - found.lower.gather(1, labels[:, None])
    others = torch.ones_like(worst).scatter(1, labels[:, None], 0).bool()
    assert (worst <= loose + 1e-9)[others].all(), "bounds of differences are at least as tight"
    if eps == 0:
        assert torch.allclose(found.lower, found.upper)


def test_the_bounds_of_a_linear_network_are_the_closed_form() -> None:
    """The least margin is w · x + b minus the sum of |w| times how far each pixel may go."""
    torch.manual_seed(0)
    layer = nn.Linear(9, 4).double()
    network = nn.Sequential(nn.Flatten(), layer).eval()
    x, eps, labels = torch.rand(7, 1, 3, 3).double(), 0.1, torch.arange(7) % 4
    with torch.no_grad():
        _, worst = worst_logits(network, Box.around(x, eps), labels)
        for image, label, row in zip(x.flatten(1), labels, worst, strict=True):
            for other in range(4):
                w, b = (
                    layer.weight[other] - layer.weight[label],
                    layer.bias[other] - layer.bias[label],
                )
                best = torch.where(w > 0, (image + eps).clamp_max(1), (image - eps).clamp_min(0))
                assert float(row[other]) == pytest.approx(float(w @ best + b), abs=1e-12)


def test_an_image_is_verified_exactly_up_to_its_distance_from_the_boundary() -> None:
    """Two classes, logits ±(sum of four pixels − 2): the boundary is (2 − sum) / 4 away."""
    layer = nn.Linear(4, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[-1.0] * 4, [1.0] * 4]))
        layer.bias.copy_(torch.tensor([2.0, -2.0]))
    images = Images(torch.full((2, 1, 2, 2), 0.25), torch.tensor([0, 1]))
    network = nn.Sequential(nn.Flatten(), layer).eval()
    assert verified(network, images, 0.249, CPU).tolist() == [True, False]
    assert verified(network, images, 0.251, CPU).tolist() == [False, False]
    assert next(network.parameters()).dtype == torch.float32, "the network itself is left alone"


class Doubled(nn.Sequential):
    """A chain with a forward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = nn.Sequential.forward(self, 2 * x)  # type: ignore[no-untyped-call]
        return outputs


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (nn.GELU(), "GELU"),
        (nn.Softmax(1), "Softmax"),
        (Doubled(nn.Flatten()), "Doubled"),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"), "Conv2d"),
    ],
)
def test_other_layers_are_refused_by_name(layer: nn.Module, name: str) -> None:
    with pytest.raises(UsageError, match=rf"the layer {name};"):
        chain(nn.Sequential(nn.Sequential(nn.Identity(), layer)))


# --- training -------------------------------------------------------------------------------------
@pytest.mark.parametrize("training", [False, True])
def test_the_gradient_of_the_loss_is_that_of_finite_differences(training: bool) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)
    ).double()
    network.train(training)
    x, labels = torch.rand(4, 1, 4, 4).double(), torch.tensor([0, 1, 2, 0])

    def loss() -> Tensor:
        _, worst = worst_logits(network, Box.around(x, 0.1), labels)
        return nn.functional.cross_entropy(worst, labels)

    step = 1e-6
    for parameter in network.parameters():
        (gradient,) = torch.autograd.grad(loss(), parameter)
        for place in range(0, parameter.numel(), 5):
            with torch.no_grad():
                entry = parameter.view(-1)[place : place + 1]
                entry += step
                above = loss()
                entry -= 2 * step
                below = loss()
                entry += step
            expected = float(above - below) / (2 * step)
            assert float(gradient.view(-1)[place]) == pytest.approx(expected, abs=1e-6)


def test_weight_and_radius_follow_the_schedule_of_the_paper() -> None:
    options = ibp.Options(eps=0.3, kappa=0.5, clean_start=0.1, ramp=0.4)
    found = [ibp.schedule(options, done) for done in (0.0, 0.1, 0.3, 0.5, 1.0)]
    expected = [(1, 0), (1, 0), (0.75, 0.15), (0.5, 0.3), (0.5, 0.3)]
    assert [pytest.approx(pair) for pair in expected] == found
    at_once = ibp.Options(eps=0.3, kappa=0.0, clean_start=0.1, ramp=0)
    assert [ibp.schedule(at_once, done) for done in (0.05, 0.1)] == [(1, 0), (0, 0.3)]


def test_the_loss_weighs_the_clean_and_the_worst_case() -> None:
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Flatten(), nn.Linear(9, 3)), torch.rand(5, 1, 3, 3)
    labels = torch.tensor([0, 1, 2, 0, 1])
    options = ibp.Options(eps=0.2, kappa=0.25, clean_start=0, ramp=0)
    loss, logits = ibp.objective(options, 0.0, CPU)(network, x, labels, 1.0)
    clean = nn.functional.cross_entropy(network(x), labels)
    _, worst = worst_logits(network, Box.around(x, 0.2), labels)
    expected = 0.25 * clean + 0.75 * nn.functional.cross_entropy(worst, labels)
    assert torch.equal(logits, network(x))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


LINE = (
    "defend ibp --dataset digits --model mlp --width 16 --precision fp32 --batch-size 32 --limit "
    "60 --eps 0.04 --train-size 300 --epochs 10"
)


def test_verified_accuracy_lies_below_accuracy_under_any_attack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*LINE.split(), "--verdict", "quick"]) == 0
    (file,) = Path().glob("samples/defend/*/metrics.json")
    result: dict[str, Any] = json.loads(file.read_text())
    points = result["verified"]["points"]
    assert [point["eps"] for point in points] == [0, 0.01, 0.02, 0.03, 0.04, 0.05]
    for point in points:
        assert point["defended"] <= point["defended_pgd"]
        assert point["undefended"] <= point["undefended_pgd"]
    for name in ("undefended", "defended"):
        falling = [point[name] for point in points]
        assert falling == sorted(falling, reverse=True)
    at_eps = result["verified"]["verified_accuracy"]
    assert at_eps == points[4]["defended"]
    assert at_eps > points[4]["undefended"] + 0.2, "training on the bounds must pay"
    assert at_eps <= result["verdict"]["robust_accuracy"] <= result["clean_accuracy"]
    assert 0 < result["val_verified_accuracy"] <= 1
    assert "defended, verified" in capsys.readouterr().out
    assert (file.parent / "verified.png").is_file()


OWN = """
from torch import nn


def smooth():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.GELU(), nn.Linear(8, 10))
"""


def test_a_network_without_bounds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(OWN)
    line = "defend ibp --dataset digits --model mine.py:smooth --epochs 1 --precision fp32"
    assert main(line.split()) == 2
    said = capsys.readouterr()
    assert "GELU" in said.err + said.out
    assert main([*LINE.split(), "--norm", "l2"]) == 2
