"""Networks that have fooled evaluations, and whether the verdict of ``advlab evaluate`` is fooled.

    python -m benchmarks.victims

Each network hides its gradient in a way that was once published as a defence or met as an accident
(Athalye et al. 2018, arXiv:1802.00420; Tramèr et al. 2020, arXiv:2002.08347). Beside the verdict
stand the accuracy under a textbook PGD, which most of them fool, and under an attack that knows the
trick. Writes ``benchmarks/victims.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import advlab
from advlab.metrics.classification import is_correct
from advlab.perturbation.randomness import repeatable
from advlab.runs.table import percent
from benchmarks import _timing

CPU = torch.device("cpu")
LEVELS = 8  # of the staircase, the quantised input and the thermometer
TEMPERATURE = 100.0
NOISE = 0.15  # standard deviation of the noise layer, in pixel units
SMOOTHING = 0.1  # of the noise that the gradient of k-winners-take-all is averaged over
KEPT = 0.1  # fraction of the activations that k-winners-take-all keeps
PASSES = 20  # that the adaptive attack averages gradients over
JUDGED = 20  # passes that the adaptive attack on a random network is judged by

Activation = Callable[[], nn.Module]


@dataclass(frozen=True)
class Case:
    """A network with a trick, and what an attack that knows the trick differentiates instead.

    Attributes:
        name: of the trick.
        network: from images (N, 1, 28, 28) in [0, 1] to logits.
        adaptive: a network of the same predictions whose gradients lead somewhere.
        adaptive_words: how it is made, for the table.
        passes: how many the adaptive attack averages gradients over.
        random: whether the network draws numbers.
        eot: the option of the suites; None for their default.
    """

    name: str
    network: nn.Module
    adaptive: nn.Module
    adaptive_words: str
    passes: int = 1
    random: bool = False
    eot: int | None = None

    def __post_init__(self) -> None:
        self.network.eval()
        self.adaptive.eval()


# --- tricks ---------------------------------------------------------------------------------------
class Before(nn.Module):
    """A function of the images, and a network behind it."""

    def __init__(self, function: Callable[[Tensor], Tensor], network: nn.Module) -> None:
        super().__init__()
        self.function, self.network = function, network

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes)."""
        logits: Tensor = self.network(self.function(x))
        return logits


