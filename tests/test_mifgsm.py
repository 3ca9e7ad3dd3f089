"""MI-FGSM beside loops written out for one image after another, its parts beside torch's own, and
how far its images transfer."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy, interpolate, pad

from advlab.attacks import mifgsm, pgd
from advlab.metrics.classification import is_correct
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.transfer_gradient import gaussian_kernel, resizing, slope, smoothed
from advlab.perturbation.victim import Victim

EPS, STEP, STEPS = 0.1, 0.03, 5
ALL: dict[str, Any] = {
    "diversity": 0.7,
    "translation_kernel": 5,
    "scale_copies": 3,
    "nesterov": True,
    "variance_samples": 2,
}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Smooth, so that no entry of a gradient is zero; for images that are not square."""
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(2, 4, 3, padding=1),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(4 * 12 * 10, 5),
    ]
    return nn.Sequential(*layers).double().eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    torch.manual_seed(1)
    return (torch.rand(6, 2, 12, 10, dtype=torch.float64) * 1.4 - 0.2).clamp(0, 1)


@pytest.fixture(scope="module")
def labels(network: nn.Module, images: Tensor) -> Tensor:
    answer: Tensor = network(images).argmax(1)
    return answer


def perturb(
    network: nn.Module, images: Tensor, goal: Goal, ids: Tensor | None = None, **changes: Any
) -> Tensor:
    """All steps, as for another network, unless told otherwise."""
    given = {"steps": STEPS, "step_size": STEP, "surrogate": "another", **changes}
    random = ImageRandom(0, torch.arange(len(images)) if ids is None else ids)
    return mifgsm.perturb(Victim(network), images, goal, random, EPS, mifgsm.Options(**given))


# --- beside loops ---------------------------------------------------------------------------------
def naive_kernel(side: int) -> Tensor:
    """exp(-(i² + j²) / 2σ²) entry by entry, σ a third of the radius."""
    radius = side // 2
    sigma = radius / 3
    kernel = torch.tensor(
        [
            [
                2.718281828459045 ** (-(i * i + j * j) / (2 * sigma**2))
                for j in range(-radius, radius + 1)
            ]
            for i in range(-radius, radius + 1)
        ],
        dtype=torch.float64,
    )
    return kernel / kernel.sum()


def naive_shrunk(image: Tensor, size: float, down: float, right: float) -> Tensor:
    """Bilinear resizing and padding by torch's own functions."""
    sides = []
    for side in image.shape[-2:]:
        least = int(0.9 * side)
        sides.append(least + int(size * (side - least)))
    free = [side - new for side, new in zip(image.shape[-2:], sides, strict=True)]
    top, left = int(down * (free[0] + 1)), int(right * (free[1] + 1))
    small = interpolate(image, size=sides, mode="bilinear", align_corners=False)
    return pad(small, [left, free[1] - left, top, free[0] - top])


