"""What each defence does to a training step: the images it makes, the loss it descends, and what it
leaves alone."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from advlab.components import component_names, load_component
from advlab.config.fields import image_models
from advlab.config.options.run import AdversarialOptions, DefendOptions
from advlab.config.registry import COMMANDS
from advlab.data.image_set import Images
from advlab.defenses import adversarial, distill, fast, free, mart, pgd, smooth, trades
from advlab.evaluation.certify import (
    ABSTAIN,
    Certified,
    Smoothing,
    certify,
    largest_radius,
    lower_bound,
)
from advlab.logs import collected
from advlab.perturbation.geometry import norm as length
from advlab.perturbation.victim import Victim
from advlab.robust_training.inner_attack import grown
from advlab.robust_training.smoothing import (
    RadiusWatch,
    attack_smoothed,
    noise_for,
    noisy_copies,
    radii,
    radius_loss,
)
from advlab.robust_training.validation import RobustnessWatch, collapsed
from advlab.runs.machine import Machine
from advlab.training.fit import TrainingProgress, fit
from advlab.training.objective import Objective

DEFENCES = component_names("advlab.defenses")
CPU = Machine(torch.device("cpu"), "fp32")
P = {"linf": math.inf, "l2": 2.0, "l1": 1.0}


class Small(nn.Module):
    """A network with what must not be disturbed: batch statistics and dropout. It remembers what it
    was shown in training."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.last = (
            nn.Conv2d(1, 6, 3),
            nn.BatchNorm2d(6),
            nn.Linear(6 * 36, 4),
        )
        self.drop = nn.Dropout(dropout)
        self.shown: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.shown.append(x.detach().clone())
        answer: Tensor = self.last(self.drop(self.norm(self.first(x)).relu().flatten(1)))
        return answer


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(12, 1, 8, 8, generator=generator), torch.randint(
        0, 4, (12,), generator=generator
    )


def made(name: str, **changes: Any) -> Objective:
    module = load_component("advlab.defenses", name, "defence")
    objective: Objective = module.objective(module.Options(**changes), 0.0, CPU)
    objective.begin()
    return objective


# --- all of them ----------------------------------------------------------------------------------
@pytest.mark.parametrize("name", DEFENCES)
def test_every_defence_says_what_it_is_and_either_trains_or_filters(name: str) -> None:
    module = load_component("advlab.defenses", name, "defence")
    assert issubclass(module.Options, DefendOptions)
    assert module.Options.__doc__
    assert (
        "arXiv" in str(module.__doc__)
        or "ICLR" in str(module.__doc__)
        or name in ("augment", "filter")
    )
    assert hasattr(module, "objective") != hasattr(module, "in_front")


@pytest.mark.parametrize("network", image_models())
@pytest.mark.parametrize("name", DEFENCES)
def test_the_options_of_a_defence_and_of_a_network_make_one_schema(name: str, network: str) -> None:
    """All fields of both; the defence's defaults win over the network's, which win over the
    command's."""
    own = load_component("advlab.defenses", name, "defence").Options
    trained = load_component("advlab.models", network, "model").Options
    joined = COMMANDS["defend"].options(name, network)
    assert set(joined.model_fields) == set(own.model_fields) | set(trained.model_fields)
    for key, field in joined.model_fields.items():
        owner = own if key in own.model_fields else trained
        assert field.default == owner.model_fields[key].default
    assert issubclass(joined, own)
    assert issubclass(joined, trained)


TRAINED: list[tuple[str, dict[str, Any]]] = [
    *(
        (name, {})
        for name in DEFENCES
        if hasattr(load_component("advlab.defenses", name, ""), "objective")
    ),
    ("smooth", {"training": "smoothadv", "copies": 2}),
    ("smooth", {"training": "macer", "copies": 2}),
]


