"""Training beside a plain DataLoader loop: images per CPU-second, and CPU-seconds to 99.3 % on the
validation images.

    pip install -e . && python -m benchmarks.training --data-dir data

Both train the same network, the bench's ``cnn``, on the same images. The loop is the one of most
tutorials: a Dataset of single images, ToTensor and Normalize, batches of 64, Adam at 1e-3, float32.
Writes ``benchmarks/training.md``.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from advlab.data.image_set import Images, ImageSet, take
from advlab.models import cnn
from advlab.networks.classifier import assemble
from advlab.runs.machine import prepare
from advlab.training.fit import TrainingProgress, fit
from benchmarks import _timing, _victims

MEAN, STD = [0.1307], [0.3081]


class Singles(Dataset[tuple[Tensor, int]]):
    """Images one by one, decoded and normalised as they are asked for, as torchvision's own data
    sets do it."""

    def __init__(self, images: Images) -> None:
        """Wrap images of one channel."""
        self._pixels, self._labels = images.pixels[:, 0].numpy(), images.labels.tolist()
        self._transform = transforms.Compose(
            [transforms.ToPILImage(), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        )

    def __len__(self) -> int:
        """How many."""
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One image (1, H, W), normalised, and its label."""
        pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = self._pixels[index]
        return self._transform(pixels), self._labels[index]


class Reached(Exception):
    """The validation accuracy asked for."""


Epoch = Callable[[int, float], None]
"""Called after each epoch with its number and the validation accuracy."""


def ours(train: Images, data: ImageSet, epochs: int, seed: int, after: Epoch) -> None:
    """The bench's fit loop with the network's own defaults."""
    options = cnn.Options(epochs=epochs, seed=seed, threads=1)
    torch.manual_seed(seed)
    model = assemble("cnn", cnn.Architecture(), data.shape, len(data.classes), MEAN, STD).to(
        memory_format=torch.channels_last
    )

    def keep(network: nn.Module, progress: TrainingProgress) -> None:
        after(progress.epoch, progress.best_score)

    with tempfile.TemporaryDirectory() as folder:
        fit(model, train, data.val, options, prepare(options), Path(folder), keep=keep)


def plain(train: Images, data: ImageSet, epochs: int, seed: int, after: Epoch) -> None:
    """The tutorials' loop."""
    torch.manual_seed(seed)
    model = assemble("cnn", cnn.Architecture(), data.shape, len(data.classes), MEAN, STD)[1]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(1, epochs + 1):
        model.train()
        for images, labels in DataLoader(Singles(train), batch_size=64, shuffle=True):
            optimizer.zero_grad()
            functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
        model.eval()
        right = 0
        with torch.no_grad():
            for images, labels in DataLoader(Singles(data.val), batch_size=500):
                right += int((model(images).argmax(1) == labels).sum())
        after(epoch, right / len(data.val))


LOOPS = {"advlab": ours, "DataLoader loop": plain}


def main() -> None:
    """Measure both questions and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument(
        "--images", type=int, default=6000, help="for the speed: one epoch over this many"
    )
    parser.add_argument(
        "--seeds", type=int, default=3, help="for the time to an accuracy: trainings of each"
    )
    parser.add_argument(
        "--reach", type=float, default=0.993, help="the validation accuracy to reach"
    )
    parser.add_argument(
        "--epochs", type=int, default=10, help="after how many epochs the loop gives up"
    )
    parser.add_argument("--table", default="benchmarks/training.md")
    given = parser.parse_args()
    data = _victims.images(given.data_dir)
    torch.set_num_threads(1)
    rows = [_speed(data, given.images, given.turns)]
    print(" | ".join(rows[0]), flush=True)
    rows += _times(data, given.reach, given.seeds, given.epochs)
    text = [
        f"{data.origin}; network `cnn`. {_timing.machine()}; "
        f"{_timing.versions(('torch', 'torchvision'))}. "
        f"The speed is the median of {given.turns} repetitions (lowest to highest).",
        "Written by `python -m benchmarks.training`. advlab trains with its defaults (one cycle of "
        "three epochs if an accuracy is to be reached). The loop uses Adam at a constant 1e-3 in "
        "batches of 64. Each stops after the epoch that reaches the accuracy, the loop after "
        f"{given.epochs} epochs at the latest.",
    ]
    _timing.write(
        Path(given.table),
        "Training compared with a plain loop",
        text,
        ["measurement", *LOOPS, "ratio"],
        rows,
    )


def _speed(data: ImageSet, count: int, turns: int) -> list[str]:
    """Images per CPU-second of an epoch, validation left out."""
    part = take(data.train, min(count, len(data.train)), 0)
    few = ImageSet(data.name, data.classes, part, take(data.val, 100, 0), data.test, data.origin)
    timings = _timing.in_turns(
        {
            name: functools.partial(loop, part, few, 1, 0, lambda epoch, accuracy: None)
            for name, loop in LOOPS.items()
        },
        turns,
        "images per CPU-second",
    )
    speeds = {
        name: [len(part) / seconds for seconds in timing.seconds]
        for name, timing in timings.items()
    }
    shown = [
        f"{len(part) / timings[name].median:,.0f} ({min(each):,.0f} to {max(each):,.0f})"
        for name, each in speeds.items()
    ]
    times = _timing.ratio(timings["advlab"], timings["DataLoader loop"])
    return ["images per CPU-second, one epoch", *shown, f"{times:.1f} ×"]


@dataclass(frozen=True)
class Climb:
    """How a training went: CPU-seconds, epochs, its best validation accuracy, and whether that was
    enough."""

    seconds: float
    epochs: int
    best: float
    reached: bool

    def __str__(self) -> str:
        """For the table and the terminal."""
        plural = "epoch" if self.epochs == 1 else "epochs"
        return (
            f"{self.seconds:.0f} ({self.epochs} "
            f"{plural}{'' if self.reached else f', only {100 * self.best:.2f} %'})"
        )


def _times(data: ImageSet, reach: float, seeds: int, most: int) -> list[list[str]]:
    """CPU-seconds until a validation accuracy is reached, the two loops in turn for each seed."""
    rows = []
    for seed in range(seeds):
        climbs = {
            name: _climb(loop, data, reach, seed, 3 if name == "advlab" else most)
            for name, loop in LOOPS.items()
        }
        first, last = climbs.values()
        bound = "at least " if first.reached and not last.reached else ""
        ratio = f"{bound}{last.seconds / first.seconds:.1f} ×" if first.reached else "–"
        rows.append(
            [
                f"CPU-seconds to {100 * reach:.1f} % on validation images, seed {seed}",
                *map(str, climbs.values()),
                ratio,
            ]
        )
        print(" | ".join(rows[-1]), flush=True)
    return rows


def _climb(
    loop: Callable[..., None], data: ImageSet, reach: float, seed: int, epochs: int
) -> Climb:
    """Train until the accuracy is reached, or for ``epochs``."""
    started, history = time.process_time(), [(0, 0.0)]

    def after(epoch: int, accuracy: float) -> None:
        history.append((epoch, accuracy))
        if accuracy >= reach:
            raise Reached

    with contextlib.suppress(Reached):
        loop(data.train, data, epochs, seed, after)
    best = max(accuracy for _, accuracy in history)
    return Climb(time.process_time() - started, history[-1][0], best, best >= reach)


if __name__ == "__main__":
    main()