def naive(
    network: nn.Module,
    clean: Tensor,
    label: Tensor,
    targeted: bool,
    number: int,
    *,
    momentum: float = 1.0,
    diversity: float = 0.0,
    translation_kernel: int = 1,
    scale_copies: int = 1,
    nesterov: bool = False,
    variance_samples: int = 0,
) -> Tensor:
    """The algorithms of the papers for one image, with torch's own cross-entropy and gradients."""
    random = ImageRandom(0, torch.tensor([number]))
    sign = -1 if targeted else 1

    def averaged(at: Tensor) -> Tensor:
        at = at.detach().requires_grad_(True)
        total = torch.zeros_like(at)
        for power in range(scale_copies):
            seen = at / 2**power
            if diversity:
                chance, size, down, right = random.uniform((4,))[0].tolist()
                if chance < diversity:
                    seen = naive_shrunk(seen, size, down, right)
            loss = sign * cross_entropy(network(seen), label)
            total = total + torch.autograd.grad(loss, at)[0]
        return total / scale_copies

    x, g, v = clean, torch.zeros_like(clean), torch.zeros_like(clean)
    for _ in range(STEPS):
        point = x + STEP * momentum * g if nesterov else x
        gradient = averaged(point)
        direction = gradient + v
        if variance_samples:
            around = torch.zeros_like(x)
            for _ in range(variance_samples):
                noise = (2 * random.uniform(tuple(x.shape[1:])) - 1).double()
                around += averaged(point + 1.5 * EPS * noise)
            v = around / variance_samples - gradient
        if translation_kernel > 1:
            kernel = naive_kernel(translation_kernel)
            radius = translation_kernel // 2
            wide = pad(direction, [radius] * 4)
            direction = torch.stack(
                [
                    (
                        wide[:, :, i : i + translation_kernel, j : j + translation_kernel] * kernel
                    ).sum((2, 3))
                    for i in range(x.shape[2])
                    for j in range(x.shape[3])
                ],
                dim=2,
            ).view_as(x)
        g = momentum * g + direction / direction.abs().mean()
        x = torch.minimum(torch.maximum(x + STEP * g.sign(), clean - EPS), clean + EPS).clamp(0, 1)
    return x


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(
    "options",
    [{}, *({name: value} for name, value in ALL.items()), ALL],
    ids=["plain", *ALL, "all"],
)
def test_the_images_are_those_of_the_papers_loops(
    network: nn.Module, images: Tensor, labels: Tensor, options: dict[str, Any], targeted: bool
) -> None:
    classes = (labels + 1) % 5 if targeted else labels
    ours = perturb(network, images, Goal(classes, targeted), **options)
    for number in range(len(images)):
        one = slice(number, number + 1)
        theirs = naive(network, images[one], classes[one], targeted, number, **options)
        assert torch.allclose(ours[one], theirs, rtol=0, atol=1e-9)
    if options:
        plain = perturb(network, images, Goal(classes, targeted))
        assert ((ours - plain).flatten(1).abs().amax(1) > STEP / 2).any(), "it must do something"


def test_another_decay_is_that_of_the_papers_loop(
    network: nn.Module, images: Tensor, labels: Tensor
) -> None:
    ours = perturb(network, images, Goal(labels), step_momentum=0.5, nesterov=True)
    for number in range(len(images)):
        one = slice(number, number + 1)
        theirs = naive(
            network, images[one], labels[one], False, number, momentum=0.5, nesterov=True
        )
        assert torch.allclose(ours[one], theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("side", [3, 5, 15])
def test_the_kernel_is_gaussian_and_smooths_each_channel(side: int) -> None:
    weights = gaussian_kernel(side)
    assert torch.allclose(weights[:, None] * weights, naive_kernel(side), rtol=0, atol=1e-12)
    torch.manual_seed(0)
    gradient = torch.randn(2, 3, 9, 7, dtype=torch.float64)
    expected = conv2d(
        gradient, naive_kernel(side).expand(3, 1, side, side), padding=side // 2, groups=3
    )
    assert torch.allclose(smoothed(gradient, weights), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sides", [(8, 8), (28, 28), (31, 20), (1, 2)])
def test_resizing_is_bilinear_and_stays_within_the_image(sides: tuple[int, int]) -> None:
    torch.manual_seed(0)
    images = torch.rand(20, 2, *sides, dtype=torch.float64)
    size, down, right = torch.rand(3, 20, dtype=torch.float64)
    rows, columns = resizing(*sides, size, down, right)
    shrunk = rows @ images @ columns.mT
    if min(sides) > 1:
        for number in range(20):
            expected = naive_shrunk(
                images[number : number + 1],
                *(float(drawn[number]) for drawn in (size, down, right)),
            )
            assert torch.allclose(shrunk[number], expected[0], rtol=0, atol=1e-12)
    assert shrunk.min() >= 0
    assert shrunk.max() <= images.max() + 1e-12


def test_the_slope_is_that_of_cross_entropy_and_never_zero() -> None:
    torch.manual_seed(0)
    logits = (3 * torch.randn(8, 5, dtype=torch.float64)).requires_grad_(True)
    classes = torch.arange(8) % 5
    for targeted, sign in ((False, 1), (True, -1)):
        goal = Goal(classes, targeted)
        loss = sign * cross_entropy(logits, classes, reduction="sum")
        (true,) = torch.autograd.grad(loss, logits)
        (log_odds,) = torch.autograd.grad(goal.loss(logits, "ce").sum(), logits)
        assert torch.allclose(slope(goal, logits)[:, None] * log_odds, true, rtol=0, atol=1e-12)
    sure = torch.tensor([[300.0, 0.0]])
    assert float(slope(Goal(torch.tensor([0])), sure)) > 0


def test_averages_keep_a_direction_where_the_probability_rounds_to_one() -> None:
    layer = nn.Linear(4, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[300.0] * 4, [-300.0] * 4]))
        layer.bias.zero_()
    model = nn.Sequential(nn.Flatten(), layer).eval()
    image, label = torch.full((1, 1, 2, 2), 0.9), torch.tensor([0])
    perturbed = perturb(model, image, Goal(label), scale_copies=2, variance_samples=2)
    assert torch.allclose(perturbed, torch.full_like(image, 0.9 - EPS))


