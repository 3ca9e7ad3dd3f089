"""Attacks that make one perturbation for all images, on training images of the data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from advlab.config.options.run import OneForAllOptions, SharedPerturbationOptions
from advlab.config.radii import eps_digits, eps_text, norm_name
from advlab.data.image_set import Images, ImageSet, take
from advlab.errors import UsageError
from advlab.experiments.attack.figures import caption_of, title_words
from advlab.experiments.attack.setting import Prepared, Setting
from advlab.experiments.attack.tasks import tasks_of
from advlab.metrics.classification import is_correct
from advlab.metrics.intervals import with_interval
from advlab.perturbation.geometry import P, round_to_bytes
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.shared import placed, random_ones
from advlab.perturbation.sweep import judge
from advlab.perturbation.victim import Victim
from advlab.plots.sheets import Change, changes
from advlab.plots.style import save
from advlab.results.attack import AttackResult, SharedPerturbation, SharedPerturbations
from advlab.runs import sealed
from advlab.runs.table import counted, percent, table

DRAWS = 10
"""Random perturbations that one for all images is compared with."""

Make = Callable[[Victim, Images, "int | None", float, Any], Tensor]
"""The ``made`` of a file in ``advlab/attacks``: from the network, training images, target class, ε
and options to a perturbation (1, C, H, W)."""


@dataclass
class OneForAll:
    """An attack as ``sweep`` calls it, which puts the same perturbation on all images.

    The perturbation of an ε is made when it is first asked for, and written to the run's folder,
    from which an interrupted run goes on.

    Attributes:
        make: makes it.
        source: the network that it is made on.
        victim: the network that is attacked.
        training: the images that it is made on; with a target, none of that class.
        images: those of the run.
        target: the class that all images are to be taken for; None for any but their own.
        options: those of the attack.
        folder: of the run.
    """

    make: Make
    source: Victim
    victim: Victim
    training: Images
    images: Images
    target: int | None
    options: SharedPerturbationOptions
    folder: Path
    _made: dict[float, Tensor] = field(default_factory=dict)

    @staticmethod
    def of(make: Make, setting: Setting, start: Prepared, folder: Path) -> OneForAll:
        """The attack of a run."""
        options: SharedPerturbationOptions = setting.config.options
        images, target = tasks_of(options, setting.data)
        assert not isinstance(target, str)  # the options have no target that depends on the image
        training = training_images(setting.data, options, target)
        source = start.source or start.victim
        return OneForAll(make, source, start.victim, training, images, target, options, folder)

    def __call__(
        self,
        victim: Victim,
        images: Tensor,
        goal: Goal,
        random: ImageRandom,
        eps: float,
        options: SharedPerturbationOptions,
    ) -> Tensor:
        """Images (N, C, H, W) in [0, 1] with the perturbation of this eps."""
        result = placed(images, self.perturbation(eps))
        if options.quantize:
            return round_to_bytes(result, images, eps, self._p)
        return result

    @property
    def _p(self) -> float:
        return P[self.options.model_dump()["norm"]]

    def perturbation(self, eps: float) -> Tensor:
        """The perturbation of an eps, float32 (1, C, H, W) on the CPU."""
        if eps not in self._made:
            stored = self._stored(eps) if self.options.resume else None
            self._made[eps] = self._new(eps) if stored is None else stored
        return self._made[eps]

    def _stored(self, eps: float) -> Tensor | None:
        """What an interrupted run has made of an eps."""
        content = sealed.read_tensors(self.folder / perturbation_file(eps))
        return None if content is None else content[0]["perturbation"]

    def _new(self, eps: float) -> Tensor:
        perturbation = torch.zeros(1, *self.images.pixels.shape[1:])
        if eps > 0:
            perturbation = self.make(
                self.source, self.training, self.target, eps, self.options
            ).cpu()
        sealed.write_tensors(self.folder / perturbation_file(eps), {"perturbation": perturbation})
        return perturbation

    def random(self, eps: float) -> Tensor:
        """Random perturbations of the same norm, float32 (DRAWS, C, H, W)."""
        shape = tuple(self.images.pixels.shape[1:])
        return random_ones(shape, eps, self._p, DRAWS, self.options.seed)

    def compared(self, radii: Sequence[float]) -> SharedPerturbations:
        """The figures at each eps, beside those of random perturbations."""
        return SharedPerturbations(
            training_images=len(self.training),
            draws=DRAWS,
            points=[self._point(eps) for eps in radii],
        )

    def _point(self, eps: float) -> SharedPerturbation:
        perturbation = self.perturbation(eps)
        own = _rates(self.victim, self.images, perturbation, self.target)
        training = _rates(self.source, self.training, perturbation, self.target)
        draws = [
            _rates(self.victim, self.images, one[None], self.target) for one in self.random(eps)
        ]
        targeted = [one.target for one in draws if one.target is not None]
        return SharedPerturbation(
            eps=eps,
            fooling_rate=own.fooling,
            training_fooling_rate=training.fooling,
            random_fooling_rate=sum(one.fooling for one in draws) / DRAWS,
            accuracy=own.accuracy,
            random_accuracy=sum(one.accuracy for one in draws) / DRAWS,
            target_rate=own.target,
            random_target_rate=sum(targeted) / DRAWS if targeted else None,
        )

    def draw(self, result: AttackResult, shared: SharedPerturbations) -> None:
        """Draw the perturbation of each eps above a random one, with what each does."""
        columns = [
            (
                Change(
                    self.perturbation(point.eps)[0].numpy(),
                    f"ε = {eps_text(point.eps)}\nfools {percent(point.fooling_rate)}",
                ),
                Change(
                    self.random(point.eps)[0].numpy(),
                    f"random, one of {shared.draws}\n"
                    f"fool {percent(point.random_fooling_rate)} on average",
                ),
            )
            for point in shared.points
            if point.eps > 0
        ]
        if columns:
            title = f"The perturbation for all images: {title_words(result)}, "
            caption = f"{_made_on(shared)} · {caption_of(result)}"
            drawn = changes(columns, title + norm_name(result.norm), caption)
            save(drawn, self.folder / "perturbation.png")


def perturbation_file(eps: float) -> str:
    """Name of the file that holds the perturbation of an eps."""
    return f"perturbation-eps{eps_digits(eps)}.safetensors"


def as_table(shared: SharedPerturbations, norm: str, images: int) -> str:
    """The figures of each ε, as a table.

    Args:
        images: how many images the rates are of.
    """
    rows = []
    for point in shared.points:
        row = [
            eps_text(point.eps),
            with_interval(point.fooling_rate, images),
            percent(point.training_fooling_rate),
            percent(point.random_fooling_rate),
            with_interval(point.accuracy, images),
            percent(point.random_accuracy),
        ]
        if point.target_rate is not None and point.random_target_rate is not None:
            row += [percent(point.target_rate), percent(point.random_target_rate)]
        rows.append(row)
    heads = ["fooling rate", "of training images", "of random", "accuracy", "under random"]
    if shared.points[0].target_rate is not None:
        heads += ["taken for the target", "under random"]
    return table([f"one perturbation, ε ({norm})", *heads], rows)


def note(shared: SharedPerturbations) -> str:
    """What these figures are of."""
    return (
        f"{_made_on(shared)}; fooling rate: images whose predicted class changes; it and accuracy "
        f"are with the perturbation on all images, random ones the mean of {shared.draws}"
        + ("" if shared.points[0].target_rate is None else "; taken for the target: of the others")
    )


def _made_on(shared: SharedPerturbations) -> str:
    count = counted(shared.training_images, "training image")
    return f"one perturbation for all images, made on {count}"


@dataclass(frozen=True)
class _Rates:
    """Fractions with a perturbation on all images; ``target`` is None without a target, and where
    all images are of that class."""

    fooling: float
    accuracy: float
    target: float | None


def _rates(victim: Victim, images: Images, perturbation: Tensor, target: int | None) -> _Rates:
    clean = images.inputs(slice(None))
    before, after = judge(victim, clean), judge(victim, placed(clean, perturbation))
    predicted = after.argmax(1)
    taken = None
    if target is not None:
        others = predicted[images.labels != target]
        taken = float((others == target).double().mean()) if len(others) else None
    return _Rates(
        fooling=float((before.argmax(1) != predicted).double().mean()),
        accuracy=float(is_correct(after, images.labels).double().mean()),
        target=taken,
    )


def training_images(data: ImageSet, options: OneForAllOptions, target: int | None) -> Images:
    """The training images that one perturbation or patch is made on; with a target, none of it.

    Raises:
        UsageError: there are none.
    """
    training = data.train
    if target is not None:
        training = training.select((training.labels != target).nonzero().squeeze(1))
    if len(training) == 0:
        raise UsageError(
            f"{data.name}: has no training images to make the perturbation on"
            + ("" if target is None else f" that are not of class {options.target} already")
        )
    return take(training, options.train_size, options.seed)