@pytest.mark.parametrize(
    ("name", "settings"), TRAINED, ids=[more.get("training", one) for one, more in TRAINED]
)
def test_a_stopped_training_with_any_defence_ends_in_the_bits_of_an_unbroken_one(
    name: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    kind: Any = COMMANDS["defend"].options(name, "mlp")
    options = kind(epochs=3, batch_size=16, **settings)
    generator = torch.Generator().manual_seed(0)
    images = Images(
        torch.randint(0, 256, (50, 1, 8, 8), generator=generator).to(torch.uint8),
        torch.randint(0, 4, (50,), generator=generator),
    )

    class Stopping:
        """The objective, which somebody interrupts in the second epoch."""

        def __init__(self, inner: Objective) -> None:
            self.inner, self.calls, self.replays = inner, 0, inner.replays

        def begin(self) -> None:
            self.inner.begin()

        def after_backward(self) -> None:
            self.inner.after_backward()

        def __call__(self, *given: Any) -> tuple[Tensor, Tensor]:
            self.calls += 1
            if self.calls == 6 * self.replays:
                raise KeyboardInterrupt
            return self.inner(*given)

    def trained(folder: Path, stop: bool) -> tuple[Tensor, TrainingProgress]:
        torch.manual_seed(0)
        model = nn.Sequential(  # a chain, for which interval bounds are known
            nn.Conv2d(1, 6, 3),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(6 * 36, 4),
        )
        objective: Any = load_component("advlab.defenses", name, "").objective(options, 0.1, CPU)
        folder.mkdir(exist_ok=True)
        watch = None
        if isinstance(options, AdversarialOptions):
            watch = RobustnessWatch(
                images,
                options.model_copy(update={"on_overfitting": "warn"}),
                0,
                CPU,
            )
        progress = fit(
            model,
            images,
            images,
            options,
            CPU,
            folder,
            keep=lambda network, now: None,
            objective=Stopping(objective) if stop else objective,  # type: ignore[arg-type]
            watch=watch,
        )
        return torch.cat(
            [tensor.double().flatten() for tensor in model.state_dict().values()]
        ), progress

    whole, progress = trained(tmp_path / "whole", stop=False)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "stopped", stop=True)
    again, resumed = trained(tmp_path / "stopped", stop=False)
    assert torch.equal(whole, again)
    strip = [
        {key: value for key, value in line.items() if "second" not in key}
        for line in progress.history
    ]
    assert strip == [
        {key: value for key, value in line.items() if "second" not in key}
        for line in resumed.history
    ]


# --- the images that are trained on ---------------------------------------------------------------
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("name", ["adversarial", "fast", "free", "mart", "pgd", "trades"])
def test_images_of_a_step_lie_in_the_ball_and_in_the_box(
    name: str, norm: str, batch: tuple[Tensor, Tensor]
) -> None:
    eps = {"linf": 0.1, "l2": 0.8, "l1": 4.0}[norm]
    model = Small().train()
    objective = made(name, norm=norm, eps=eps, warmup=0.5)
    for done in (0.0, 0.25, 1.0):
        model.shown.clear()
        for _ in range(objective.replays):
            loss, logits = objective(model, *batch, done)
            loss.backward()
        assert logits.shape == (12, 4)
        assert model.training
        perturbed = model.shown[-1][-12:]
        assert perturbed.min() >= 0
        assert perturbed.max() <= 1
        size = length(perturbed - batch[0], P[norm])
        assert size.max() <= min(1, done / 0.5) * eps + 1e-5
        if done:
            assert size.max() > 0.1 * eps * min(1, done / 0.5)


@pytest.mark.parametrize("name", ["adversarial", "fast", "mart", "pgd", "trades"])
def test_making_the_images_leaves_statistics_gradients_and_mode_alone(
    name: str, batch: tuple[Tensor, Tensor]
) -> None:
    """After a step the batch statistics are those of one forward pass over what was trained on, and
    nothing has a gradient."""
    model, other = Small(dropout=0.5).train(), Small(dropout=0.5).train()
    made(name, eps=0.1)(model, *batch, 1.0)
    assert len(model.shown) == 1, "one pass in training mode"
    other(model.shown[0])
    assert torch.allclose(model.norm.running_mean, other.norm.running_mean)  # type: ignore[arg-type]
    assert model.norm.num_batches_tracked == 1
    assert all(
        parameter.grad is None and parameter.requires_grad for parameter in model.parameters()
    )


@pytest.mark.parametrize("name", ["fast", "pgd"])
def test_images_of_a_step_are_worse_than_random_ones(
    name: str, batch: tuple[Tensor, Tensor]
) -> None:
    model = Small().train()
    made(name, eps=0.1, warmup=0)(model, *batch, 1.0)
    model.eval()

    def loss(images: Tensor) -> float:
        return float(functional.cross_entropy(model(images), batch[1]).detach())

    random = (batch[0] + 0.1 * (2 * torch.rand_like(batch[0]) - 1)).clamp(0, 1)
    assert loss(model.shown[0]) > max(loss(random), loss(batch[0])) + 0.01


