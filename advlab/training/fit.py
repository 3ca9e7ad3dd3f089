"""The fit loop of all classifiers. Defences and kinds of data are passed in.

All randomness of epoch ``e`` is a function of (seed, e), and the learning rate of the step, so the
state between two epochs is the weights, the optimiser and the best epoch so far: a resumed run ends
in the bits of an unbroken one.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from advlab.config.options.run import TrainOptions
from advlab.errors import EnvironmentFailure
from advlab.logs import logger
from advlab.metrics.classification import accuracy, is_correct
from advlab.networks.layout import arranged, memory_format
from advlab.progress import EpochNotes, progress_bar
from advlab.runs import pruning
from advlab.runs.files import write_text
from advlab.runs.machine import Machine, derive, seed_generators
from advlab.runs.processes import current
from advlab.training import distributed
from advlab.training.average import average
from advlab.training.evaluate import Examples, logits_of
from advlab.training.objective import Objective, Watch
from advlab.training.optimizers import uncompiled
from advlab.training.schedule import learning_rate
from advlab.training.state import Stateful, restore, store

STATE = "resume.pt"
HISTORY = "history.jsonl"
_WINDOW = 16  # batches whose examples are sorted by length together


@dataclass
class TrainingProgress:
    """The progress of a fit: epochs done, and the best one on validation data.

    Attributes:
        best_epoch: the last of the epochs that reached ``best_score``, which is the one kept.
        better_epoch: the first of them, after which nothing got better.
        best_score: accuracy on validation data, or whatever share the watch selects by.
        stopped: why the watch stopped it early; empty where it did not.
    """

    epoch: int = 0
    best_epoch: int = 0
    better_epoch: int = 0
    best_score: float = -1.0
    seconds: float = 0.0
    stopped: str = ""
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def best(self) -> dict[str, float]:
        """The history's record of the epoch that is kept."""
        return self.history[self.best_epoch - 1]


def fit(
    model: nn.Module,
    train: Examples,
    val: Examples,
    options: TrainOptions,
    machine: Machine,
    folder: Path,
    *,
    keep: Callable[[nn.Module, TrainingProgress], None],
    objective: Objective | None = None,
    watch: Watch | None = None,
    lasting: bool = True,
) -> TrainingProgress:
    """Train ``model`` and pass each new best epoch on validation data to ``keep``.

    Several processes share each batch. The first one validates, keeps and writes, and all of them
    return the same progress.

    Args:
        model: on ``machine.device``; trained in place.
        options: how; ``epochs`` must be settled.
        folder: where the history and the state to resume from are written after every epoch.
        keep: called with the network to keep (the running average where one is asked for) at every
            better epoch.
        objective: loss and logits of a batch; cross-entropy where not given.
        watch: looks at the network after every epoch, may choose the best one, and may stop the
            training.
        lasting: whether state, history and a line for the user are written after every epoch;
            whoever keeps the folder for the call alone needs none of them.

    Returns:
        What happened, epoch by epoch.

    Raises:
        EnvironmentFailure: the loss stopped being a number, or another process ended. What was
            kept before stays.
        Pruned: a search ended it early.
    """
    assert options.epochs is not None
    objective, watch = objective or Objective(options.label_smoothing), watch or Watch()
    optimizer = _optimizer(model, options, machine)
    scaler = torch.amp.GradScaler(machine.device.type, enabled=machine.precision == "fp16")
    averaged = copy.deepcopy(model) if options.average_decay else None
    parts: dict[str, Stateful] = {"model": model, "optimizer": optimizer, "scaler": scaler}
    if averaged is not None:
        parts["averaged"] = averaged
    progress = _restored(folder / STATE, parts) if options.resume else TrainingProgress()
    distributed.check_same_epoch(progress.epoch, folder)
    distributed.start_alike(model)
    first = current().rank == 0
    if first:
        _write_history(folder, progress)
    if progress.epoch:
        logger.info(f"going on after epoch {progress.epoch} of {options.epochs}")

    notes = EpochNotes(options.epochs)
    while (
        progress.epoch < options.epochs
        and not progress.stopped
        and not _patience_is_over(progress, options)
    ):
        pruning.check(folder, progress.history, watch.selects or "val_accuracy")
        started = time.perf_counter()
        record = _epoch(
            model, averaged, train, options, machine, objective, optimizer, scaler, progress
        )
        network = averaged or model
        if first:
            record |= _validated(network, val, machine, watch)
        # An infinite loss is announced as well, and ends all processes.
        record = json.loads(current().announce(json.dumps(record)))
        if not math.isfinite(record["val_loss"]):
            raise EnvironmentFailure(_diverged(progress, "on the validation data", record["lr"]))
        progress.epoch += 1
        progress.seconds += time.perf_counter() - started
        progress.history.append(
            {"epoch": progress.epoch, **record, "seconds": round(progress.seconds, 3)}
        )
        score = record[watch.selects or "val_accuracy"]
        if score > progress.best_score:
            progress.better_epoch = progress.epoch
        if score >= progress.best_score:
            progress.best_epoch, progress.best_score = progress.epoch, score
            if first:
                keep(network, progress)
        progress.stopped = watch.objection(progress.history) or ""
        if lasting and first:
            store(folder / STATE, parts, vars(progress))
            _write_history(folder, progress)
            notes(
                progress.epoch,
                {
                    "loss": f"{record['loss']:.4f}",
                    "validation accuracy": f"{100 * record['val_accuracy']:.2f} %",
                    "time": f"{progress.seconds:.0f} s",
                },
            )
    return progress


