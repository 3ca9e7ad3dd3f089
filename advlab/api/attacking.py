"""One attack on a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from advlab.api.inputs import (
    INTEGERS,
    as_tensor,
    check_classes,
    checked_images,
    dependable_machine,
    fraction,
    named_machine,
    only,
    precision_check,
    required_radius,
)
from advlab.api.keywords import in_keywords, refuse_of_command_line, undisturbed, validated
from advlab.api.loading import training_check
from advlab.components import load_component
from advlab.config.options.run import (
    AttackOptions,
    OneForAllOptions,
    norm_of,
)
from advlab.errors import UsageError
from advlab.evaluation.checks import chance_check, probability_check, unsteady
from advlab.experiments.attack import checks as attack_checks
from advlab.metrics.classification import is_correct, predicted_classes
from advlab.metrics.perturbation import norms as norms_of
from advlab.metrics.smallest import quantile
from advlab.perturbation import transformed
from advlab.perturbation.geometry import check_radius
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.sweep import Tasks, judge, sweep
from advlab.perturbation.victim import Victim


@dataclass(frozen=True, repr=False)
class AttackResult:
    """What an attack reached. All tensors are on the CPU.

    Attributes:
        images: the perturbed images, float32 (N, C, H, W) in [0, 1].
        predictions: the model's classes for them, int64 (N,); -1 where its outputs are not finite.
        success: which images reached their goal, bool (N,): another class than the label, or the
            target class.
        clean_accuracy: accuracy on the images as given, in [0, 1].
        robust_accuracy: fraction of the images that are classified correctly both as given and
            perturbed, in [0, 1]. In an attack towards a target class an image that misses its
            target may be one of them, or not.
        unusable_gradients: how often an image had no gradient, or one with NaN or infinity; the
            attack then stood still, and its figure says little.
        norms: of attacks that look for the smallest perturbation: the norm of each perturbation,
            float64 (N,), in the attack's norm and pixel units; infinity for an image that did not
            reach its goal within ``eps``. None for other attacks, and with a surrogate.
        median_norm: the norm within which half of the images that the model classifies correctly
            reach their goal; None where ``norms`` is None, or where fewer of them do.
        checks_failed: why the figure is not to be believed, by the name of each failed check.
    """

    images: Tensor
    predictions: Tensor
    success: Tensor
    clean_accuracy: float
    robust_accuracy: float
    unusable_gradients: int = 0
    norms: Tensor | None = None
    median_norm: float | None = None
    checks_failed: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        """The figures in one line, without the tensors."""
        median = "" if self.norms is None else f", median_norm={self.median_norm}"
        failed = f", checks_failed={list(self.checks_failed)}" if self.checks_failed else ""
        return (
            f"AttackResult({len(self.images)} images, clean_accuracy={self.clean_accuracy:.4g}, "
            f"robust_accuracy={self.robust_accuracy:.4g}{median}{failed})"
        )


@in_keywords()
@undisturbed
def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    name: str,
    *,
    eps: float | str | None = None,
    targets: Tensor | None = None,
    surrogate: nn.Module | None = None,
    device: str = "auto",
    precision: str | None = None,
    **options: Any,
) -> AttackResult:
    """Attack a model on images.

    Args:
        model: the target model, in evaluation mode; it is copied and not changed.
        images: (N, C, H, W), floats in [0, 1] or bytes.
        labels: the true classes, integers (N,).
        name: the attack, as for ``advlab attack``: ``fgsm``, ``pgd``, ``apgd``, ``square``, ...
        eps: radius of the ball in pixel units, a number or a fraction as text: ``8 / 255`` or
            ``"8/255"`` for eight grey levels; of attacks in no ball, such as ``spatial``, None.
        targets: the class that each image shall get, integers (N,), none of them its label;
            untargeted without them.
        surrogate: the model that the images are made on, for a black-box transfer.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: of gradients: ``fp32``, ``bf16``, ``fp16`` or ``auto``, which is bf16 where the
            machine has it and the gradients on the first images point where those in float32 do;
            by default the attack's own, as on the command line: ``fp32`` of a single step and of
            attacks that look for the decision boundary, ``auto`` of most others. Whether an image
            is broken is always decided in the model's own arithmetic.
        **options: further options of the attack: ``norm``, ``steps``, ``loss``, ``seed``, ...

    Raises:
        UsageError: there is no such attack or option, or a value is out of range.
        ValueError: images and labels do not fit each other, a target is the label, or the model is
            in training mode.
        TypeError: the model is no ``torch.nn.Module``.
    """
    module = load_component("advlab.attacks", name, "attack")
    if getattr(module, "TAKES", "images") != "images":
        raise UsageError(f"{name} takes texts; from Python, attacks are on images")
    if issubclass(module.Options, OneForAllOptions):
        raise UsageError(
            f"{name}: makes one perturbation on training images; from Python it goes by "
            f"advlab.run('attack {name} ...')"
        )
    refuse_of_command_line(options, name)
    given: dict[str, object] = {"surrogate": "another model"} if surrogate is not None else {}
    named_machine(device, precision or "auto")
    if precision is not None:
        given["precision"] = precision
    in_ball = issubclass(module.Options, AttackOptions)
    if in_ball:
        given["eps"] = [required_radius(eps, name, options)]
    elif eps is not None:
        raise UsageError(f"{name}: no option 'eps'; its threat model is no ball of a radius")
    settings = validated(module.Options, name, **given, **options)
    if "norm" in type(settings).model_fields:
        check_radius(settings.norm, settings.eps[0])
    data = checked_images(images, labels)
    precision = settings.precision
    machine = dependable_machine(model if surrogate is None else surrogate, data, device, precision)
    victim = Victim(model, machine, settings.batch_size)
    wanted = data.labels if targets is None else as_tensor(targets, "targets").cpu()
    if wanted.dtype not in INTEGERS:
        raise ValueError(f"targets: {wanted.dtype}; they must be integers")
    wanted = wanted.to(torch.int64)
    if wanted.shape != data.labels.shape:
        raise ValueError(f"targets: shape {tuple(wanted.shape)} for {len(data)} images")
    doubts = {}
    if settings.sees == "gradients":
        doubts = precision_check(surrogate or model, data, machine, precision)
    some = data.inputs(slice(0, victim.judged_together), machine.device)
    doubts |= unsteady(victim, some, getattr(settings, "eot", 1))
    tasks = Tasks(data, torch.arange(len(data)), wanted, targeted=targets is not None)
    source = None if surrogate is None else Victim(surrogate, machine)
    clean = judge(victim, data.inputs(slice(None)))
    check_classes(data.labels, clean.shape[1], "labels")
    doubts |= chance_check(is_correct(clean, data.labels), clean.shape[1])
    doubts |= training_check(model, data)
    if surrogate is model:
        raise ValueError("surrogate: is the model itself; leave it out to attack that")
    if source is not None:
        count = source.logits(data.inputs(slice(0, 1), machine.device)).shape[1]
        if count != clean.shape[1]:
            raise ValueError(
                f"surrogate: tells {count} classes apart, and the model {clean.shape[1]}"
            )
    if settings.sees == "gradients":
        doubts |= probability_check(clean if source is None else source.logits(some))
    check_classes(wanted, clean.shape[1], "targets")
    if targets is not None and bool((wanted == data.labels).any()):
        number = int((wanted == data.labels).nonzero()[0])
        raise ValueError(
            f"targets: the target of image {number} is its own label {int(wanted[number])}"
        )
    if not in_ball:
        return _transformed(module, victim, source, tasks, settings, clean, doubts)
    point = only(sweep(module.perturb, victim, tasks, settings, surrogate=source))
    norms = median = None
    if settings.minimum_norm and source is None:
        sizes = norms_of(point.perturbed, data.inputs(slice(None)))[norm_of(settings)]
        norms = sizes.where(point.reached, torch.inf)
        median = quantile(norms[is_correct(clean, data.labels)], 0.5)
    return AttackResult(
        point.perturbed,
        predicted_classes(point.logits),
        point.reached,
        fraction(is_correct(clean, data.labels)),
        fraction(is_correct(clean, data.labels) & is_correct(point.logits, data.labels)),
        point.unusable_gradients,
        norms,
        median,
        {**doubts, **attack_checks.failed([point], tasks, clean)},
    )


def _transformed(
    module: ModuleType,
    victim: Victim,
    source: Victim | None,
    tasks: Tasks,
    options: Any,
    clean: Tensor,
    doubts: Mapping[str, str],
) -> AttackResult:
    """What an attack in no Lp ball reaches, such as rotations and translations."""

    def search(
        network: Victim, images: Tensor, goal: Goal, random: ImageRandom
    ) -> transformed.Searched:
        searched: transformed.Searched = module.search(network, images, goal, random, options)
        return searched

    outcome = transformed.attacked(
        search,
        victim,
        tasks,
        unchanged=module.unchanged(tuple(tasks.images.pixels.shape[1:])),
        seed=options.seed,
        batch_size=options.batch_size,
        surrogate=source,
    )
    labels = tasks.images.labels
    return AttackResult(
        outcome.searched.images,
        predicted_classes(outcome.logits),
        outcome.reached,
        fraction(is_correct(clean, labels)),
        fraction(is_correct(clean, labels) & is_correct(outcome.logits, labels)),
        outcome.gradients.unusable,
        checks_failed={
            **doubts,
            **attack_checks.finite(clean, outcome.logits, tasks),
            **attack_checks.of_gradients(outcome.gradients, outcome.withstood, len(tasks)),
        },
    )