# --- the losses, against naive ones ---------------------------------------------------------------
def test_the_mixed_loss_is_the_naive_one_and_its_fgsm_the_papers(
    batch: tuple[Tensor, Tensor],
) -> None:
    inputs, labels = batch
    model = Small().train()
    loss, logits = made("adversarial", eps=0.1, clean_fraction=0.3)(model, inputs, labels, 0.0)
    together = model.shown[0]
    assert torch.equal(together[:12], inputs)
    leaf = inputs.clone().requires_grad_(True)
    functional.cross_entropy(Small().eval()(leaf), labels).backward()
    assert leaf.grad is not None
    assert torch.allclose(together[12:], (inputs + 0.1 * leaf.grad.sign()).clamp(0, 1), atol=1e-6)
    answers = Small().train()(together)
    naive = 0.3 * functional.cross_entropy(answers[:12], labels) + 0.7 * functional.cross_entropy(
        answers[12:], labels
    )
    assert torch.allclose(loss, naive, atol=1e-6)
    assert torch.allclose(logits, answers[:12], atol=1e-6)


def test_the_trades_loss_is_the_naive_one(batch: tuple[Tensor, Tensor]) -> None:
    inputs, labels = batch
    model = Small().train()
    loss, _ = made("trades", eps=0.1, beta=2.5)(model, inputs, labels, 1.0)
    clean, moved = Small().train()(model.shown[0]).detach().double().chunk(2)
    total = 0.0
    for row, other, label in zip(clean.softmax(1), moved.softmax(1), labels, strict=True):
        total += -math.log(float(row[label])) + 2.5 * sum(
            float(p) * math.log(float(p) / float(q)) for p, q in zip(row, other, strict=True)
        )
    assert float(loss.detach()) == pytest.approx(total / 12, rel=1e-4)


def test_the_mart_loss_is_the_naive_one(batch: tuple[Tensor, Tensor]) -> None:
    inputs, labels = batch
    model = Small().train()
    loss, logits = made("mart", eps=0.1, beta=2.5)(model, inputs, labels, 1.0)
    clean, moved = Small().train()(model.shown[0]).detach().double().chunk(2)
    total = 0.0
    for row, other, label in zip(clean.softmax(1), moved.softmax(1), labels, strict=True):
        p, q = row.tolist(), other.tolist()
        wrong = max(value for number, value in enumerate(q) if number != int(label))
        divergence = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        total -= math.log(q[int(label)]) + math.log(1 - wrong)
        total += 2.5 * divergence * (1 - p[int(label)])
    assert float(loss.detach()) == pytest.approx(total / 12, rel=1e-4)
    assert torch.allclose(logits.detach().double(), clean, atol=1e-5)


def test_the_mart_loss_is_finite_where_a_wrong_class_is_certain(
    batch: tuple[Tensor, Tensor],
) -> None:
    inputs, labels = batch
    model = Small().train()
    with torch.no_grad():
        model.last.weight.mul_(1e4)
    loss, _ = made("mart", eps=0.1)(model, inputs, labels, 1.0)
    loss.backward()
    assert loss.isfinite()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def test_distillation_compares_probabilities_at_the_temperature(
    batch: tuple[Tensor, Tensor],
) -> None:
    """Both losses beside naive ones; the teacher is not trained, and the logits are not divided."""
    (images, labels), temperature = batch, 7.0
    model, teacher = Small().train(), Small().eval()
    with torch.no_grad():
        teacher.last.weight.mul_(3)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    loss, logits = made("distill", temperature=temperature)(model, images, labels, 0.5)
    naive = (logits / temperature).exp()
    chosen = (naive / naive.sum(1, keepdim=True)).gather(1, labels[:, None])
    assert torch.allclose(loss, -chosen.log().mean())
    options = distill.Options(temperature=temperature)
    loss, logits = distill.distilled(options, teacher)(model, images, labels, 0.5)
    wanted, given = ((one / temperature).softmax(1) for one in (teacher(images), logits))
    assert torch.allclose(loss, -(wanted * given.log()).sum(1).mean())
    assert torch.equal(logits, model(images))
    loss.backward()
    assert all(weight.grad is None for weight in teacher.parameters())
    assert all(torch.equal(teacher.state_dict()[name], value) for name, value in before.items())