def _validated(
    network: nn.Module, val: Examples, machine: Machine, watch: Watch
) -> dict[str, float]:
    """Loss and accuracy on validation data, and the figures of the watch where the loss is a
    number."""
    network.eval()
    val_logits = logits_of(network, val, machine)
    loss = float(functional.cross_entropy(val_logits, val.labels))
    if not math.isfinite(loss):
        return {"val_loss": loss}
    figures = {"val_loss": loss, "val_accuracy": accuracy(val_logits, val.labels)}
    return {**figures, **watch.evaluate(network)}


def _epoch(
    model: nn.Module,
    averaged: nn.Module | None,
    train: Examples,
    options: TrainOptions,
    machine: Machine,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    progress: TrainingProgress,
) -> dict[str, float]:
    """One epoch: its mean loss, accuracy, last learning rate and images per second."""
    assert options.epochs is not None
    # Dropout and whatever an objective draws; each process draws for its own examples.
    ranks = (current().rank,) if current().rank else ()
    seed_generators(derive(options.seed, 1, progress.epoch, *ranks), machine.device)
    random = torch.Generator().manual_seed(derive(options.seed, 0, progress.epoch))
    batches = _batches(
        len(train), options.batch_size, train.sizes() if _pads(model) else None, random
    )
    steps = len(batches) * objective.replays
    layout = memory_format(model)
    set_training_mode(model)
    objective.begin()
    loss_sum = torch.zeros(
        (),
        dtype=torch.float64 if machine.device.type != "mps" else torch.float32,
        device=machine.device,
    )
    correct = torch.zeros((), dtype=torch.int64, device=machine.device)
    seen, started, rate = 0, time.perf_counter(), 0.0
    mean, right = 0.0, 0
    with progress_bar(len(train), f"epoch {progress.epoch + 1}/{options.epochs}", "images") as bar:
        for number, index in enumerate(batches):
            part = distributed.part(index)
            inputs = arranged(train.inputs(part, machine.device), layout)
            labels = train.labels[part].to(machine.device)
            for replay in range(objective.replays):
                step = progress.epoch * steps + number * objective.replays + replay
                rate = learning_rate(options, step, steps)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                with machine.autocast():
                    loss, logits = objective(model, inputs, labels, step / (options.epochs * steps))
                optimizer.zero_grad(set_to_none=True)
                scaler.scale(distributed.weighted(loss, part, index)).backward()
                distributed.sum_gradients(model)
                objective.after_backward()
                if options.clip_norm is not None:
                    scaler.unscale_(optimizer)
                    nn.utils.clip_grad_norm_(model.parameters(), options.clip_norm)
                scaler.step(optimizer)
                scaler.update()
                if averaged is not None:
                    average(averaged, model, options.average_decay, step)
            loss_sum += loss.detach() * len(part)
            correct += is_correct(logits.detach(), labels).sum()
            seen += len(index)
            bar.update(len(index))
            # Reading a number waits for the device, so it is done now and then.
            if number % 20 == 0 or number == len(batches) - 1:
                # Before the check: all processes must come to the same conclusion.
                mean = float(distributed.total(loss_sum)) / seen
                right = int(distributed.total(correct))
                if not math.isfinite(mean):
                    raise EnvironmentFailure(_diverged(progress, f"batch {number + 1}", rate))
                bar.set_postfix(
                    {"loss": f"{mean:.4f}", "accuracy": f"{100 * right / seen:.2f} %"},
                    refresh=False,
                )
    speed = seen / (time.perf_counter() - started)
    return {
        "loss": mean,
        "accuracy": right / seen,
        "lr": rate,
        "images_per_second": round(speed, 1),
    }


