"""What every attack on images of a data set starts from: networks, images and goals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from advlab.config.options.run import ImageAttackOptions
from advlab.config.resolve import Config
from advlab.data.image_set import ImageSet
from advlab.evaluation.checks import chance_check, probability_check, unsteady
from advlab.experiments.attack.tasks import pairs, tasks_of
from advlab.experiments.target_images import (
    as_surrogate,
    check_another,
    given_or_newest,
    image_number,
    loadable,
    with_images,
)
from advlab.experiments.target_model import TargetModel, named, usable_machine, weak_precision_of
from advlab.experiments.trained_on import seen_in_training
from advlab.logs import logger
from advlab.metrics.classification import is_correct
from advlab.perturbation.sweep import Tasks, judge
from advlab.perturbation.victim import Victim
from advlab.runs.machine import Machine, prepare
from advlab.runs.table import counted

_PROBE = 100  # images on which a surrogate's outputs are looked at


@dataclass(frozen=True)
class Setting:
    """What an attack is on.

    Attributes:
        config: the settled configuration.
        target: the network that is attacked.
        surrogate: the network that the images are made on, where it is another one.
        data: the images.
        mapping: the configuration from which another process loads the same.
    """

    config: Config
    target: TargetModel
    surrogate: TargetModel | None
    data: ImageSet
    mapping: Mapping[str, object]

    @property
    def contents(self) -> dict[str, str]:
        """The sha256 of the data and of the networks, by what they are."""
        contents = {"data": self.data.sha256(), **self.target.contents}
        if self.surrogate is not None:
            contents |= self.surrogate.contents_as("surrogate")
        return contents


@dataclass(frozen=True)
class Prepared:
    """A setting on its machine.

    Attributes:
        machine: where it is computed.
        victim: the network that decides whether a goal is reached.
        source: the network that the images are made on, where it is another one.
        tasks: the pairs of image and goal.
        clean: the unperturbed image of each task, float32 (T, C, H, W) in [0, 1], on the CPU.
        logits: those of the victim on all images, float32 (N, classes); not of the tasks.
        doubts: checks that failed before the attack, a sentence by the name of each.
    """

    machine: Machine
    victim: Victim
    source: Victim | None
    tasks: Tasks
    clean: Tensor
    logits: Tensor
    doubts: Mapping[str, str]

    @property
    def clean_accuracy(self) -> float:
        """Fraction of the images that the victim classifies correctly unattacked."""
        labels = self.tasks.images.labels
        return int(is_correct(self.logits, labels).sum()) / len(labels)


def settle(config: Config) -> Setting:
    """The networks and the images that the options name; a network is trained if there is none.

    Raises:
        UsageError: there is no such network, image or class, or they do not fit each other.
    """
    options: ImageAttackOptions = config.options
    given, device = named(options), prepare(options).device
    given, data = with_images(options, given, device)
    surrogate = None
    if options.surrogate is not None:
        surrogate = as_surrogate(options.surrogate, data, device)
    # An image or class that does not exist is refused before anything is made, a network first
    tasks_of(options, data)
    target = given_or_newest(given, data, options)
    if surrogate is not None:
        check_another(surrogate, target)
    settled = target.settled(config.changed(dataset=data.name))
    mapping = loadable(config, target, data, given is not None)
    return Setting(settled, target, surrogate, data, mapping)


def prepared(setting: Setting, takes_gradients: bool) -> Prepared:
    """Put the networks on the machine and predict the unperturbed images.

    Args:
        takes_gradients: whether the attack asks the network for gradients, and not for its answers
            alone.
    """
    options: ImageAttackOptions = setting.config.options
    target, surrogate, data = setting.target, setting.surrogate, setting.data
    machine = usable_machine(surrogate or target, data, prepare(options), options.precision)
    victim = Victim(target.network, machine, options.batch_size)
    source = None if surrogate is None else Victim(surrogate.network, machine, options.batch_size)
    images, goal = tasks_of(options, data)
    logits = judge(victim, images.inputs(slice(None), "cpu"))
    first = image_number(options.image, data) if options.image is not None else 0
    tasks = pairs(images, first, goal, logits)
    what = (
        f"{len(tasks):,} pairs of image and target"
        if goal == "each"
        else counted(len(tasks), "image")
    )
    origin = f", made on {surrogate.label}" if surrogate is not None else ""
    arithmetic = (
        f"gradients in {machine.precision} on {machine.device}"
        if takes_gradients
        else f"on {machine.device}"
    )
    name = setting.config.component
    logger.info(f"{name} on {target.label}, {what} of {data.name}{origin}, {arithmetic}")
    clean = tasks.clean(torch.arange(len(tasks)), torch.device("cpu"))
    doubts = chance_check(is_correct(logits, images.labels), logits.shape[1])
    doubts |= seen_in_training(target.metadata, data, options)
    if takes_gradients:
        followed = logits if source is None else source.logits(clean[:_PROBE].to(machine.device))
        doubts |= probability_check(followed)
        doubts |= weak_precision_of(surrogate or target, data, machine, options.precision)
    if target.runs_code:
        some = images.inputs(slice(0, victim.judged_together), machine.device)
        doubts |= unsteady(victim, some, getattr(options, "eot", 1))
    return Prepared(machine, victim, source, tasks, clean, logits, doubts)
