"""The boundary attack and GeoDA beside independent versions, and what they may see and ask."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foolbox.attacks.boundary_attack import BoundaryAttack, draw_proposals
from foolbox.models.pytorch import PyTorchModel
from scipy.fft import idctn
from torch import Tensor, nn
from watched import Watched

from advlab.attacks import boundary, geoda
from advlab.components import load_component
from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.networks import checkpoint
from advlab.perturbation.geometry import P, norm
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.victim import Victim

CASES = [("boundary", "l2"), ("geoda", "l2"), ("geoda", "linf")]
each = pytest.mark.parametrize(("name", "which"), CASES)
FAR = 1000.0


@pytest.fixture(scope="module")
def network(runs: Path) -> nn.Module:
    return checkpoint.load(runs / "train" / "other")[0]


@pytest.fixture(scope="module")
def digits(network: nn.Module) -> tuple[Tensor, Tensor]:
    """Twelve images that the network has right, and their labels."""
    test = load_images.load(DataOptions(dataset="digits")).test
    images, labels = test.inputs(slice(0, 30)), test.labels[:30]
    with torch.no_grad():
        right = (network(images).argmax(1) == labels).nonzero().squeeze(1)[:12]
    return images[right], labels[right]


def attack(
    name: str,
    victim: Victim,
    images: Tensor,
    goal: Goal,
    eps: float = FAR,
    ids: Tensor | None = None,
    **options: Any,
) -> Tensor:
    module = load_component("advlab.attacks", name, "attack")
    random = ImageRandom(0, torch.arange(len(images)) if ids is None else ids)
    perturbed: Tensor = module.perturb(
        victim, images, goal, random, eps, module.Options.model_validate(options)
    )
    return perturbed


class Halves(nn.Module):
    """Class 0 where the left half of an image is no brighter than the right by ``lead``, else class
    1."""

    def __init__(self, lead: float) -> None:
        super().__init__()
        self.lead = lead

    def forward(self, x: Tensor) -> Tensor:
        half = x.shape[3] // 2
        more = x[..., :half].flatten(1).mean(1) - x[..., half:].flatten(1).mean(1) - self.lead
        return torch.stack([-more, more], 1)


class Stopped(Exception):
    """The reference has asked what it may."""


class Counted(nn.Module):
    """The network, which keeps how near to ``image`` (1, C, H, W) the nearest success was that it
    was asked about, and stops after ``queries``."""

    def __init__(self, network: nn.Module, image: Tensor, label: int, p: float, queries: int):
        super().__init__()
        self.network, self.image, self.label, self.p = network, image, label, p
        self.remaining, self.nearest = queries, math.inf

    def forward(self, x: Tensor) -> Tensor:
        if self.remaining < len(x):
            raise Stopped
        self.remaining -= len(x)
        logits: Tensor = self.network(x)
        broken = logits.argmax(1) != self.label
        if broken.any():
            self.nearest = min(self.nearest, float(norm(x - self.image, self.p)[broken].min()))
        return logits


def test_the_boundary_attack_comes_nearer_than_foolboxs_by_as_many_queries(
    network: nn.Module,
) -> None:
    """Foolbox adapts the lengths of steps rarely, for a hundred times as many steps. The distances
    of one image differ by a fifth from draw to draw."""
    test = load_images.load(DataOptions(dataset="digits")).test
    images, labels = test.inputs(slice(0, 30)), test.labels[:30]
    with torch.no_grad():
        right = (network(images).argmax(1) == labels).nonzero().squeeze(1)[:20]
    images, labels = images[right], labels[right]
    torch.manual_seed(0)
    theirs = []
    for image, label in zip(images.split(1), labels.split(1), strict=True):
        counted = Counted(network, image, int(label), 2, 300).eval()
        with pytest.raises(Stopped):
            BoundaryAttack().run(PyTorchModel(counted, bounds=(0, 1), device="cpu"), image, label)
        theirs.append(counted.nearest)
    found = attack("boundary", Victim(network), images, Goal(labels), queries=300)
    assert Goal(labels).reached(network(found)).all()
    ratios = norm(found - images, 2).numpy() / np.array(theirs)
    assert float(np.exp(np.log(ratios).mean())) <= 1.05


def test_a_step_of_the_boundary_attack_is_foolboxs(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the same points by the same noise, one for the whole batch: both candidates."""
    import eagerpy as ep
    from eagerpy.tensor.pytorch import PyTorchTensor
    from foolbox.types import Bounds

    numbers = torch.Generator().manual_seed(0)
    clean, x = torch.rand(2, 5, 2, 6, 6, generator=numbers).unbind()
    noise = torch.randn(72, 1, generator=numbers)
    spherical, source = torch.rand(2, 5, generator=numbers).div(10).unbind()
    back = clean - x
    distance = norm(back, 2)
    unit = back / distance.view(-1, 1, 1, 1)
    monkeypatch.setattr(ep, "normal", lambda *_: PyTorchTensor(noise))
    given: list[Any] = [clean, x, back, unit, distance, spherical, source]
    theirs = draw_proposals(Bounds(0, 1), *map(PyTorchTensor, given))
    drawn = noise.view(1, 2, 6, 6).expand(5, -1, -1, -1)
    ours = boundary._proposals(clean, x, drawn, spherical, source)
    torch.testing.assert_close(ours[1], theirs[0].raw)
    torch.testing.assert_close(ours[0], theirs[1].raw)


