"""The one fit loop: its schedules, its losses, what it keeps, when it stops, and that nothing but
the seed decides."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from advlab.config.options.run import TrainOptions
from advlab.data.image_set import Images
from advlab.errors import EnvironmentFailure
from advlab.experiments.fitting import hidden_of
from advlab.runs.machine import Machine, derive
from advlab.training.fit import TrainingProgress, fit
from advlab.training.objective import Objective, Watch
from advlab.training.schedule import learning_rate

MACHINE = Machine(torch.device("cpu"), "fp32")


def options(**changes: Any) -> TrainOptions:
    return TrainOptions(
        **{"epochs": 3, "batch_size": 16, "lr": 0.01, "schedule": "constant", **changes}
    )


def examples(count: int, seed: int) -> Images:
    """Two classes, told apart by which half of the image is the brighter."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (count,), generator=generator)
    pixels = torch.randint(0, 150, (count, 1, 4, 4), generator=generator)
    pixels[labels == 1, :, :2] += 60
    pixels[labels == 0, :, 2:] += 60
    return Images(pixels.to(torch.uint8), labels)


def train(
    folder: Path, given: TrainOptions, *, dropout: float = 0.0, **extra: Any
) -> tuple[nn.Module, TrainingProgress, list[tuple[int, float]]]:
    """Fit a small network; it, what happened, and at which epochs it was kept, at which
    accuracy."""
    torch.manual_seed(derive(given.seed, 3))
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Dropout(dropout), nn.Linear(12, 2)
    )
    kept: list[tuple[int, float]] = []

    def keep(network: nn.Module, progress: TrainingProgress) -> None:
        kept.append((progress.best_epoch, progress.best_score))

    folder.mkdir(exist_ok=True)
    progress = fit(
        model,
        examples(100, 0),
        examples(60, 1),
        given,
        MACHINE,
        folder,
        keep=keep,
        **extra,
    )
    return model, progress, kept


class By(Objective):
    """The loss and logits that a function gives."""

    def __init__(
        self, function: Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]
    ) -> None:
        super().__init__()
        self.function = function

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float
    ) -> tuple[Tensor, Tensor]:
        return self.function(model, inputs, labels)


# --- schedules ------------------------------------------------------------------------------------
@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "one-cycle"])
def test_the_rate_never_leaves_its_range(schedule: str) -> None:
    of_steps = {"step_epochs": 4, "step_gamma": 0.1} if schedule == "step" else {}
    given = options(schedule=schedule, epochs=12, **of_steps)
    rates = [learning_rate(given, step, 10) for step in range(120)]
    assert max(rates) == pytest.approx(0.01)
    assert min(rates) >= 0
    jumps = [abs(a - b) for a, b in itertools.pairwise(rates)]
    if schedule in ("cosine", "one-cycle"):
        assert max(jumps) < 0.001, "it is smooth"


def test_step_and_cosine_are_torchs() -> None:
    for schedule, make in (
        (
            "step",
            lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, step_size=40, gamma=0.5),
        ),
        (
            "cosine",
            lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=120),
        ),
    ):
        of_steps = {"step_epochs": 4, "step_gamma": 0.5} if schedule == "step" else {}
        given = options(schedule=schedule, epochs=12, **of_steps)
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.01)
        scheduler = make(optimizer)
        for step in range(120):
            assert learning_rate(given, step, 10) == pytest.approx(
                optimizer.param_groups[0]["lr"], abs=1e-12
            )
            optimizer.step()
            scheduler.step()


def test_one_cycle_rises_for_a_quarter_and_ends_at_next_to_nothing() -> None:
    rates = [
        learning_rate(options(schedule="one-cycle", epochs=4), step, 25) for step in range(100)
    ]
    assert rates[0] == pytest.approx(0.01 / 25)
    assert rates.index(max(rates)) == 25
    assert rates[-1] < 0.01 * 1e-4
    assert rates[:25] == sorted(rates[:25])
    assert rates[25:] == sorted(rates[25:], reverse=True)


# --- losses ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_the_loss_is_the_naive_one(smoothing: float) -> None:
    logits = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2, 3])
    loss, returned = Objective(smoothing)(nn.Identity(), logits, labels, 0.0)
    wanted = functional.one_hot(labels, 5) * (1 - smoothing) + smoothing / 5
    naive = -sum(
        float(w) * float(lp)
        for row, lps in zip(wanted, logits.log_softmax(1), strict=True)
        for w, lp in zip(row, lps, strict=True)
    )
    assert float(loss) == pytest.approx(naive / 9, rel=1e-5)
    assert torch.equal(returned, logits)


