"""Networks whose answers are random: averaged gradients, repeatable draws, the rand version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

import advlab
from advlab.cli.main import main
from advlab.perturbation.ascent import Kept, ascend
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import repeatable
from advlab.perturbation.victim import Victim

CPU = torch.device("cpu")


class Noisy(nn.Module):
    """Three templates seen through multiplicative noise, which turns many gradients round."""

    def __init__(self) -> None:
        super().__init__()
        numbers = torch.Generator().manual_seed(0)
        self.templates = nn.Parameter(torch.randn(3, 16, generator=numbers))

    def forward(self, x: Tensor) -> Tensor:
        noise = (1 + 2 * torch.randn(x.shape[0], 16)).to(x.dtype)
        return (x.flatten(1) - 0.5) * noise @ self.templates.T


def batch(count: int = 64) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 4, 4) and the class of each without noise."""
    images = torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    return images, ((images.flatten(1) - 0.5) @ Noisy().templates.detach().T).argmax(1)


def test_a_gradient_is_the_average_over_the_passes() -> None:
    images, labels = batch(8)
    network = Noisy().eval()
    victim, goal = Victim(network), Goal(labels)
    with repeatable(5, CPU), victim.averaging(3):
        averaged, logits = victim.gradient(images, goal, "margin")
    expected, outputs = torch.zeros_like(images), []
    with repeatable(5, CPU):
        for _ in range(3):
            x = images.clone().requires_grad_(True)
            outputs.append(network(x))
            own = nn.functional.one_hot(labels, 3).bool()
            best_other = outputs[-1].masked_fill(own, -torch.inf).amax(1)
            (best_other - outputs[-1][own]).sum().backward()
            assert x.grad is not None
            expected += x.grad / 3
    torch.testing.assert_close(averaged, expected)
    torch.testing.assert_close(logits, torch.stack(outputs).mean(0).detach())
    assert victim.samples == 1


def test_passes_of_a_network_that_is_not_random_change_nothing() -> None:
    images, labels = batch(8)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    one = advlab.attack(linear, images, labels, "fgsm", eps=0.1)
    many = advlab.attack(linear, images, labels, "fgsm", eps=0.1, eot=4)
    assert torch.equal(one.images, many.images)


def test_missing_gradients_are_counted_once_per_image() -> None:
    class Rounded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :3].detach()

    images, labels = batch(8)
    victim = Victim(Rounded().eval())
    with victim.averaging(5):
        victim.gradient(images, Goal(labels), "ce")
    assert victim.gradients.missing == 8


@pytest.mark.parametrize(
    "name", ["fgsm", "pgd", "apgd", "lp", "fab", "deepfool", "ddn", "fmn", "cw"]
)
def test_an_attack_repeats_its_bits_and_leaves_the_callers_generator_alone(name: str) -> None:
    images, labels = batch(16)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = advlab.attack(Noisy().eval(), images, labels, name, eps=0.2, eot=2)
    torch.manual_seed(2)
    second = advlab.attack(Noisy().eval(), images, labels, name, eps=0.2, eot=2)
    assert torch.equal(first.images, second.images)
    assert first.robust_accuracy == second.robust_accuracy
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["pgd", "apgd"])
def test_averages_make_attacks_on_a_random_network_stronger(name: str) -> None:
    images, labels = batch(256)
    network = Noisy().eval()

    def accuracy(perturbed: Tensor) -> float:
        """Over many passes, so that it is not one draw of the noise."""
        with repeatable(7, CPU), torch.no_grad():
            right = [(network(perturbed).argmax(1) == labels).double().mean() for _ in range(50)]
        return float(torch.stack(right).mean())

    one = accuracy(advlab.attack(network, images, labels, name, eps=0.2).images)
    many = accuracy(advlab.attack(network, images, labels, name, eps=0.2, eot=20).images)
    assert many < one - 0.05


def test_the_last_success_is_kept_and_not_the_first() -> None:
    class Threshold:
        """Class 1 from 0.3 on, as its caller sees it; each step goes further."""

        def logits(self, images: Tensor, /) -> Tensor:
            value = images.flatten(1).mean(1)
            return torch.stack([torch.full_like(value, 0.3), value], 1)

        def gradient(self, images: Tensor, goal: Goal, loss: str, /) -> tuple[Tensor, Tensor]:
            return torch.ones_like(images), self.logits(images)

    start = torch.zeros(1, 1, 2, 2)
    goal = Goal(torch.tensor([0]))

    def further(x: Tensor, gradient: Tensor, logits: Tensor, index: Tensor, number: int) -> Tensor:
        return x + 0.2 if number < 3 else torch.zeros_like(x)  # and back in the end

    found = {
        keep: ascend(
            Threshold(),
            start,
            goal,
            "ce",
            5,
            further,
            lambda images, index: images,
            keep=keep,
        )
        for keep in get_args(Kept)
    }
    assert float(found["first success"].mean()) == pytest.approx(0.4)
    assert float(found["last success"].mean()) == pytest.approx(0.6)
    assert float(found["last"].mean()) == 0


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


FACTORY = """
import torch
from torch import nn

class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    def forward(self, x):
        return self.net(x + 0.1 * torch.randn_like(x))
"""


@pytest.mark.usefixtures("here")
def test_the_rand_version_runs_its_two_attacks_with_averages(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("noisy_net.py").write_text(FACTORY)
    line = (
        "evaluate autoattack --variant rand --model noisy_net.py:Noisy --dataset digits "
        "--limit 40 --eps 0.0001 --steps 3 --eot 4 --name rand"
    )
    assert main(line.split()) == 0
    printed = capsys.readouterr().out
    assert "gradients averaged over 4 passes" in printed
    verdict = json.loads(Path("samples/evaluate/rand/verdict.json").read_text())
    assert [row["attack"] for row in verdict["attacks"]] == ["APGD-CE", "APGD-DLR"]
    assert all(row["settings"]["eot"] == 4 for row in verdict["attacks"])
    assert "random outputs" not in verdict["checks_failed"]
    assert "AutoAttack has a larger budget for APGD-CE, APGD-DLR" in verdict["sentence"]


@pytest.mark.usefixtures("here")
def test_passes_that_change_nothing_are_pointed_out(capsys: pytest.CaptureFixture[str]) -> None:
    Path("still_net.py").write_text(FACTORY.replace("0.1 * torch.randn_like(x)", "0"))
    line = (
        "evaluate quick --model still_net.py:Noisy --dataset digits --limit 20 --eps 0.01 "
        "--steps 2 --queries 5 --eot 2"
    )
    assert main(line.split()) == 0
    assert "the network is not random" in capsys.readouterr().out
