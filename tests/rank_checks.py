"""What processes that train together compute, for ``test_distributed`` to compare with one process.

Each function leaves its figures in the working folder, one file for each process. Called in a
single process, it computes the same on the whole batch.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from advlab.components import load_component
from advlab.config.options.run import TrainOptions
from advlab.contrastive.loss import similarities
from advlab.data.image_set import Images
from advlab.runs.machine import Machine
from advlab.runs.processes import current, started
from advlab.training import distributed
from advlab.training.fit import fit
from advlab.training.objective import Objective
from advlab.training.optimizers import uncompiled

CPU = Machine(torch.device("cpu"), "fp32")
COUNT = 11  # an odd number: the parts of two processes differ
OBJECTIVES: dict[str, tuple[str, dict[str, Any]]] = {
    "adversarial, fgsm": ("adversarial", {"attack": "fgsm"}),
    "adversarial, pgd": ("adversarial", {"attack": "pgd", "steps": 3}),
    "distill": ("distill", {}),
    "fast": ("fast", {}),
    "free": ("free", {"replays": 3}),
    "free, l2": ("free", {"replays": 3, "norm": "l2"}),
    "ibp": ("ibp", {"clean_start": 0.0}),
    "pgd": ("pgd", {"steps": 3}),
    "pgd, l2": ("pgd", {"steps": 3, "norm": "l2", "eps": 0.5}),
    "pgd, weights": ("pgd", {"steps": 3, "awp": 0.01}),
    "mart": ("mart", {"steps": 3}),
    "smooth, macer": ("smooth", {"training": "macer", "copies": 3}),
    "smooth, smoothadv": ("smooth", {"training": "smoothadv", "copies": 3}),
    "trades": ("trades", {"steps": 3}),
    "trades, weights": ("trades", {"steps": 3, "awp": 0.01}),
}
"""The objectives that draw nothing for an image that other processes draw too: defence and
options."""


def network() -> nn.Module:
    """Without batch normalisation, in float64."""
    torch.manual_seed(3)
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 12), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(12, 4)).double().train()


def batch(count: int) -> tuple[Tensor, Tensor]:
    """Images and labels, of which a process takes its part."""
    generator = torch.Generator().manual_seed(count)
    images = torch.rand(count, 1, 8, 8, generator=generator, dtype=torch.float64)
    return images, torch.randint(0, 4, (count,), generator=generator)


def objectives() -> None:
    """Gradients of every objective, and weights after some steps of SGD on batches of two sizes."""
    # Objectives take logits in float32, which would hide differences.
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
    with _joined():
        _save({name: _trained(_objective(*how)) for name, how in OBJECTIVES.items()})


def _objective(name: str, options: dict[str, Any]) -> Objective:
    module = load_component("advlab.defenses", name, "defence")
    objective: Objective = module.objective(module.Options(**options), 0.1, CPU)
    return objective


def _trained(objective: Objective) -> dict[str, Tensor]:
    model, gradients = network(), dict[str, Tensor]()
    optimizer = uncompiled(torch.optim.SGD)(model.parameters(), 0.05)
    torch.manual_seed(4 + current().rank)
    objective.begin()
    for number, count in enumerate((COUNT, COUNT - 3)):
        images, labels = batch(count)
        index = torch.arange(count)
        part = distributed.part(index)
        for _ in range(objective.replays):
            loss, _ = objective(model, images[part], labels[part], 0.5 + 0.1 * number)
            optimizer.zero_grad(set_to_none=True)
            distributed.weighted(loss, part, index).backward()
            distributed.sum_gradients(model)
            objective.after_backward()
            if not gradients:
                gradients = {f"gradient {name}": _gradient(one) for name, one in _weights(model)}
            optimizer.step()
    return gradients | {f"weight {name}": one.detach().clone() for name, one in _weights(model)}


def _weights(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return model.named_parameters()


def _gradient(weight: nn.Parameter) -> Tensor:
    assert weight.grad is not None
    return weight.grad.clone()


def contrast() -> None:
    """Loss and gradients of NT-Xent, on given views."""
    with _joined():
        model = network()
        first, second = batch(COUNT)[0], batch(COUNT)[0].flip(2)
        part = distributed.part(torch.arange(COUNT))
        embedded = model(torch.cat([first[part], second[part]]))
        z1, z2 = (distributed.whole(z, COUNT) for z in embedded.chunk(2))
        loss = functional.cross_entropy(*similarities(z1, z2, 0.5))
        loss.backward()
        distributed.sum_gradients(model)
        gradients = {name: _gradient(one) for name, one in _weights(model)}
        _save({"all": {"loss": loss.detach(), **gradients}})


class _Parts(nn.Module):
    """Weights that some processes use, and all kinds of buffers."""

    always: nn.Parameter
    sometimes: nn.Parameter
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        rank = current().rank
        for name in ("always", "sometimes", "never"):
            self.register_parameter(name, nn.Parameter(torch.full((2, 3), 1.0 + rank)))
        self.register_buffer("mean", torch.tensor([0.1, 0.2 + rank]))
        self.register_buffer("wide", torch.tensor(0.3 + rank, dtype=torch.float64))
        self.register_buffer("count", torch.tensor(7 + rank))


def parts() -> None:
    """What becomes of weights without a gradient, of buffers, sums and announcements."""
    with _joined():
        rank = current().rank
        model = _Parts()
        model.always.data = model.always.data.t()  # not contiguous, as convolutions may be
        distributed.start_alike(model)
        alike = {name: value.clone() for name, value in model.state_dict().items()}
        (model.always * (10 if rank else 1)).sum().backward()
        if rank:
            (2 * model.sometimes).sum().backward()
        model.mean.add_(rank)
        distributed.sum_gradients(model)
        gradients = {
            name: torch.tensor(torch.nan) if one.grad is None else one.grad
            for name, one in model.named_parameters()
        }
        words = [current().announce(f"word {number} of {rank}") for number in range(2)]
        numbers = [distributed.common(5 + rank), int(distributed.total(torch.tensor(2 + rank)))]
        text = torch.tensor([list(word.encode()) for word in words])
        _save(
            {
                "alike": alike,
                "gradients": gradients,
                "buffers": dict(model.named_buffers()),
                "more": {"numbers": torch.tensor(numbers), "words": text},
            }
        )


def fitted() -> None:
    """The history of a training without batch normalisation, and the network that it ends with."""
    generator = torch.Generator().manual_seed(5)
    train, val = (
        Images(
            torch.randint(0, 256, (count, 1, 8, 8), generator=generator, dtype=torch.uint8),
            torch.randint(0, 4, (count,), generator=generator),
        )
        for count in (61, 20)
    )
    options = TrainOptions(epochs=3, batch_size=15, clip_norm=0.5, average_decay=0.9)
    model = network().float()
    with _joined(), tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        progress = fit(
            model,
            train,
            val,
            options,
            CPU,
            place,
            keep=lambda *kept: None,
        )
        written = sorted(path.name for path in place.iterdir())
    assert written == ([] if int(os.environ["RANK"]) else ["history.jsonl", "resume.pt"]), written
    figures = ("loss", "accuracy", "lr", "val_loss", "val_accuracy")
    history = [[record[figure] for figure in figures] for record in progress.history]
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    _save({"all": {"history": torch.tensor(history), **weights}})


@contextmanager
def _joined() -> Iterator[None]:
    if started().size == 1:
        yield
        return
    with distributed.join(started(), "cpu"):
        yield


def _save(figures: dict[str, dict[str, Tensor]]) -> None:
    torch.save(figures, f"{os.environ['RANK']} of {os.environ['WORLD_SIZE']}.pt")