class After(nn.Module):
    """A network, and a function of its logits behind it."""

    def __init__(self, network: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.function = network, function

    def forward(self, x: Tensor) -> Tensor:
        """What the function makes of the logits."""
        return self.function(self.network(x))


class BackwardOf(nn.Module):
    """The value of one function of the images with the gradient of another (BPDA)."""

    def __init__(
        self, value: Callable[[Tensor], Tensor], gradient: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.value, self.gradient = value, gradient

    def forward(self, x: Tensor) -> Tensor:
        """``value(x)``."""
        smooth = self.gradient(x)
        with torch.no_grad():
            difference = self.value(x.detach()) - smooth
        return smooth + difference


class Winners(nn.Module):
    """k-winners-take-all: the largest activations stay, all others are zero (Xiao et al. 2020,
    arXiv:1905.10510)."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape (N, ...)."""
        flat = x.flatten(1)
        least = flat.topk(max(1, int(KEPT * flat.shape[1])), dim=1).values[:, -1:]
        return (flat * (flat >= least)).view_as(x)


def staircase(x: Tensor) -> Tensor:
    """Rounded grey levels: a gradient of zero."""
    return (x * LEVELS).round() / LEVELS


def quantised(x: Tensor) -> Tensor:
    """Grey levels through bytes: no gradient at all."""
    return (x * (LEVELS - 1)).round().to(torch.uint8).to(x.dtype) / (LEVELS - 1)


def ripples(x: Tensor) -> Tensor:
    """Images with a fine wave, whose slope has the wrong sign in almost half of all places."""
    return x + 0.02 * torch.sin(500 * x)


def noisy(x: Tensor) -> Tensor:
    """Images with Gaussian noise, other noise in each pass."""
    return x + NOISE * torch.randn_like(x)


def _steps(x: Tensor) -> Tensor:
    """By how many levels each grey level exceeds the lower end of each step, (N, C·levels, ...)."""
    ends = torch.arange(LEVELS, dtype=x.dtype).view(1, 1, LEVELS, 1, 1)
    return (x[:, :, None] * LEVELS - ends).flatten(1, 2)


def thermometer(x: Tensor) -> Tensor:
    """Thermometer encoding (Buckman et al. 2018): one channel for each level, 1 from it on."""
    return (_steps(x) > 0.5).to(x.dtype)


def soft_thermometer(x: Tensor) -> Tensor:
    """The same as a ramp over two levels, with a gradient."""
    return ((_steps(x) + 0.5) / 2).clamp(0, 1)


def winners_gradient(network: nn.Module) -> nn.Module:
    """The network with the gradient of a noisy image, which ``eot`` averages: the true one changes
    its direction within tiny distances (Tramèr et al. 2020, arXiv:2002.08347, section 5.1)."""
    return BackwardOf(network, lambda x: network(x + SMOOTHING * torch.randn_like(x)))


# --- training -------------------------------------------------------------------------------------
def cnn(channels: int = 1, activation: Activation = nn.ReLU) -> nn.Module:
    """A small network of images (N, channels, 28, 28)."""
    return nn.Sequential(
        nn.Conv2d(channels, 16, 5, stride=3),
        nn.BatchNorm2d(16),
        activation(),
        nn.Flatten(),
        nn.Linear(16 * 8 * 8, 10),
    )


def trained(
    make: Callable[[], nn.Module],
    images: Tensor,
    targets: Tensor,
    temperature: float = 1.0,
    epochs: int = 6,
) -> nn.Module:
    """A network fitted to classes (N,) or probabilities (N, classes), in evaluation mode."""
    with repeatable(0, CPU):
        network = make()
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
        for _ in range(epochs):
            for batch in torch.randperm(len(images)).split(64):
                optimizer.zero_grad()
                logits = network(images[batch]) / temperature
                functional.cross_entropy(logits, targets[batch]).backward()
                optimizer.step()
    return network.eval()


def distilled(images: Tensor, labels: Tensor) -> nn.Module:
    """Defensive distillation (Papernot et al. 2016, arXiv:1511.04508): a student of a teacher's
    probabilities, both at a high temperature, used without it."""
    teacher = trained(cnn, images, labels, TEMPERATURE, epochs=20)
    with torch.no_grad():
        soft = (teacher(images) / TEMPERATURE).softmax(1)
    return trained(cnn, images, soft, TEMPERATURE, epochs=20)


def cases(images: Tensor, labels: Tensor) -> list[Case]:
    """All networks, trained on images (N, 1, 28, 28) and labels (N,)."""
    plain = trained(cnn, images, labels)
    student = distilled(images, labels)
    warm = trained(lambda: cnn(LEVELS), thermometer(images), labels)
    winners = trained(lambda: cnn(activation=Winners), images, labels)
    through = "straight-through gradient"

    def straight(function: Callable[[Tensor], Tensor]) -> nn.Module:
        return Before(BackwardOf(function, lambda x: x), plain)

    return [
        Case("none", plain, plain, "the same gradient"),
        Case("staircase input", Before(staircase, plain), straight(staircase), through),
        Case("input through bytes", Before(quantised, plain), straight(quantised), through),
        Case("x + 0.02 sin(500 x)", Before(ripples, plain), straight(ripples), through),
        Case("logits × 100,000", After(plain, lambda z: 1e5 * z), plain, "logits without factor"),
        Case("10 · softmax", After(plain, lambda z: 10 * z.softmax(1)), plain, "logits instead"),
        Case(
            "distillation",
            student,
            After(student, lambda z: z / TEMPERATURE),
            "logits over the temperature",
        ),
        Case(
            "k-winners-take-all",
            winners,
            winners_gradient(winners),
            "gradient averaged over noise",
            passes=PASSES,
        ),
        Case(
            "noise layer",
            Before(noisy, plain),
            Before(noisy, plain),
            "gradient averaged over passes",
            passes=PASSES,
            random=True,
        ),
        Case(
            "noise layer, --eot 20",
            Before(noisy, plain),
            Before(noisy, plain),
            "gradient averaged over passes",
            passes=PASSES,
            random=True,
            eot=PASSES,
        ),
        Case(
            "thermometer encoding",
            Before(thermometer, warm),
            Before(BackwardOf(thermometer, soft_thermometer), warm),
            "gradient of a ramp",
        ),
    ]


# --- measurement ----------------------------------------------------------------------------------
def textbook_pgd(case: Case, images: Tensor, labels: Tensor, eps: float, steps: int = 20) -> float:
    """Accuracy under PGD as it is written in most tutorials: signs of the gradient of
    cross-entropy, steps of ε / 8, the last point judged."""
    with repeatable(0, CPU):
        x = (images + eps * (2 * torch.rand_like(images) - 1)).clamp(0, 1)
        for _ in range(steps):
            x.requires_grad_(True)
            loss = functional.cross_entropy(case.network(x), labels)
            (slope,) = torch.autograd.grad(loss, x, allow_unused=True)
            moved = x.detach() + (0 if slope is None else eps / 8 * slope.sign())
            x = images + (moved - images).clamp(-eps, eps)
            x = x.clamp(0, 1)
        with torch.no_grad():
            return _fraction(is_correct(case.network(x), labels))


def adaptive(case: Case, images: Tensor, labels: Tensor, eps: float, steps: int = 100) -> float:
    """Accuracy under APGD on cross-entropy, margin and, towards each class, DLR, with gradients of
    a network that knows the trick: the worst of the three for each image, judged on the network
    itself.

    A random network is judged by the mean over several passes, and the worst attack is the one with
    the lowest mean.
    """
    settings: list[dict[str, Any]] = [
        {"loss": "ce"},
        {"loss": "margin"},
        {"loss": "dlr", "target_classes": 9},
    ]
    right = []
    for given in settings[: 2 if case.passes > 1 else 3]:
        found = advlab.attack(
            case.adaptive,
            images,
            labels,
            "apgd",
            eps=eps,
            precision="fp32",
            steps=steps,
            eot=case.passes,
            **given,
        )
        right.append(_judged(case, found.images, labels))
    every = torch.stack(right)
    if case.random:
        return float(every.mean(1).min())
    return float(every.amin(0).mean())


@torch.no_grad()
def _judged(case: Case, images: Tensor, labels: Tensor) -> Tensor:
    """For each image how often the network is right, float64 (N,)."""
    with repeatable(1, CPU):
        passes = JUDGED if case.random else 1
        answers = [is_correct(case.network(images), labels).double() for _ in range(passes)]
    return torch.stack(answers).mean(0)


def _fraction(right: Tensor) -> float:
    return float(right.double().mean())


def verdict(
    case: Case, images: Tensor, labels: Tensor, eps: float, suite: str
) -> advlab.EvaluationResult:
    """What the suite says of the network."""
    return advlab.evaluate(
        case.network, images, labels, eps=eps, suite=suite, precision="fp32", eot=case.eot
    )


@dataclass(frozen=True)
class Measured:
    """What was measured of one network: accuracies, and the verdicts."""

    case: Case
    textbook: float
    quick: advlab.EvaluationResult
    standard: advlab.EvaluationResult
    adaptive: float

    def cells(self) -> list[str]:
        """The row of the table."""
        failed = {
            "quick": set(self.quick.checks_failed),
            "standard": set(self.standard.checks_failed),
        }
        both = failed["quick"] & failed["standard"]
        names = sorted(both) + [
            f"{name} ({suite})" for suite, found in failed.items() for name in sorted(found - both)
        ]
        return [
            self.case.name,
            percent(self.quick.clean_accuracy),
            percent(self.textbook),
            percent(self.quick.robust_accuracy),
            percent(self.standard.robust_accuracy),
            percent(self.adaptive),
            self.case.adaptive_words,
            ", ".join(names) or "–",
        ]


def measured(case: Case, images: Tensor, labels: Tensor, eps: float) -> Measured:
    """All figures of one network."""
    return Measured(
        case,
        textbook_pgd(case, images, labels, eps),
        verdict(case, images, labels, eps, "quick"),
        verdict(case, images, labels, eps, "standard"),
        adaptive(case, images, labels, eps),
    )


def excess(found: Sequence[Measured], suite: str) -> float:
    """By how many points the verdicts with no failed check exceed the adaptive attack, at most."""
    verdicts: list[tuple[advlab.EvaluationResult, float]] = [
        (getattr(one, suite), one.adaptive) for one in found
    ]
    return max(
        100 * (result.robust_accuracy - reached)
        for result, reached in verdicts
        if not result.checks_failed
    )


def main() -> None:
    """Measure all networks and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--eps", type=float, default=0.1)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--only", nargs="*", help="these tricks alone")
    parser.add_argument("--table", default="benchmarks/victims.md")
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = advlab.load_dataset("digits")
    images, labels = data.test.tensors(given.images)
    found = cases(*data.train.tensors())
    chosen = [case for case in found if not given.only or case.name in given.only]
    results = []
    for case in chosen:
        results.append(measured(case, images, labels, given.eps))
        print(" | ".join(results[-1].cells()), flush=True)
    about = [
        f"Accuracy at L∞ ε = {given.eps:g} on the first {given.images} test images of digits: "
        "under a textbook PGD of 20 steps on cross-entropy, the verdicts of the suites quick and "
        "standard, and under an attack that knows the trick (APGD with 100 steps on cross-entropy, "
        "margin and DLR). The suites run with their defaults, without the transfer attack, which "
        f"needs a second network. Seed 0. {_timing.machine()}; {_timing.versions(('torch',))}.",
        "Where no check fails, the verdict exceeds the accuracy under the adaptive attack by at "
        f"most {excess(results, 'quick'):.1f} points (quick) and {excess(results, 'standard'):.1f} "
        "points (standard). Of a random network each attack sees other draws of the noise, and an "
        "image that one of them breaks by chance is broken; the adaptive attack is judged by its "
        f"mean over {JUDGED} passes.",
        "Written by `python -m benchmarks.victims`.",
    ]
    header = [
        "trick",
        "clean",
        "textbook PGD",
        "quick",
        "standard",
        "adaptive",
        "adaptive by",
        "checks that fail",
    ]
    _timing.write(
        Path(given.table),
        "Networks that fool evaluations",
        about,
        header,
        [one.cells() for one in results],
    )


if __name__ == "__main__":
    main()
