"""The training loop of contrastive learning, with a state to resume from after each epoch.

As in every training here, all randomness of epoch ``e`` is a function of (seed, e), so a resumed
run ends in the bits of an unbroken one.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from advlab.augmentation.views import Views, view
from advlab.config.options.contrast import ContrastOptions
from advlab.contrastive.candidates import Batch, Candidates, Queue, candidates_of
from advlab.contrastive.loss import partners_found
from advlab.contrastive.networks import Contrast
from advlab.data.pixels import to_unit
from advlab.errors import EnvironmentFailure
from advlab.logs import logger
from advlab.networks.layout import arranged
from advlab.progress import EpochNotes, progress_bar
from advlab.runs.files import write_text
from advlab.runs.machine import Machine, derive, seed_generators
from advlab.runs.processes import current
from advlab.training import distributed
from advlab.training.lars import Lars, groups
from advlab.training.optimizers import uncompiled
from advlab.training.schedule import warmed_cosine
from advlab.training.state import Stateful, restore, store

STATE, HISTORY = "resume.pt", "history.jsonl"


@dataclass
class ContrastiveProgress:
    """Where a training stands.

    Attributes:
        losses: that of every batch so far.
        history: a line per epoch.
    """

    epoch: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)


def train(
    network: Contrast,
    pixels: Tensor,
    views: Views,
    options: ContrastOptions,
    machine: Machine,
    folder: Path,
) -> ContrastiveProgress:
    """Train encoder and head in place, on images without labels.

    Args:
        network: on ``machine.device``.
        pixels: uint8 (N, C, H, W), with N of at least a batch.
        options: how; ``epochs`` must be settled.
        folder: where the history and the state to resume from are written after every epoch.

    Raises:
        EnvironmentFailure: the loss stopped being a number, or another process ended.
    """
    assert options.epochs is not None
    optimizer = _optimizer(network, options)
    scaler = torch.amp.GradScaler(machine.device.type, enabled=machine.precision == "fp16")
    parts: dict[str, Stateful] = {"network": network, "optimizer": optimizer, "scaler": scaler}
    candidates = candidates_of(
        network,
        options.queue,
        options.queue_momentum,
        options.temperature,
        lambda: torch.Generator().manual_seed(derive(options.seed, 37)),
    )
    if isinstance(candidates, Queue):
        parts["queue"] = candidates
    progress = (
        restore(folder / STATE, parts, ContrastiveProgress) if options.resume else None
    ) or ContrastiveProgress()
    distributed.check_same_epoch(progress.epoch, folder)
    distributed.start_alike(network)
    first = current().rank == 0
    if first:
        _write_history(folder, progress)
    if progress.epoch:
        logger.info(f"going on after epoch {progress.epoch} of {options.epochs}")
    notes = EpochNotes(options.epochs)
    while progress.epoch < options.epochs:
        started = time.perf_counter()
        record = _epoch(
            network, candidates, pixels, views, options, machine, optimizer, scaler, progress
        )
        progress.epoch += 1
        progress.seconds += time.perf_counter() - started
        progress.history.append(
            {"epoch": progress.epoch, **record, "seconds": round(progress.seconds, 3)}
        )
        if first:
            store(folder / STATE, parts, vars(progress))
            _write_history(folder, progress)
            notes(
                progress.epoch,
                {"loss": f"{record['loss']:.4f}", "time": f"{progress.seconds:.0f} s"},
            )
    return progress


def two_views(pixels: Tensor, views: Views, generator: torch.Generator, machine: Machine) -> Tensor:
    """Both views of images uint8 (N, C, H, W), all first ones before all second ones: (2N, C, H, W)
    in [0, 1] on the device."""
    images = to_unit(pixels.to(machine.device))
    return arranged(view(torch.cat([images, images]), views, generator), torch.channels_last)


def batches_of(count: int, options: ContrastOptions, epoch: int) -> list[Tensor]:
    """The images of each batch of an epoch, in its order; those that fill no batch are left for
    another epoch's order to bring."""
    order = torch.randperm(
        count, generator=torch.Generator().manual_seed(derive(options.seed, 30, epoch))
    )
    return [part for part in order.split(options.batch_size) if len(part) == options.batch_size]