# --- beside pgd, in batches and without a surrogate -----------------------------------------------
def test_without_options_it_is_pgd_with_momentum_bit_for_bit(
    network: nn.Module, images: Tensor, labels: Tensor
) -> None:
    for dtype in (torch.float32, torch.float64):
        model, given = copy.deepcopy(network).to(dtype), images.to(dtype)
        options = pgd.Options(
            steps=STEPS,
            step_size=STEP,
            step_momentum=1.0,
            step_schedule="constant",
            random_start=False,
        )
        random = ImageRandom(0, torch.arange(len(images)))
        theirs = pgd.perturb(Victim(model), given, Goal(labels), random, EPS, options)
        ours = perturb(model, given, Goal(labels), surrogate=None)
        assert torch.equal(ours, theirs)


def test_the_step_is_the_papers_where_none_is_given(
    network: nn.Module, images: Tensor, labels: Tensor
) -> None:
    own = perturb(network, images, Goal(labels), steps=4, step_size=None)
    assert torch.equal(own, perturb(network, images, Goal(labels), steps=4, step_size=EPS / 4))


def test_with_every_option_an_image_gets_the_same_perturbation_in_any_batch(
    network: nn.Module, images: Tensor, labels: Tensor
) -> None:
    for changes in (ALL, {**ALL, "surrogate": None}):
        together = perturb(network, images, Goal(labels), **changes)
        assert torch.equal(together, perturb(network, images, Goal(labels), **changes))
        for number in range(len(images)):
            one = torch.tensor([number])
            alone = perturb(network, images[one], Goal(labels[one]), ids=one, **changes)
            assert torch.allclose(alone, together[one], rtol=0, atol=1e-9)


def test_without_a_surrogate_an_image_is_left_at_its_first_success(
    network: nn.Module, images: Tensor, labels: Tensor
) -> None:
    """Though the gradients are taken elsewhere."""
    victim, goal = Victim(network), Goal(labels)
    given = {**ALL, "step_size": 0.01}
    way = [perturb(network, images, goal, **{**given, "steps": steps}) for steps in range(1, 11)]
    found = perturb(network, images, goal, **{**given, "steps": 10, "surrogate": None})
    first = []
    for number in range(len(images)):
        hits = [
            step
            for step, points in enumerate(way)
            if not is_correct(
                victim.logits(points[number : number + 1]), labels[number : number + 1]
            ).all()
        ]
        first.append(hits[0] if hits else 9)
        assert torch.allclose(found[number], way[first[-1]][number], rtol=0, atol=1e-9)
    assert min(first) < 9, "some image must leave early"


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="must be an odd number"):
        mifgsm.Options(translation_kernel=4)
