"""The training loop of a GAN, with a state to resume from after each epoch.

As in every training here, all randomness of epoch ``e`` is a function of (seed, e), so a resumed
training ends in the bits of an unbroken one.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor

from advlab.config.options.gan import GanOptions
from advlab.errors import EnvironmentFailure
from advlab.gan import checkpoint as gan_checkpoint
from advlab.gan.checkpoint import FILE
from advlab.gan.collapse_monitor import CollapseIndicator, indicators_of, is_lasting
from advlab.gan.networks import GanNetworks, latents, pixels_of
from advlab.gan.steps import GanSteps
from advlab.logs import logger
from advlab.networks.checkpoint import sha256
from advlab.networks.layout import arranged
from advlab.networks.metadata import GeneratorMetadata
from advlab.progress import EpochNotes, progress_bar
from advlab.runs.files import write_text
from advlab.runs.machine import Machine, derive, seed_generators
from advlab.runs.table import counted
from advlab.training.state import Stateful, restore, store

STATE, HISTORY, STEPS, EVALUATIONS = "resume.pt", "history.jsonl", "steps.csv", "evaluations.jsonl"
COLUMNS = ("loss_d", "d_real", "d_fake", "loss_g", "grad_g")
GRID = 64
_USUAL_EPOCHS, _LEAST_STEPS, _EARLY_STEPS, _STEPS_BETWEEN, _GRIDS = 15, 3000, 1000, 150, 20
_SECONDS_BETWEEN = 5.0

# From a pair, what is measured of its images: variety, and distances from the real ones.
Measure = Callable[[GanNetworks], Mapping[str, float]]


class SeenIndicator(TypedDict):
    """Something that is wrong, as the state and ``evaluations.jsonl`` hold it."""

    name: str
    words: str


class Evaluation(TypedDict):
    """Figures measured on a small sample after an epoch, and the indicators of collapse: a line of
    ``evaluations.jsonl``. FID falls with ``fid_images``, the number of images that it is of."""

    epoch: int
    fid: float
    fid_images: int
    modes: float
    real_modes: float
    imbalance: float
    evenness: float
    spread: float
    duplicates: float
    collapsed: bool
    indicators: list[SeenIndicator]


@dataclass
class GanProgress:
    """The state of a GAN training.

    Attributes:
        kept: the epoch that the checkpoint is of: the last one that was evaluated and had not
            collapsed.
        kept_sha256: hash of that checkpoint.
        history: a line per epoch: means of the steps' columns.
        evaluations: what was measured now and then, and what was wrong.
        steps: the columns over all steps, (steps,) each.
        grids: epochs that were drawn, and 64 images of the same z in each, uint8 (64, C, H, W).
        stopped: why it was stopped early; empty where it was not.
    """

    epoch: int = 0
    moves: int = 0
    kept: int = 0
    kept_sha256: str = ""
    seconds: float = 0.0
    stopped: str = ""
    first_gradient: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    steps: dict[str, Tensor] = field(
        default_factory=lambda: {name: torch.zeros(0) for name in COLUMNS}
    )
    grids: list[tuple[int, Tensor]] = field(default_factory=list)

    @property
    def indicators(self) -> list[tuple[int, SeenIndicator]]:
        """The first epoch in which each indicator was seen."""
        first: dict[str, tuple[int, SeenIndicator]] = {}
        for evaluation in self.evaluations:
            for indicator in evaluation["indicators"]:
                first.setdefault(indicator["name"], (evaluation["epoch"], indicator))
        return list(first.values())


@dataclass(frozen=True)
class Pace:
    """How long a training is, and how often it is evaluated and drawn: all in epochs."""

    epochs: int
    evaluate_every: int
    grid_every: int


def pace_of(options: GanOptions, images: int) -> Pace:
    """Return the epochs and intervals that the options give, or that suit this number of images."""
    steps = max(1, images // options.batch_size)
    epochs = options.epochs or max(_USUAL_EPOCHS, -(-_LEAST_STEPS // steps))
    return Pace(
        epochs,
        options.evaluate_every or -(-_STEPS_BETWEEN // steps),
        options.grid_every or -(-epochs // _GRIDS),
    )


def train_networks(
    pair: GanNetworks,
    metadata: GeneratorMetadata,
    pixels: Tensor,
    options: GanOptions,
    pace: Pace,
    machine: Machine,
    folder: Path,
    measure: Measure,
    picture: Callable[[int, Tensor], None],
) -> GanProgress:
    """Train the pair, and keep the last of its states that had not collapsed in ``folder``.

    Args:
        pair: on ``machine.device``; changed in place.
        pixels: the images to train on, uint8 (N, C, H, W).
        measure: called at every evaluation.
        picture: given an epoch and the images of the same z in each, uint8 (64, C, H, W), whenever
            a grid is due.

    Returns:
        What happened.

    Raises:
        EnvironmentFailure: a loss stopped being a number. What was kept before stays.
    """
    steps = GanSteps(pair, options, machine)
    parts: dict[str, Stateful] = {
        "pair": pair,
        "of_generator": steps.of_generator,
        "of_discriminator": steps.of_discriminator,
    }
    progress = (
        restore(folder / STATE, parts, GanProgress) if options.resume else None
    ) or GanProgress()
    steps.moves = progress.moves
    fixed = latents(derive(options.seed, 11), GRID, pair.zdim)
    if progress.epoch:
        logger.info(f"going on after epoch {progress.epoch} of {pace.epochs}")
    else:
        _draw(pair, fixed, progress, picture)
    _write(folder, progress)
    pixels = pixels.to(machine.device)
    written = time.perf_counter()
    notes = EpochNotes(pace.epochs)
    while progress.epoch < pace.epochs and not progress.stopped:
        started = time.perf_counter()
        _epoch(steps, pixels, pace, progress)
        last = progress.epoch == pace.epochs
        if last or progress.epoch % pace.grid_every == 0:
            _draw(pair, fixed, progress, picture)
        evaluated = last or progress.epoch % pace.evaluate_every == 0
        if evaluated:
            _evaluate(pair, measure, options.loss, options.on_collapse == "stop", progress)
            if progress.kept == progress.epoch:
                training = {"seed": options.seed, "epoch": progress.epoch}
                gan_checkpoint.save(
                    folder / FILE, pair, metadata.model_copy(update={"training": training})
                )
                progress.kept_sha256 = sha256(folder / FILE)
        progress.seconds += time.perf_counter() - started
        progress.history[-1]["seconds"] = round(progress.seconds, 3)
        progress.moves = steps.moves
        notes(progress.epoch, _figures(progress))
        if (
            evaluated or time.perf_counter() - written > _SECONDS_BETWEEN
        ):  # an epoch of a small set is shorter than writing it down
            store(folder / STATE, parts, vars(progress))
            _write(folder, progress)
            written = time.perf_counter()
    return progress


def _figures(progress: GanProgress) -> dict[str, str]:
    """What an epoch's line says: both losses, and the newest FID with the number of its images."""
    means = progress.history[-1]
    figures = {
        "discriminator loss": f"{means['loss_d']:.3f}",
        "generator loss": f"{means['loss_g']:.3f}",
    }
    if progress.evaluations:
        newest = progress.evaluations[-1]
        # A run that began with an earlier version did not store the number.
        images = newest.get("fid_images")
        of = "" if images is None else f" of {counted(images, 'image')}"
        figures[f"FID{of}"] = f"{newest['fid']:.2f}" + (
            f" (epoch {newest['epoch']})" if newest["epoch"] != progress.epoch else ""
        )
    return {**figures, "time": f"{progress.seconds:.0f} s"}