def naive_geoda(
    network: Counted, image: Tensor, start: Tensor, which: str, fraction: float, seed: int
) -> None:
    """Algorithm of the paper for one image, after the authors' code: plain loops, sums of signed
    noise of low frequencies, all of them added up, and a search along the ray."""
    rng = np.random.default_rng(seed)
    side = image.shape[-1]

    def broken(x: Tensor) -> bool:
        return int(network(x.clamp(0, 1)).argmax()) != network.label

    def bisected(low: Tensor, high: Tensor) -> Tensor:
        while float((high - low).norm()) > 1e-3:
            middle = (low + high) / 2
            low, high = (low, middle) if broken(middle) else (middle, high)
        return high

    x, normal, votes = bisected(image, start), torch.zeros_like(image), 50.0
    while True:
        for _ in range(round(votes)):
            waves = np.zeros((side, side))
            kept = round(fraction * side)
            waves[:kept, :kept] = rng.standard_normal((kept, kept))
            noise = torch.from_numpy(idctn(waves, norm="ortho").astype(np.float32)).view_as(image)
            normal += noise if broken(x + 0.02 * noise) else -noise
        direction = normal / normal.norm() if which == "l2" else normal.sign()
        length = 0.0
        while not broken(image + length * direction):
            length += 0.25 if which == "l2" else 0.02
        x, votes = bisected(image, (image + length * direction).clamp(0, 1)), votes * 1.4


@pytest.mark.parametrize("which", ["l2", "linf"])
def test_geoda_comes_as_near_as_a_naive_version_by_as_many_queries(
    which: str, network: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """A start is 40 of the queries."""
    images, labels = digits[0][:6], digits[1][:6]
    starts = attack("boundary", Victim(network), images, Goal(labels), queries=40)
    theirs = []
    for number in range(6):
        one = slice(number, number + 1)
        counted = Counted(network, images[one], int(labels[number]), P[which], 660).eval()
        with pytest.raises(Stopped), torch.no_grad():
            naive_geoda(counted, images[one], starts[one], which, 1 / 3, number)
        theirs.append(counted.nearest)
    found = attack("geoda", Victim(network), images, Goal(labels), norm=which, queries=700)
    assert Goal(labels).reached(network(found)).all()
    # Image by image, as the median of few images lies where one of them happens to end.
    ratio = norm(found - images, P[which]).numpy() / np.array(theirs)
    assert float(np.median(ratio)) <= 1.05


def test_the_noise_of_geoda_has_low_frequencies_alone() -> None:
    """Beside SciPy's inverse cosine transform of the same numbers."""
    images = torch.zeros(2, 3, 12, 9)
    drawn = geoda._Waves(images, 1 / 3).draw(ImageRandom(0, torch.arange(2)), 4)
    weights = ImageRandom(0, torch.arange(2)).normal((4, 3, 4, 3)).numpy()
    padded = np.zeros((2, 4, 3, 12, 9))
    padded[..., :4, :3] = weights
    expected = idctn(padded, axes=(-2, -1), norm="ortho")
    np.testing.assert_allclose(drawn.numpy(), expected, atol=1e-5)


def test_the_queries_for_normals_grow_and_spend_the_budget() -> None:
    assert geoda._first_votes(40, 16) == 50, "the first one gets what there is"
    for budget in (200, 1000, 5000):
        begin = geoda._first_votes(budget, 16)
        spent, points = 0.0, 0
        while spent + 16 < budget:
            spent += begin * 0.6 ** (-2 * points / 3) + 16
            points += 1
        assert spent == pytest.approx(budget)
        assert 50 <= begin < 200


@each
@pytest.mark.parametrize("targeted", [False, True])
def test_on_a_linear_network_they_come_near_the_least_distance(
    name: str, which: str, targeted: bool
) -> None:
    """The margin is a mean over two halves of 18 pixels: the plane is lead / 2 away in L∞, and lead
    · √36 / 2 in L2."""
    images, lead = torch.full((2, 1, 6, 6), 0.5), 0.3
    classes = torch.full((2,), int(targeted))
    goal = Goal(classes, targeted)
    least = lead / 2 if which == "linf" else lead * 3
    # Halves are no waves: to point along them takes all frequencies.
    more: dict[str, Any] = {"low_frequencies": 1.0} if name == "geoda" else {}
    found = attack(name, Victim(Halves(lead).eval()), images, goal, norm=which, queries=800, **more)
    assert goal.reached(Halves(lead)(found)).all()
    distance = norm(found - images, P[which])
    assert (distance >= least * (1 - 1e-5)).all()
    assert (distance <= (1.5 if name == "boundary" else 1.1) * least).all()
    nothing = attack(
        name,
        Victim(Halves(lead).eval()),
        images,
        goal,
        0.99 * least,
        norm=which,
        queries=200,
        **more,
    )
    assert torch.equal(nothing, images), "what is farther than eps is not returned"


@each
@pytest.mark.parametrize(
    ("queries", "quantize", "lead"),
    [(1, True, 0.3), (30, False, 5.0), (30, True, 0.3), (200, False, 0.3), (200, True, 0.3)],
)
def test_each_image_asks_what_it_may_and_no_more(
    name: str, which: str, queries: int, quantize: bool, lead: float
) -> None:
    """With a lead of 5 there is no way out."""
    images = torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(0)) * 0.1
    goal, apart = Goal(torch.zeros(2, dtype=torch.int64)), []
    options: dict[str, Any] = {"norm": which, "queries": queries, "quantize": quantize}
    for number in range(2):
        alone, one = Watched(Halves(lead).eval()), torch.tensor([number])
        attack(name, alone, images[one], goal.select(one), FAR, ids=one, **options)
        assert alone.asked <= queries
        apart.append(alone.asked)
    together = Watched(Halves(lead).eval())
    attack(name, together, images, goal, FAR, **options)
    assert together.asked == sum(apart)
    if queries == 200:
        assert min(apart) > 0.9 * queries, "they make use of them"


