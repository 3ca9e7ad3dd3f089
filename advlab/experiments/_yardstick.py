"""The classifier that a generator's images are measured with: the one that is named, or one trained per data set."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from advlab.config.resolve import Config
from advlab.datasets._set import ImageSet
from advlab.errors import UserError
from advlab.experiments import train
from advlab.experiments._victim import Subject, load_subject
from advlab.gan._yardstick import Yardstick
from advlab.input_files import is_plain
from advlab.models import cnn
from advlab.runs.machine import Machine

FILE = "yardstick.safetensors"


def yardstick_subject(options: Any, data: ImageSet, say: Callable[[str], None]) -> Subject:
    """The classifier for the images of ``data``: ``--yardstick``, or ``advlab train cnn`` with its defaults and seed 0.

    The latter is trained once for a data set and machine, and found again afterwards.

    Raises:
        UserError: the one that is named takes other images.
    """
    if options.yardstick is not None:
        subject = load_subject(options.yardstick, "--yardstick")
        channels, height, width = data.shape
        if subject.card.shape[1:] != (height, width) or channels % subject.card.shape[0]:
            raise UserError(
                f"--yardstick: {subject.file} takes images of {' × '.join(map(str, subject.card.shape))}; "
                f"{data.name} has {' × '.join(map(str, data.shape))}"
            )
        return subject
    shared = {key: getattr(options, key) for key in ("data_dir", "image_size", "split_seed", "out", "device", "threads")}
    say(f"the yardstick: a classifier of {data.stacked_of or data.name}, trained once and frozen")
    config = Config("train", "cnn", cnn.Options(dataset=data.stacked_of or data.name, **shared))
    metrics = train.run(config, lambda lines: say(textwrap.indent(lines, "  ")))
    return load_subject(metrics["folder"], "--yardstick")


def ready(subject: Subject, machine: Machine) -> Yardstick:
    """The classifier, cut where it is measured."""
    return Yardstick(subject.network, subject.card.shape, machine.device)


def kept_beside(folder: Path, subject: Subject) -> None:
    """Put a copy of the classifier into a run's folder, so that its generator can be measured where the data are not."""
    shutil.copyfile(subject.file, folder / f".{FILE}.tmp")
    (folder / f".{FILE}.tmp").replace(folder / FILE)


def beside(generator: Path, machine: Machine) -> tuple[Yardstick, tuple[str, ...]] | None:
    """The classifier that lies beside a generator's file, and the names of its classes; None where there is none."""
    file = generator.parent / FILE
    if not is_plain(file):
        return None
    subject = load_subject(str(file), "--generator")
    return ready(subject, machine), subject.card.classes