def _draw(
    pair: GanNetworks, fixed: Tensor, progress: GanProgress, picture: Callable[[int, Tensor], None]
) -> None:
    images = pixels_of(pair.average, fixed)
    progress.grids.append((progress.epoch, images))
    picture(progress.epoch, images)


def _epoch(steps: GanSteps, pixels: Tensor, pace: Pace, progress: GanProgress) -> None:
    """One pass over the images; a last batch that is not full is left for another epoch's order to
    bring."""
    options, machine = steps.options, steps.machine
    seed_generators(derive(options.seed, 12, progress.epoch), machine.device)
    order = torch.randperm(len(pixels))
    batches = [part for part in order.split(options.batch_size) if len(part) == options.batch_size]
    steps.pair.train()
    columns: dict[str, list[Tensor]] = {name: [] for name in COLUMNS}
    still = torch.zeros(2, device=machine.device)  # what the generator's last step said
    started = time.perf_counter()
    with progress_bar(len(batches), f"epoch {progress.epoch + 1}/{pace.epochs}", "steps") as bar:
        for number, index in enumerate(batches):
            real = arranged(
                pixels[index.to(machine.device)].float().div_(127.5).sub_(1), torch.channels_last
            )
            its_turn = number % options.critic_steps == 0
            with torch.set_grad_enabled(
                its_turn
            ):  # the generator's step goes back through the images that the discriminator saw
                fake = steps.generated(len(real))
            figures = steps.discriminate(real, fake)
            if its_turn:
                still = steps.generate(fake)
            for name, value in zip(COLUMNS, torch.cat([figures, still]), strict=True):
                columns[name].append(value)
            bar.update()
            if (
                number % 25 == 24 or number == len(batches) - 1
            ):  # reading a number waits for the device
                loss_d, d_real, d_fake, loss_g, _ = (float(columns[name][-1]) for name in COLUMNS)
                if not math.isfinite(loss_d + loss_g + d_real + d_fake):
                    raise EnvironmentFailure(_diverged(progress, number + 1))
                postfix = {
                    "D": f"{loss_d:.3f}",
                    "G": f"{loss_g:.3f}",
                    "D(real)": f"{d_real:.2f}",
                    "D(fake)": f"{d_fake:.2f}",
                }
                bar.set_postfix(postfix, refresh=False)
    speed = len(batches) * options.batch_size / (time.perf_counter() - started)
    new = {name: torch.stack(values).cpu() for name, values in columns.items()}
    progress.steps = {name: torch.cat([progress.steps[name], new[name]]) for name in COLUMNS}
    progress.epoch += 1
    means = {name: float(values.mean()) for name, values in new.items()}
    if progress.epoch == 1:
        progress.first_gradient = means["grad_g"]
    progress.history.append(
        {
            "epoch": progress.epoch,
            "steps": len(batches),
            **means,
            "images_per_second": round(speed, 1),
        }
    )