@each
def test_only_answers_are_seen_and_never_a_gradient(
    name: str, which: str, network: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """One-hot answers in place of logits give the same images, bit for bit."""

    class Answers(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            logits = network(x)
            marked: Tensor = logits == logits.amax(1, keepdim=True)
            return marked.float()

    images, labels = digits
    found = [
        attack(name, Watched(kind), images, Goal(labels), norm=which, queries=80)
        for kind in (network, Answers().eval())
    ]
    assert torch.equal(*found)
    assert not torch.equal(found[0], images)


@each
def test_an_image_gets_the_same_answer_in_any_batch(
    name: str, which: str, network: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """In float64, since sums over another batch size differ in a last bit, on which an answer at
    the boundary may hang. Some targets are found late, or never."""
    images, labels = digits[0][:8], digits[1][:8]
    goal, ids = Goal((labels + 4) % 10, True), torch.arange(8)
    victim, images = Victim(network.double()), images.double()
    try:
        together = attack(name, victim, images, goal, norm=which, queries=150)
        moved = (together != images).flatten(1).any(1)
        assert moved.sum() >= 3
        for part in ids.flip(0).split(5):
            apart = attack(
                name, victim, images[part], goal.select(part), ids=part, norm=which, queries=150
            )
            assert torch.allclose(apart, together[part], rtol=0, atol=1e-9)
    finally:
        network.float()


@each
def test_bytes_reach_the_goal_within_the_ball(
    name: str, which: str, network: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = (digits[0] * 255).round() / 255, digits[1]
    eps = 0.5 if which == "linf" else 12.0
    found = attack(
        name, Victim(network), images, Goal(labels), eps, norm=which, queries=150, quantize=True
    )
    assert torch.equal(found, (found * 255).round() / 255)
    assert (norm(found - images, P[which]) <= eps * (1 + 1e-5)).all()
    reached = Goal(labels).reached(network(found))
    assert torch.equal(reached, (found != images).flatten(1).any(1))
    assert reached.sum() >= 10


@each
def test_an_image_at_its_goal_is_left_alone_and_asked_about_once(name: str, which: str) -> None:
    images, victim = torch.rand(5, 1, 4, 4), Watched(Halves(-5.0).eval())
    goal = Goal(torch.zeros(5, dtype=torch.int64))
    assert torch.equal(attack(name, victim, images, goal, norm=which), images)
    assert victim.asked == 5