# --- the loop -------------------------------------------------------------------------------------
def test_it_learns_and_writes_a_line_an_epoch(tmp_path: Path) -> None:
    model, progress, _ = train(tmp_path, options(epochs=12))
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert lines == progress.history
    assert [line["epoch"] for line in lines] == list(range(1, 13))
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert lines[-1]["val_accuracy"] > 0.9
    assert {
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
        "lr",
        "images_per_second",
        "seconds",
    } <= set(lines[0])
    with torch.no_grad():
        val = examples(60, 1)
        share = (model.eval()(val.inputs(slice(None))).argmax(1) == val.labels).double().mean()
    assert lines[-1]["val_accuracy"] == pytest.approx(float(share))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_the_seed_alone_decides(optimizer: str, tmp_path: Path) -> None:
    def weights(seed: int, folder: str) -> Tensor:
        model, _, _ = train(tmp_path / folder, options(seed=seed, optimizer=optimizer), dropout=0.3)
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    first = weights(0, "a")
    torch.rand(10)  # whatever else was drawn in the process does not matter
    assert torch.equal(first, weights(0, "b"))
    assert not torch.equal(first, weights(1, "c"))


def test_a_training_that_leaves_nothing_on_the_disk_is_the_same(tmp_path: Path) -> None:
    (model, told, _), (other, heard, _) = (
        train(tmp_path / "a", options()),
        train(tmp_path / "b", options(), lasting=False),
    )
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
    assert [record["loss"] for record in told.history] == [
        record["loss"] for record in heard.history
    ]
    assert (tmp_path / "a" / "resume.pt").is_file()
    assert not (tmp_path / "b" / "resume.pt").exists()


def test_the_best_epoch_on_validation_data_is_kept_not_the_last(tmp_path: Path) -> None:
    """With a rate that wrecks the network now and then, the best epoch lies before the last."""
    _, progress, kept = train(tmp_path, options(epochs=10, lr=8.0, optimizer="sgd"))
    accuracies = [line["val_accuracy"] for line in progress.history]
    assert progress.best_score == max(accuracies)
    assert accuracies[progress.best_epoch - 1] == max(accuracies)
    assert kept[-1] == (progress.best_epoch, progress.best_score)
    assert [accuracy for _, accuracy in kept] == sorted(accuracy for _, accuracy in kept)


def test_patience_ends_a_run_that_gets_no_better(tmp_path: Path) -> None:
    _, progress, _ = train(tmp_path, options(epochs=50, lr=1e-9, patience=3))
    # Of equal accuracies the last is kept, but to stand still is not to get better.
    assert progress.epoch == progress.best_epoch == 4
    _, progress, _ = train(
        tmp_path / "wild", options(epochs=50, lr=8.0, optimizer="sgd", patience=3)
    )
    assert progress.epoch == progress.better_epoch + 3 < 50