def _evaluate(
    pair: GanNetworks,
    measure: Measure,
    loss: str,
    stops: bool,
    progress: GanProgress,
) -> None:
    """Measure the generator, log indicators that are new, and decide whether to stop.

    Args:
        loss: the name of the loss, on which the indicators depend.
        stops: whether a lasting collapse ends the training.
    """
    figures = measure(pair)
    before = progress.evaluations[-1] if progress.evaluations else None
    since = sum(
        int(record["steps"]) for record in progress.history[before["epoch"] if before else 0 :]
    )
    recent = {name: values[-since:] for name, values in progress.steps.items()}
    indicators = indicators_of(figures, recent, loss, progress.first_gradient)
    collapsed = any(indicator.collapse for indicator in indicators)
    # A generator begins with images of one kind. That is a collapse only after some training, or
    # after an evaluation without one.
    was_diverse = not collapsed or any(not one["collapsed"] for one in progress.evaluations)
    early = not was_diverse and len(progress.steps["loss_d"]) < _EARLY_STEPS
    indicators = [one for one in indicators if not (early and one.collapse)]
    progress.evaluations.append(
        Evaluation(
            epoch=progress.epoch,
            fid=figures["fid"],
            fid_images=int(figures["fid_images"]),
            modes=figures["modes"],
            real_modes=figures["real_modes"],
            imbalance=figures["imbalance"],
            evenness=figures["evenness"],
            spread=figures["spread"],
            duplicates=figures["duplicates"],
            collapsed=collapsed,
            indicators=[SeenIndicator(name=one.name, words=one.words) for one in indicators],
        )
    )
    if not collapsed or not was_diverse:
        progress.kept = progress.epoch
    known = {indicator["name"] for indicator in before["indicators"]} if before else set()
    for one in indicators:
        if one.name not in known:
            logger.info(indicator_line(progress.epoch, one.name, one.words))
    if before and before["indicators"] and before["collapsed"] and not collapsed:
        logger.info(f"epoch {progress.epoch}: the collapse is over")
    if stops and is_lasting(progress.evaluations) and not early:
        progress.stopped = _stopped(indicators, progress)
        logger.info(progress.stopped)


def indicator_line(epoch: int, name: str, words: str) -> str:
    """The log line of an indicator."""
    return f"collapse monitor, epoch {epoch}: {name}: {words}"


def _stopped(indicators: list[CollapseIndicator], progress: GanProgress) -> str:
    reason = "; ".join(one.words for one in indicators if one.collapse)
    outcome = (
        f"the generator of epoch {progress.kept}, the last before the collapse, is kept"
        if progress.kept < progress.epoch
        else "no evaluation found diverse images"
    )
    return f"stopped in epoch {progress.epoch}: the generator has collapsed ({reason}); {outcome}"


def _diverged(progress: GanProgress, step: int) -> str:
    outcome = (
        f"the generator of epoch {progress.kept} is kept"
        if progress.kept
        else "no epoch was looked at before it"
    )
    return (
        f"a loss stopped being a number in epoch {progress.epoch + 1}, step {step}; {outcome}; "
        "a smaller --lr, or --critic-norm spectral, usually helps"
    )


def _write(folder: Path, progress: GanProgress) -> None:
    """Bring the files beside the state to what was really finished."""
    for name, lines in ((HISTORY, progress.history), (EVALUATIONS, progress.evaluations)):
        write_text(
            folder / name, "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
        )
    columns = [progress.steps[name].tolist() for name in COLUMNS]
    epochs = [record["epoch"] for record in progress.history for _ in range(int(record["steps"]))]
    rows = [
        ",".join([str(epoch), *(f"{value:.6g}" for value in row)])
        for epoch, *row in zip(epochs, *columns, strict=True)
    ]
    write_text(folder / STEPS, "\n".join([",".join(["epoch", *COLUMNS]), *rows]) + "\n")