def set_training_mode(model: nn.Module) -> None:
    """Set the mode of training, except in layers whose weights are fixed.

    In training mode batch normalisation would go on changing the statistics of features that are
    to stay as they are.
    """
    model.train()
    for module in model.modules():
        weights = list(module.parameters(recurse=False))
        if weights and not any(weight.requires_grad for weight in weights):
            module.train(False)


def _pads(model: nn.Module) -> bool:
    """Whether the network computes on padding, so that batches of similar lengths save time."""
    return any(getattr(module, "works_through_padding", False) for module in model.modules())


def _batches(
    count: int, size: int, lengths: Tensor | None, random: torch.Generator
) -> list[Tensor]:
    """Random batches of example numbers; a last batch of one joins the one before.

    Batch norm cannot take a single example; several processes need two each. Where examples differ
    in length, those of some batches at a time are sorted by it and the batches shuffled: who meets
    whom is still drawn anew every epoch, and next to nothing is padded.
    """
    order = torch.randperm(count, generator=random)
    if lengths is not None:
        order = torch.cat(
            [window[lengths[window].argsort(stable=True)] for window in order.split(_WINDOW * size)]
        )
    batches = list(order.split(size))
    if len(batches) > 1 and len(batches[-1]) < distributed.fewest_examples():
        batches[-2:] = [torch.cat(batches[-2:])]
    if lengths is not None:
        batches = [
            batches[place] for place in torch.randperm(len(batches), generator=random).tolist()
        ]
    return batches


def _optimizer(model: nn.Module, options: TrainOptions, machine: Machine) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    fused = machine.device.type in ("cpu", "cuda")
    if options.optimizer == "sgd":
        return uncompiled(torch.optim.SGD)(
            parameters,
            options.lr,
            options.momentum,
            weight_decay=options.weight_decay,
            nesterov=options.momentum > 0,
            fused=fused,
        )
    kind = torch.optim.Adam if options.optimizer == "adam" else torch.optim.AdamW
    return uncompiled(kind)(parameters, options.lr, weight_decay=options.weight_decay, fused=fused)


def _patience_is_over(progress: TrainingProgress, options: TrainOptions) -> bool:
    return (
        options.patience is not None and progress.epoch - progress.better_epoch >= options.patience
    )


def _diverged(progress: TrainingProgress, where: str, rate: float) -> str:
    outcome = (
        f"the best epoch before it, {progress.best_epoch}, is kept"
        if progress.best_epoch
        else "no epoch was finished before it"
    )
    return (
        f"the loss stopped being a number in epoch {progress.epoch + 1}, {where}, at learning "
        f"rate {rate:.3g}; {outcome}; "
        "a smaller --lr or --clip-norm 1 usually helps"
    )


def _restored(path: Path, parts: dict[str, Stateful]) -> TrainingProgress:
    """The progress of an interrupted fit, or a new one."""
    return restore(path, parts, TrainingProgress) or TrainingProgress()


def _write_history(folder: Path, progress: TrainingProgress) -> None:
    """Write the history of finished epochs, one line each."""
    lines = [json.dumps(record, allow_nan=False) for record in progress.history]
    write_text(folder / HISTORY, "".join(f"{line}\n" for line in lines))