@pytest.mark.parametrize("name", ["mart", "pgd", "trades"])
def test_weight_perturbation_raises_the_loss_and_leaves_no_trace(
    name: str, batch: tuple[Tensor, Tensor]
) -> None:
    losses = []
    for awp in (0.0, 0.05):
        model = Small()
        before = [parameter.detach().clone() for parameter in model.parameters()]
        torch.manual_seed(3)
        objective = made(name, eps=0.1, awp=awp)
        loss, _ = objective(model, *batch, 1.0)
        loss.backward()
        objective.after_backward()
        losses.append(float(loss))
        for was, now in zip(before, model.parameters(), strict=True):
            assert torch.equal(was, now)
    assert losses[1] > losses[0]


def test_trades_looks_for_images_that_move_the_answer(batch: tuple[Tensor, Tensor]) -> None:
    """Their divergence from the clean answer is larger than that of random images of the same
    ball."""
    inputs, labels = batch
    model = Small().train()
    made("trades", eps=0.1)(model, inputs, labels, 1.0)
    model.eval()
    clean = model(inputs).log_softmax(1)

    def divergence(images: Tensor) -> float:
        return float(
            functional.kl_div(
                model(images).log_softmax(1), clean, reduction="batchmean", log_target=True
            ).detach()
        )

    random = (inputs + 0.1 * torch.randn_like(inputs).sign()).clamp(0, 1)
    assert divergence(model.shown[0][12:]) > 2 * divergence(random)


def test_free_training_is_the_papers_loop(batch: tuple[Tensor, Tensor]) -> None:
    """Beside a plain loop: r grows by eps · sign(gradient), is cut to the ball, and is carried from
    batch to batch."""
    inputs, labels = batch
    objective, eps = made("free", eps=0.05, replays=3, warmup=0), 0.05
    ours, theirs = Small().train(), Small().train()
    steps = [torch.optim.SGD(model.parameters(), 0.1) for model in (ours, theirs)]
    r = torch.zeros_like(inputs)
    for images in (inputs, inputs.flip(0)):
        for _ in range(3):
            steps[0].zero_grad()
            objective(ours, images, labels, 1.0)[0].backward()
            steps[0].step()

            leaf = (images + r).clamp(0, 1).requires_grad_(True)
            steps[1].zero_grad()
            functional.cross_entropy(theirs(leaf), labels).backward()
            steps[1].step()
            assert leaf.grad is not None
            # What the box cut off is gone.
            r = (leaf.detach() - images + eps * leaf.grad.sign()).clamp(-eps, eps)
            r = (images + r).clamp(0, 1) - images
    for mine, other in zip(ours.shown, theirs.shown, strict=True):
        assert torch.allclose(mine, other, atol=1e-6)
    objective.begin()
    objective(ours, inputs, labels, 1.0)
    assert torch.equal(ours.shown[-1], inputs), "a new epoch starts from nothing"


def test_the_radius_grows_evenly() -> None:
    assert [grown(0.3, 0.5, done) for done in (0, 0.25, 0.5, 1)] == pytest.approx(
        [0, 0.15, 0.3, 0.3]
    )
    assert grown(0.3, 0.0, 0.0) == 0.3


@pytest.mark.parametrize("module", [adversarial, fast, mart, pgd, trades, free])
def test_those_that_train_on_perturbed_images_watch_robustness(module: Any) -> None:
    assert issubclass(module.Options, AdversarialOptions)
    assert module.Options().check_images > 0


# --- catastrophic overfitting ---------------------------------------------------------------------
def line(epoch: int, fgsm: float, robust: float) -> dict[str, float]:
    return {"epoch": epoch, "val_fgsm_accuracy": fgsm, "val_robust_accuracy": robust}


@pytest.mark.parametrize(
    ("now", "is_one"),
    [
        ((0.95, 0.02), True),
        ((0.70, 0.30), True),
        ((0.70, 0.65), False),  # a small fall
        ((0.10, 0.10), False),  # both have fallen: something else is wrong
    ],
)
def test_a_collapse_is_told_from_a_bad_epoch(now: tuple[float, float], is_one: bool) -> None:
    assert collapsed([line(1, 0.6, 0.5), line(2, 0.8, 0.7), line(3, *now)]) is is_one
    assert not collapsed([line(1, *now)])