def views_generator(options: ContrastOptions, epoch: int) -> torch.Generator:
    """What an epoch's views are drawn from; each process draws for its own images."""
    ranks = (current().rank,) if current().rank else ()
    return torch.Generator().manual_seed(derive(options.seed, 31, epoch, *ranks))


def _epoch(
    network: Contrast,
    candidates: Candidates,
    pixels: Tensor,
    views: Views,
    options: ContrastOptions,
    machine: Machine,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    progress: ContrastiveProgress,
) -> dict[str, float]:
    """One pass over the images: its mean loss, share of partners found, last rate, and speed."""
    assert options.epochs is not None
    batches = batches_of(len(pixels), options, progress.epoch)
    generator = views_generator(options, progress.epoch)
    per_step = options.accumulate
    steps = -(-len(batches) // per_step)
    network.train()
    ranks = (current().rank,) if current().rank else ()
    seed_generators(derive(options.seed, 38, progress.epoch, *ranks), machine.device)  # dropout
    losses: list[Tensor] = []
    matched: list[Tensor] = []
    viewing, rate, started = 0.0, 0.0, time.perf_counter()
    with progress_bar(
        len(batches), f"epoch {progress.epoch + 1}/{options.epochs}", "batches"
    ) as bar:
        for number, index in enumerate(batches):
            before = time.perf_counter()
            inputs = two_views(pixels[distributed.part(index)], views, generator, machine)
            viewing += time.perf_counter() - before
            sim, target = candidates.compare(network, inputs, Batch(len(index), generator, machine))
            loss = functional.cross_entropy(sim, target)
            first, last = (
                number % per_step == 0,
                number % per_step == per_step - 1 or number == len(batches) - 1,
            )
            if first:
                optimizer.zero_grad(set_to_none=True)
                together = min(per_step, len(batches) - number)
            scaler.scale(loss / together).backward()
            if last:
                distributed.sum_gradients(network)
                rate = warmed_cosine(
                    options.peak,
                    progress.epoch * steps + number // per_step,
                    options.epochs * steps,
                    options.warmup,
                )
                for group in optimizer.param_groups:
                    group["lr"] = rate
                scaler.step(optimizer)
                scaler.update()
                candidates.stepped(network)
            losses.append(loss.detach())
            matched.append(partners_found(sim.detach(), target).float().mean())
            bar.update()
            if (
                number % 20 == 0 or number == len(batches) - 1
            ):  # reading a number waits for the device
                if not math.isfinite(float(losses[-1])):
                    raise EnvironmentFailure(_diverged(progress, number + 1, rate))
                bar.set_postfix(
                    {
                        "loss": f"{float(losses[-1]):.4f}",
                        "partners found": f"{100 * float(matched[-1]):.1f} %",
                    },
                    refresh=False,
                )
    seconds = time.perf_counter() - started
    new = torch.stack(losses).double().cpu()
    if not bool(new.isfinite().all()):
        raise EnvironmentFailure(_diverged(progress, int((~new.isfinite()).nonzero()[0]) + 1, rate))
    progress.losses += new.tolist()
    return {
        "loss": float(new.mean()),
        "found": float(torch.stack(matched).double().mean()),
        "lr": rate,
        "images_per_second": round(len(batches) * options.batch_size / seconds, 1),
        "views_share": round(viewing / seconds, 4),
    }


def _optimizer(network: Contrast, options: ContrastOptions) -> torch.optim.Optimizer:
    """Biases and normalisation do not decay, and LARS does not adapt to them."""
    parts = groups(network, options.weight_decay)
    if options.optimizer == "lars":
        return Lars(parts, options.peak)
    return uncompiled(torch.optim.Adam)(
        parts, options.peak, fused=next(network.parameters()).device.type in ("cpu", "cuda")
    )


def _diverged(progress: ContrastiveProgress, batch: int, rate: float) -> str:
    return (
        f"the loss stopped being a number in epoch {progress.epoch + 1}, batch {batch}, at "
        f"learning rate {rate:.3g}; "
        "a smaller --lr, a longer --warmup or a larger --temperature usually helps"
    )


def _write_history(folder: Path, progress: ContrastiveProgress) -> None:
    """Bring the history to what was really finished: a line per epoch, the same after a kill as
    without one."""
    write_text(
        folder / HISTORY,
        "".join(json.dumps(line, allow_nan=False) + "\n" for line in progress.history),
    )