def test_a_loss_that_stops_being_a_number_ends_the_run_and_keeps_what_was_good(
    tmp_path: Path,
) -> None:
    def objective(model: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = model(inputs)
        calls.append(1)
        loss = functional.cross_entropy(logits, labels)
        return (loss * float("nan") if len(calls) > 10 else loss), logits

    calls: list[int] = []
    with pytest.raises(
        EnvironmentFailure,
        match=r"stopped being a number in epoch 2.*the best epoch before it, 1, is kept.*--lr",
    ) as caught:
        train(tmp_path, options(), objective=By(objective))
    assert "\n" not in str(caught.value)
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 1


def test_gradients_are_cut_to_the_norm_asked_for(tmp_path: Path) -> None:
    """Plain SGD without momentum moves by lr times the gradient; cut to 1e-3, a step is 1e-5 long
    at most."""
    sizes = {}
    for clip in (None, 1e-3):
        model, _, _ = train(
            tmp_path / str(clip),
            options(epochs=1, batch_size=100, optimizer="sgd", momentum=0, clip_norm=clip),
        )
        torch.manual_seed(derive(0, 3))
        start = nn.Sequential(
            nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Dropout(0.0), nn.Linear(12, 2)
        )
        moved = [
            end - begin for end, begin in zip(model.parameters(), start.parameters(), strict=True)
        ]
        sizes[clip] = float(torch.cat([step.detach().flatten() for step in moved]).norm())
    assert sizes[1e-3] == pytest.approx(1e-5, rel=1e-2)
    assert sizes[None] > 10 * sizes[1e-3]


def test_the_average_of_the_weights_is_what_is_kept(tmp_path: Path) -> None:
    networks: list[nn.Module] = []
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    given = options(epochs=1, batch_size=25, lr=0.1, average_decay=0.9)
    trail: list[Tensor] = []

    def objective(network: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        trail.append(network.get_parameter("1.weight").detach().clone())
        logits = network(inputs)
        return functional.cross_entropy(logits, labels), logits

    fit(
        model,
        examples(100, 0),
        examples(60, 1),
        given,
        MACHINE,
        tmp_path,
        keep=lambda network, now: networks.append(network),
        objective=By(objective),
    )
    average = trail[0]
    for step, weights in enumerate([*trail[1:], model.get_parameter("1.weight").detach()]):
        decay = min(0.9, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weights
    assert torch.allclose(networks[-1].get_parameter("1.weight"), average, atol=1e-6)
    assert not torch.allclose(
        networks[-1].get_parameter("1.weight"), model.get_parameter("1.weight")
    )


@pytest.mark.parametrize("size", [33, 99])
def test_a_last_batch_of_one_is_joined_to_the_one_before(size: int, tmp_path: Path) -> None:
    """100 images in batches of 33 or 99 leave a single one, which batch normalisation could not
    take."""
    seen: list[int] = []

    def objective(model: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(len(inputs))
        logits = model(inputs)
        return functional.cross_entropy(logits, labels), logits

    train(tmp_path, options(epochs=1, batch_size=size), objective=By(objective))
    assert sum(seen) == 100
    assert min(seen) > 1


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_run_that_was_stopped_ends_in_the_bits_of_an_unbroken_one(
    stop: int, tmp_path: Path
) -> None:
    given = options(epochs=4, optimizer="adamw", schedule="one-cycle", average_decay=0.5)
    whole, progress, _ = train(tmp_path / "whole", given, dropout=0.3)
    calls: list[int] = []

    def stopping(model: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(1)
        if len(calls) == 7 * stop + 3:  # in the middle of an epoch of 7 batches
            raise KeyboardInterrupt
        return Objective()(model, inputs, labels, 0.0)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", given, dropout=0.3, objective=By(stopping))
    resumed, after, _ = train(tmp_path / "stopped", given, dropout=0.3)
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )

    def settled(history: list[dict[str, float]]) -> list[dict[str, float]]:
        return [
            {
                key: value
                for key, value in line.items()
                if key not in ("seconds", "images_per_second")
            }
            for line in history
        ]

    assert settled(after.history) == settled(progress.history)


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    (tmp_path / "resume.pt").write_bytes(b"not a state at all")
    with pytest.raises(
        EnvironmentFailure, match=r"resume\.pt is damaged .*--overwrite starts over"
    ):
        train(tmp_path, options())


def naive(
    kind: str, start: list[float], gradients: Callable[[list[float]], list[float]], steps: int
) -> list[float]:
    """The optimisers by their papers, number by number, at lr 0.05, weight decay 0.3 and momentum
    0.8."""
    rate, decay, momentum, first_decay, second_decay = 0.05, 0.3, 0.8, 0.9, 0.999
    weights, first, second = list(start), [0.0] * len(start), [0.0] * len(start)
    for step in range(1, steps + 1):
        slopes = gradients(weights)
        for place, slope in enumerate(slopes):
            if kind != "adamw":
                slope += decay * weights[place]
            if kind == "sgd":
                first[place] = momentum * first[place] + slope
                weights[place] -= rate * (slope + momentum * first[place])  # Nesterov's
                continue
            first[place] = first_decay * first[place] + (1 - first_decay) * slope
            second[place] = second_decay * second[place] + (1 - second_decay) * slope**2
            if kind == "adamw":
                weights[place] -= rate * decay * weights[place]
            centre, spread = (
                first[place] / (1 - first_decay**step),
                second[place] / (1 - second_decay**step),
            )
            weights[place] -= rate * centre / (spread**0.5 + 1e-8)
    return weights


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_an_optimizer_does_what_its_paper_says(kind: str, tmp_path: Path) -> None:
    """On a bowl, where every gradient is known: the loss is the squared distance of the weights
    from (1, -2)."""

    class Bowl(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = nn.Parameter(torch.tensor([3.0, 0.5], dtype=torch.float64))

        def forward(self, inputs: Tensor) -> Tensor:
            return self.weights.expand(len(inputs), 2).float()

    def objective(model: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return ((model.get_parameter("weights") - goal) ** 2).sum(), model(inputs)

    goal = torch.tensor([1.0, -2.0], dtype=torch.float64)
    bowl = Bowl()
    own = {"momentum": 0.8} if kind == "sgd" else {}
    given = options(optimizer=kind, lr=0.05, weight_decay=0.3, epochs=6, batch_size=50, **own)
    fit(
        bowl,
        examples(100, 0),
        examples(60, 1),
        given,
        MACHINE,
        tmp_path,
        keep=lambda network, progress: None,
        objective=By(objective),
    )
    wanted = naive(
        kind, [3.0, 0.5], lambda weights: [2 * (weights[0] - 1), 2 * (weights[1] + 2)], steps=12
    )
    assert bowl.weights.tolist() == pytest.approx(wanted, rel=1e-9)


def test_every_epoch_sees_every_image_once_in_an_order_of_its_own(tmp_path: Path) -> None:
    seen: list[list[float]] = []

    def objective(model: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(inputs.flatten(1).sum(1).tolist())
        logits = model(inputs)
        return functional.cross_entropy(logits, labels), logits

    train(tmp_path, options(epochs=3, batch_size=30), objective=By(objective))
    epochs = [
        [value for batch in seen[start : start + 4] for value in batch] for start in (0, 4, 8)
    ]
    everything = sorted(examples(100, 0).inputs(slice(None)).flatten(1).sum(1).tolist())
    assert [sorted(epoch) for epoch in epochs] == [everything] * 3
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_a_loss_that_is_no_number_on_validation_data_ends_the_run_too(tmp_path: Path) -> None:
    """An average of the weights, or statistics of a batch norm, can be wrecked while the training
    loss still looks well."""

    def objective(model: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = model(inputs)
        calls.append(1)
        if len(calls) == 14:  # the last batch of the second epoch
            with torch.no_grad():
                model.get_parameter("1.bias").fill_(float("inf"))
        return functional.cross_entropy(logits, labels) * 0, logits

    calls: list[int] = []
    with pytest.raises(
        EnvironmentFailure,
        match=r"in epoch 2, on the validation data, .*the best epoch before it, 1, is kept",
    ):
        train(tmp_path, options(optimizer="sgd"), objective=By(objective))
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 1


def test_a_loss_gone_wild_is_seen_whatever_the_batch_it_happens_in(tmp_path: Path) -> None:
    """The loss is read now and then only; what happens between two readings must be found at the
    next."""
    for bad in (1, 2, 6, 7):
        calls: list[int] = []

        def objective(
            model: nn.Module,
            inputs: Tensor,
            labels: Tensor,
            bad: int = bad,
            calls: list[int] = calls,
        ) -> tuple[Tensor, Tensor]:
            calls.append(1)
            logits = model(inputs)
            loss = functional.cross_entropy(logits, labels)
            return (loss * float("inf") if len(calls) == bad else loss), logits

        read = 1 if bad == 1 else 7  # of seven batches, the first and the last
        with pytest.raises(
            EnvironmentFailure,
            match=rf"stopped being a number in epoch 1, batch {read}, .*no epoch was finished",
        ):
            train(tmp_path / str(bad), options(), objective=By(objective))


# --- what a defence brings ------------------------------------------------------------------------
def test_replays_take_several_steps_on_a_batch_and_the_rate_counts_them(tmp_path: Path) -> None:
    class Twice(Objective):
        replays = 2

        def __call__(
            self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float
        ) -> tuple[Tensor, Tensor]:
            seen.append(inputs)
            shares.append(done)
            return super().__call__(model, inputs, labels, done)

    seen: list[Tensor] = []
    shares: list[float] = []
    _, progress, _ = train(
        tmp_path, options(epochs=2, batch_size=25, schedule="cosine"), objective=Twice()
    )
    assert len(seen) == 2 * 4 * 2
    assert all(
        torch.equal(first, second) for first, second in zip(seen[::2], seen[1::2], strict=True)
    )
    assert shares == [step / 16 for step in range(16)]
    assert progress.history[-1]["lr"] == pytest.approx(
        learning_rate(options(epochs=2, schedule="cosine"), 15, 8)
    )


def test_a_watch_adds_figures_chooses_the_epoch_and_stops(tmp_path: Path) -> None:
    class Falling(Watch):
        selects = "height"

        def evaluate(self, model: nn.Module) -> dict[str, float]:
            assert not model.training
            looks.append(1)
            return {"height": 1 / len(looks)}

        def objection(self, history: Sequence[Mapping[str, float]]) -> str | None:
            return "low enough" if history[-1]["height"] < 0.3 else None

    looks: list[int] = []
    _, progress, kept = train(tmp_path, options(epochs=9), watch=Falling())
    assert progress.epoch == 4
    assert progress.stopped == "low enough"
    assert kept == [(1, 1.0)]
    assert [line["height"] for line in progress.history] == [1, 1 / 2, 1 / 3, 1 / 4]
    _, again, _ = train(tmp_path, options(epochs=9), watch=Falling())
    assert (again.epoch, again.stopped) == (4, "low enough"), "what was stopped stays so"


def test_the_hidden_layer_is_that_of_the_layer_called_last() -> None:
    """In whatever order the layers of somebody's network are defined."""

    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.last, self.first = nn.Linear(3, 2), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.last(self.first(x.flatten(1)).relu())
            return logits

    network = Backwards().eval()
    pixels = torch.randint(0, 256, (5, 1, 4, 4), dtype=torch.uint8)
    images = Images(pixels, torch.zeros(5, dtype=torch.int64))
    hidden = hidden_of(network, images, Machine(torch.device("cpu"), "fp32"))
    expected = network.first(images.inputs(slice(None)).flatten(1)).relu()
    torch.testing.assert_close(hidden, expected.detach())