@pytest.mark.parametrize("reaction", ["stop", "warn"])
def test_a_collapse_is_loud_and_stops_where_it_should(reaction: str) -> None:
    images = Images(torch.zeros(5, 1, 8, 8, dtype=torch.uint8), torch.zeros(5, dtype=torch.int64))
    options = fast.Options(on_overfitting=reaction)
    watch = RobustnessWatch(images, options, 0, CPU)
    with collected() as lines:
        reason = watch.objection([line(1, 0.8, 0.7), line(2, 0.95, 0.03)])
    assert "catastrophic overfitting in epoch 2" in lines[0]
    assert "from 70.0 % in epoch 1 to 3.0 %" in lines[0]
    assert (reason is not None) is (reaction == "stop")
    assert watch.objection([line(1, 0.8, 0.7)]) is None


# --- certificates ---------------------------------------------------------------------------------
class Halves(nn.Module):
    """Two classes told apart by a hyperplane."""

    def __init__(self, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        score = x.flatten(1) @ self.weight + self.bias
        return torch.stack([-score, score], 1)


def test_the_lower_bound_is_the_exact_binomial_one() -> None:
    from scipy.stats import binomtest

    for votes, samples in ((99, 100), (60, 100), (1000, 1000), (1, 50)):
        exact = binomtest(votes, samples, alternative="greater").proportion_ci(0.999, "exact").low
        assert lower_bound(votes, samples, 0.001) == pytest.approx(exact, rel=1e-9)
    assert lower_bound(0, 10, 0.001) == 0


def test_the_curve_of_certified_accuracy_falls_at_the_radii_of_images_that_are_right() -> None:
    found = Certified(torch.tensor([1, 1, ABSTAIN, 2, 0]), torch.tensor([0.5, 0.2, 0.0, 0.9, 0.2]))
    labels = torch.tensor([1, 1, 1, 1, 0])  # the image of radius 0.9 is wrong
    points = found.curve(labels)
    assert [round(radius, 6) for radius, _ in points] == [0.0, 0.2, 0.5, 0.5]
    assert [accuracy for _, accuracy in points] == pytest.approx([0.6, 0.6, 0.2, 0.0])


def test_no_certificate_exceeds_the_radius_of_copies_that_all_agree() -> None:
    """σ Φ⁻¹(α^(1/n)), by the bisection of the normal distribution function."""
    smoothing = Smoothing(sigma=0.5, select=10, samples=100, alpha=0.001, seed=0)
    limit = largest_radius(smoothing)
    assert NormalDist().cdf(limit / 0.5) ** 100 == pytest.approx(0.001)


def test_certified_radii_are_below_the_distances_to_a_hyperplane_and_near_them() -> None:
    """For a linear network the smoothed radius is the distance itself (Cohen et al., section 3)."""
    generator = torch.Generator().manual_seed(0)
    images = Images(
        torch.randint(0, 256, (40, 1, 4, 4), generator=generator).to(torch.uint8),
        torch.zeros(40, dtype=torch.int64),
    )
    weight = torch.randn(16, generator=generator)
    inputs = images.inputs(slice(None))
    network = Halves(weight, -float((inputs.flatten(1) @ weight).median()))
    found = certify(network, images, Smoothing(0.5, 50, 20_000, 0.001, seed=0), CPU)
    distance = (inputs.flatten(1) @ weight + network.bias).abs().double() / weight.double().norm()
    answer = network(inputs).argmax(1)
    certain = found.predicted != ABSTAIN
    assert certain.sum() > 30
    assert torch.equal(found.predicted[certain], answer[certain])
    assert (found.radius[certain] <= distance[certain] + 1e-9).all()
    near = certain & (distance < 1.0)  # farther out 20,000 votes cannot tell
    assert ((distance - found.radius)[near] < 0.12).all()
    assert found.accuracy(answer, 0.0) == pytest.approx(float(certain.double().mean()))
    shares = [found.accuracy(answer, radius) for radius in (0.0, 0.1, 0.3, 0.6)]
    assert shares == sorted(shares, reverse=True)


def test_the_votes_are_the_images_own() -> None:
    """The same in a smaller set, and on another day; not with another seed."""
    images = Images(
        (torch.arange(48).view(3, 1, 4, 4) * 5).to(torch.uint8), torch.zeros(3, dtype=torch.int64)
    )
    network = Halves(torch.randn(16, generator=torch.Generator().manual_seed(3)), 0.0)
    whole = certify(network, images, Smoothing(1.0, 20, 200, 0.01, seed=0), CPU)
    part = certify(
        network, images.select(torch.arange(2)), Smoothing(1.0, 20, 200, 0.01, seed=0), CPU
    )
    assert torch.equal(whole.radius[:2], part.radius)
    assert not torch.equal(
        whole.radius, certify(network, images, Smoothing(1.0, 20, 200, 0.01, seed=1), CPU).radius
    )


def test_smoothing_trains_under_noise_of_its_strength(batch: tuple[Tensor, Tensor]) -> None:
    model = Small().train()
    made("smooth", sigma=0.5)(model, *batch, 0.0)
    noise = model.shown[0] - batch[0]
    assert float(noise.std()) == pytest.approx(0.5, rel=0.1)
    assert model.shown[0].min() < 0, "not cut to the box"
    assert smooth.Options().norm == "l2"


@pytest.mark.parametrize("alpha", [0.5, 0.25, 0.1, 0.001, 0.0005, 1e-9])
def test_the_fewest_votes_that_are_named_are_enough(alpha: float) -> None:
    for samples in range(10, 40):
        enough = lower_bound(samples, samples, alpha) > 0.5
        if enough:
            smooth.Options(samples=samples, alpha=alpha)
            continue
        with pytest.raises(ValueError, match="are needed") as caught:
            smooth.Options(samples=samples, alpha=alpha)
        needed = int(str(caught.value).split("at least ")[1].split()[0])
        assert lower_bound(needed, needed, alpha) > 0.5
        assert lower_bound(needed - 1, needed - 1, alpha) <= 0.5 + 1e-12


# --- training for certificates --------------------------------------------------------------------
class Curved(nn.Module):
    """A small smooth network in float64, whose gradients finite differences can follow."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.first = nn.Linear(16, 9, dtype=torch.float64)
        self.last = nn.Linear(9, 3, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.last((3 * self.first(x.flatten(1))).tanh())
        return answer


@pytest.fixture
def exact() -> tuple[Tensor, Tensor, Tensor]:
    """Images away from black and white, labels, and noise for five copies of each; float64."""
    generator = torch.Generator().manual_seed(2)
    images = 0.4 + 0.2 * torch.rand(6, 1, 4, 4, generator=generator, dtype=torch.float64)
    noise = 0.3 * torch.randn(6, 5, 1, 4, 4, generator=generator, dtype=torch.float64)
    return images, torch.randint(0, 3, (6,), generator=generator), noise


def averaged(model: nn.Module, image: Tensor, noise: Tensor, sharper: float = 1.0) -> Tensor:
    """The softmax averaged over the noisy copies of one image, copy by copy."""
    total = torch.zeros(3, dtype=torch.float64)
    for one in noise:
        total = total + (sharper * model((image + one)[None])[0]).softmax(0)
    return total / len(noise)


def test_the_attack_on_a_smoothed_network_is_the_naive_one(
    exact: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Steps of 2 · eps / steps along the gradient of -log of the averaged probability."""
    images, labels, noise = exact
    model = Curved().eval()
    found = attack_smoothed(Victim(model), images, labels, noise, "l2", 0.2, 3)
    for image, label, own, wanted in zip(images, labels, noise, found, strict=True):
        moved = image.clone()
        for _ in range(3):
            leaf = moved.clone().requires_grad_(True)
            (gradient,) = torch.autograd.grad(-averaged(model, leaf, own)[label].log(), leaf)
            moved = moved + 2 * 0.2 / 3 * gradient / gradient.norm()
            away = moved - image
            moved = image + away * min(1.0, 0.2 / float(away.norm()))
        assert torch.allclose(wanted, moved, rtol=0, atol=1e-12)
    before, after = (
        torch.stack(
            [averaged(model, *one)[y].log() for *one, y in zip(x, noise, labels, strict=True)]
        ).sum()
        for x in (images, found)
    )
    assert float(after.detach()) < float(before.detach()) - 0.1


def test_smoothadv_trains_on_the_copies_that_it_attacked(batch: tuple[Tensor, Tensor]) -> None:
    """All copies of an image share one perturbation of the ball; the loss is the mean over all."""
    images, labels = batch
    model = Small().train()
    torch.manual_seed(7)
    objective = made("smooth", training="smoothadv", copies=3, steps=2, sigma=0.5, eps=0.4)
    loss, logits = objective(model, images, labels, 1.0)
    torch.manual_seed(7)
    noise = noise_for(images, 0.5, 3)
    (shown,) = model.shown
    away = shown.view(12, 3, 1, 8, 8) - noise - images[:, None]
    assert torch.allclose(away, away[:, :1].expand_as(away), atol=1e-5)
    size = length(away[:, 0], 2.0)
    assert size.max() <= 0.4 + 1e-5
    assert size.min() > 0.1
    answers = Small().train()(shown)
    naive = functional.cross_entropy(answers, labels.repeat_interleave(3))
    assert torch.allclose(loss, naive, atol=1e-6)
    soft = answers.view(12, 3, 4).softmax(2).mean(1)
    assert torch.allclose(logits.exp(), soft, atol=1e-6)
    assert model.norm.num_batches_tracked == 1, "one pass in training mode"


def test_the_loss_on_radii_is_the_naive_one_and_its_gradient_that_of_differences(
    exact: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Beside scipy's quantiles, image by image; images that are wrong or beyond the hinge add
    nothing."""
    from scipy.stats import norm as normal

    images, _, noise = exact
    model = Curved()
    flat = noisy_copies(images, noise)
    likely = torch.stack(
        [averaged(model, image, own, 2.0) for image, own in zip(images, noise, strict=True)]
    )
    labels = likely.argmax(1)
    labels[0] = (labels[0] + 1) % 3
    rows = likely.detach().sort(1).values.numpy()
    xi = normal.ppf(rows[:, 2]) - normal.ppf(rows[:, 1])
    hinge = float(sorted(xi[1:])[3]) + 1e-3
    terms = [0.0, *(max(0.0, hinge - one) for one in xi[1:])]
    assert sum(term > 0.01 for term in terms) == 3

    def loss(logits: Tensor) -> Tensor:
        return radius_loss(logits, labels, 5, 0.3, hinge, 2.0)

    logits = model(flat).detach()
    assert float(loss(logits)) == pytest.approx(0.15 * sum(terms) / 6, rel=1e-12)
    assert torch.autograd.gradcheck(loss, logits.clone().requires_grad_(True))


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
def test_the_loss_on_radii_is_finite_where_a_class_is_certain(scale: float) -> None:
    logits = scale * torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    logits.requires_grad_(True)
    loss = radius_loss(logits, torch.arange(10) % 6, 4, 0.25, 8.0, 16.0)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.isfinite()
    assert gradient.isfinite().all()


def test_the_macer_loss_is_the_naive_one(batch: tuple[Tensor, Tensor]) -> None:
    images, labels = batch
    model = Small().train()
    options = {"copies": 4, "radius_weight": 3.0, "hinge": 6.0, "inverse_temperature": 2.0}
    loss, _ = made("smooth", training="macer", **options)(model, images, labels, 0.0)
    (shown,) = model.shown
    assert len(shown) == 48
    answers = Small().train()(shown)
    soft = answers.view(12, 4, 4).softmax(2).mean(1)
    classified = -soft.gather(1, labels[:, None]).log().mean()
    missing = radius_loss(answers, labels, 4, 0.25, 6.0, 2.0)
    assert missing > 0
    assert torch.allclose(loss, classified + 3 * missing.float(), atol=1e-6)


def test_radii_on_validation_images_are_zero_where_the_label_is_not_voted_for() -> None:
    """On a linear network they are near the distances to its hyperplane."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (60, 1, 4, 4), generator=generator).to(torch.uint8)
    weight = torch.randn(16, generator=generator)
    inputs = Images(pixels, torch.zeros(60, dtype=torch.int64)).inputs(slice(None)).flatten(1)
    network = Halves(weight, -float((inputs @ weight).median()))
    score = (inputs @ weight + network.bias) / weight.norm()
    images = Images(pixels, (score > 0).long())
    watch = RadiusWatch(images, 1000, 0.5, CPU)
    found = watch.evaluate(network)["val_mean_radius"]
    assert found == watch.evaluate(network)["val_mean_radius"]
    assert found == pytest.approx(float(score.abs().mean()), abs=0.08)
    wrong = RadiusWatch(Images(pixels, (score < 0).long()), 1000, 0.5, CPU)
    assert wrong.evaluate(network)["val_mean_radius"] < 0.02
    votes = torch.tensor([[30, 2], [16, 16], [2, 30]])
    estimated = radii(votes, torch.zeros(3, dtype=torch.int64), 0.5)
    assert estimated.tolist() == pytest.approx([0.5 * 1.4329, 0.0, 0.0], abs=1e-3)
