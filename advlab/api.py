"""advlab as a library: attacks and evaluations of any PyTorch classifier, in memory.

A model is a ``torch.nn.Module`` in evaluation mode that takes images (N, C, H, W) in [0, 1] and
returns logits (N, classes). The figures are those of the command line: the same attacks, with the
same random numbers for the same seed.
"""

from __future__ import annotations

import functools
import math
import os
import re
import shlex
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from advlab.cli.main import main
from advlab.components import flag_suggestion, load_component
from advlab.config.base import Options
from advlab.config.explain import explain
from advlab.config.options.run import (
    AttackOptions,
    EvaluateOptions,
    LoadOptions,
    OneForAllOptions,
    RunOptions,
    TargetOptions,
    norm_of,
)
from advlab.data import load_images
from advlab.data.image_checks import darkness
from advlab.data.image_set import Images, ImageSet
from advlab.defenses import smooth
from advlab.errors import AdvlabError, UsageError
from advlab.evaluation import certify as certification
from advlab.evaluation.certify import Certified
from advlab.evaluation.checks import (
    Outcome,
    chance_check,
    finite_outputs,
    gradient_faults,
    log_failed,
    postflight,
    preflight,
    unsteady,
    vanished_gradients,
)
from advlab.evaluation.entry import (
    Entry,
    attack_suite,
    averaging,
    gradient_samples,
    selected,
)
from advlab.evaluation.nearest_first import attacked, batch_of, leads
from advlab.evaluation.verify import verified
from advlab.experiments import target_model
from advlab.experiments.attack import checks as attack_checks
from advlab.metrics.classification import is_correct, predicted_classes
from advlab.metrics.perturbation import norms as norms_of
from advlab.metrics.smallest import quantile
from advlab.networks.adapter import Adapter, copied, part_in_training_mode, unwrapped
from advlab.networks.defaults import own_defaults
from advlab.networks.layout import place
from advlab.networks.sketch import Sketch
from advlab.perturbation import transformed
from advlab.perturbation.geometry import check_radius
from advlab.perturbation.goal import Goal
from advlab.perturbation.precision import COMPARED, dependable, weak_precision
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.sweep import Point, Tasks, judge, sweep
from advlab.perturbation.victim import Victim
from advlab.runs.machine import Machine, machine_of

_PROBE = 100  # images that the checks before an evaluation look at
_EXAMPLES = "_advlab_examples"  # where a loaded network keeps what it was trained on
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_LOADED = "give load_model the option, and the function the model"
# Options of the command line that do nothing here, and what takes their place where something does.
_INSTEAD = {
    **dict.fromkeys(
        ("weights", "classes", "output", "mean", "std", "resize", "crop", "model"), _LOADED
    ),
    **dict.fromkeys(("limit", "image"), "give the images that are meant"),
    **dict.fromkeys(("seeds", "workers", "cluster", "out", "name", "track"), "advlab.run takes it"),
    "target": "give 'targets', a class for each image",
    "keep_broken": "there is one radius",
    "smallest_eps": "it is for a photo",
    "confidence": "it is for a photo",
}
_HERE_TOO = {"seed", "device", "precision"}  # options of the command line that are options here too
_OF_CERTIFY = ("samples", "select", "alpha")
Kind = TypeVar("Kind", bound=Options)
Function = TypeVar("Function", bound=Callable[..., Any])


# A flag, but for those of a whole line of the command line, which stands in quotes.
_FLAG = re.compile(
    r"'advlab [^']*'|(?<![\w/.-])--([a-z][a-z0-9]*(?:-[a-z0-9]+)*)(?: \((\w+=) in Python\))?"
)


def _in_keywords(**names: str) -> Callable[[Function], Function]:
    """Have errors and failed checks of a function name its keyword arguments, where the code that
    it shares with the command line names flags.

    Args:
        names: what the function calls an option of another name, by that name.
    """

    def keyword(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        if match[2] is not None:
            return match[2]
        name = match[1].replace("-", "_")
        return names.get(name, name)

    def reworded(text: str) -> str:
        return _FLAG.sub(keyword, text)

    def decorated(function: Function) -> Function:
        @functools.wraps(function)
        def called(*arguments: Any, **options: Any) -> Any:
            try:
                result = function(*arguments, **options)
            except AdvlabError as error:
                error.args = tuple(
                    reworded(part) if isinstance(part, str) else part for part in error.args
                )
                raise
            if failed := getattr(result, "checks_failed", None):
                checks = {name: reworded(sentence) for name, sentence in failed.items()}
                return replace(result, checks_failed=checks)
            return result

        return called  # type: ignore[return-value]

    return decorated


def _undisturbed(function: Function) -> Function:
    """Have the function compute the same whatever the caller has switched on or off around it, and
    refuse what is no model.

    In ``torch.inference_mode`` no gradient is recorded, and attacks would stand still; in mixed
    precision, or with another default type of numbers, figures would be others.
    """

    @functools.wraps(function)
    def called(model: nn.Module, *arguments: Any, **options: Any) -> Any:
        surrogate = options.get("surrogate")
        for one in (model, *([] if surrogate is None else [surrogate])):
            if not isinstance(one, nn.Module):
                raise TypeError(
                    f"a model must be a torch.nn.Module, not {type(one).__name__}; "
                    "advlab.load_model loads one by its name"
                )
        with torch.inference_mode(False), torch.enable_grad(), own_defaults():
            return function(model, *arguments, **options)

    return called  # type: ignore[return-value]


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


@dataclass(frozen=True, repr=False)
class CertificationResult:
    """What randomised smoothing certifies. All tensors are on the CPU.

    Attributes:
        predictions: classes of the smoothed model, int64 (N,); -1 where it abstains.
        radii: certified L2 radii in pixel units, float64 (N,); 0 where it abstains.
        accuracy: fraction of images that are classified correctly, in [0, 1].
        checks_failed: why the certificates are void, by the name of each failed check.
    """

    predictions: Tensor
    radii: Tensor
    accuracy: float
    checks_failed: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        """The figure in one line, without the tensors."""
        return (
            f"CertificationResult({len(self.radii)} images, accuracy={self.accuracy:.4g}, "
            f"checks_failed={list(self.checks_failed)})"
        )

    def certified_accuracy(self, labels: Tensor, radius: float) -> float:
        """Fraction of images classified correctly with a certified radius of at least
        ``radius``.

        Args:
            labels: the true classes, integers (N,).
            radius: in pixel units of L2, at least 0.

        Raises:
            ValueError: the labels are not one integer for each image, or the radius is negative or
                no number.
        """
        classes = _tensor(labels, "labels").cpu()
        if classes.shape != self.predictions.shape or classes.dtype not in _INTEGERS:
            raise ValueError(
                f"labels: {classes.dtype} of shape {tuple(classes.shape)}; they must be "
                f"{len(self.predictions)} integers"
            )
        if not (math.isfinite(radius) and radius >= 0):
            raise ValueError(f"radius: {radius}; it must be a number of at least 0")
        return Certified(self.predictions, self.radii).accuracy(classes, radius)


@dataclass(frozen=True, repr=False)
class VerificationResult:
    """What interval bounds verify.

    Attributes:
        verified: for which images no image within the radius is misclassified, bool (N,) on the
            CPU. An image that is misclassified itself is never verified.
        verified_accuracy: the fraction of such images: a lower bound of robust accuracy.
    """

    verified: Tensor
    verified_accuracy: float

    def __repr__(self) -> str:
        """The figure in one line, without the tensor."""
        return (
            f"VerificationResult({len(self.verified)} images, "
            f"verified_accuracy={self.verified_accuracy:.4g})"
        )


@dataclass(frozen=True)
class SuiteRow:
    """One attack of a suite.

    Attributes:
        attack: its name in the suite.
        attacked: how many images it attacked: all that were robust before it, or those of them
            which were nearest to being broken.
        broken: how many of them it broke.
        robust_accuracy: robust accuracy after it, in [0, 1].
    """

    attack: str
    attacked: int
    broken: int
    robust_accuracy: float


@dataclass(frozen=True, repr=False)
class EvaluationResult:
    """What a suite of attacks reached.

    Attributes:
        clean_accuracy: accuracy on the images as given, in [0, 1].
        robust_accuracy: fraction of the images that are classified correctly and that no attack
            broke; an upper bound on the robust accuracy.
        attacks: the attacks in their order.
        images: for a broken image its perturbation's result, else the image as given; float32
            (N, C, H, W) on the CPU.
        checks_failed: why the figure is not to be believed, by the name of each failed check.
    """

    clean_accuracy: float
    robust_accuracy: float
    attacks: tuple[SuiteRow, ...]
    images: Tensor
    checks_failed: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        """The figures and the names of failed checks in one line, without the tensors."""
        return (
            f"EvaluationResult({len(self.images)} images, "
            f"clean_accuracy={self.clean_accuracy:.4g}, "
            f"robust_accuracy={self.robust_accuracy:.4g}, "
            f"checks_failed={list(self.checks_failed)})"
        )


@_in_keywords(dataset="name")
def load_dataset(
    name: str = "auto",
    *,
    data_dir: str | Path = "data",
    image_size: int | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    split_seed: int = 0,
) -> ImageSet:
    """A data set of images, split into ``train``, ``val`` and ``test``.

    Args:
        name: as for ``--dataset``: ``digits``, ``mnist``, ``folder:PATH``, ``npz:FILE``,
            ``parquet:PATH``, ``hf:NAME``, ``torchvision:NAME``, ...
        data_dir: folder for data sets.
        image_size: side of the images in pixels, for sets that have no size of their own.
        image_column, label_column: columns of ``parquet:PATH`` and ``hf:NAME``; detected by
            default.
        split_seed: seed of the split.

    Raises:
        UsageError: there is no such data set.
        EnvironmentFailure: it cannot be read or downloaded.
    """
    options = _validated(
        LoadOptions,
        "load_dataset",
        dataset=name,
        data_dir=_path(data_dir, "load_dataset: data_dir"),
        image_size=image_size,
        image_column=image_column,
        label_column=label_column,
        split_seed=split_seed,
    )
    return load_images.load(options)


@_in_keywords(model="name")
def load_model(
    name: str | Path,
    *,
    weights: str | Path | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    resize: int | None = None,
    crop: int | None = None,
    output: str | None = None,
) -> nn.Module:
    """A classifier of images, from images (N, C, H, W) in [0, 1] to logits (N, classes), in
    evaluation mode. Preprocessing is part of it.

    Args:
        name: as for ``--model``: a checkpoint or the folder of a run, ``torchvision:NAME``,
            ``timm:NAME``, ``robustbench:NAME``, ``FILE.py:FUNCTION``, ``package.module:FUNCTION``
            or ``FILE.pt2``. Code is imported and run.
        weights: file of a state dict, ``.pt``, ``.pth`` or ``.safetensors``; a library's own
            weights are downloaded without it.
        mean, std: normalisation, one number or one for each channel.
        resize: what the shorter side of an image is scaled to, in pixels; 0 for nothing.
        crop: side of the central square that is kept after it, in pixels; 0 for all.
        output: key or number of the logits, where the network returns several tensors.

    Raises:
        UsageError: there is no such network, or its weights are damaged or another network's.
        EnvironmentFailure: weights cannot be downloaded, or the library is not installed.
    """
    text = _path(name, "load_model: name")
    if not target_model.names_network(text):
        text = str(Path(text).resolve())  # a checkpoint, which need not exist yet to be named
    options = _validated(
        TargetOptions,
        "load_model",
        model=text,
        weights=None if weights is None else _path(weights, "load_model: weights"),
        mean=[mean] if isinstance(mean, (int, float)) else mean,
        std=[std] if isinstance(std, (int, float)) else std,
        resize=resize,
        crop=crop,
        output=output,
    )
    try:
        named = target_model.named(options)
    except UsageError as error:
        # In Python there is no flag that the network was named by.
        message = str(error).removeprefix("--model: ").removeprefix("--model ")
        raise UsageError(f"load_model: {message}") from error
    if named is None:
        raise UsageError(f"load_model: no network at {name}")
    if named.metadata is not None:
        setattr(named.network, _EXAMPLES, named.metadata.examples)
    return named.network


def _seen_in_training(model: nn.Module, data: Images) -> dict[str, str]:
    """The check whether a network from ``load_model`` was trained on these images; empty where it
    was not, or where that is not known: of images that are no bytes, or of networks from
    elsewhere."""
    examples = getattr(model, _EXAMPLES, "")
    if not examples:
        return {}
    levels = data.inputs(slice(None)).mul(255)
    if not torch.allclose(levels, levels.round(), atol=1e-3):
        return {}
    stored = Images(levels.round().to(torch.uint8), data.labels)
    count = Sketch.read(examples).count(stored.contents())
    if not count:
        return {}
    return {
        "trained on the images": f"the network was trained on {count:,} of the {len(data):,} images"
    }


@_in_keywords()
@_undisturbed
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
    _refuse_of_command_line(options, name)
    given: dict[str, Any] = {"surrogate": "another model"} if surrogate is not None else {}
    _named_machine(device, precision or "auto")
    if precision is not None:
        given["precision"] = precision
    in_ball = issubclass(module.Options, AttackOptions)
    if in_ball:
        given["eps"] = [_required_radius(eps, name, options)]
    elif eps is not None:
        raise UsageError(f"{name}: no option 'eps'; its threat model is no ball of a radius")
    settings = _validated(module.Options, name, **given, **options)
    if "norm" in type(settings).model_fields:
        check_radius(settings.norm, settings.eps[0])
    data = _images(images, labels)
    precision = settings.precision
    machine = _machine(model if surrogate is None else surrogate, data, device, precision)
    victim = Victim(model, machine, settings.batch_size)
    wanted = data.labels if targets is None else _tensor(targets, "targets").cpu()
    if wanted.dtype not in _INTEGERS:
        raise ValueError(f"targets: {wanted.dtype}; they must be integers")
    wanted = wanted.to(torch.int64)
    if wanted.shape != data.labels.shape:
        raise ValueError(f"targets: shape {tuple(wanted.shape)} for {len(data)} images")
    doubts = {}
    if settings.sees == "gradients":
        doubts = _weak_precision(surrogate or model, data, machine, precision)
    some = data.inputs(slice(0, victim.judged_together), machine.device)
    doubts |= unsteady(victim, some, getattr(settings, "eot", 1))
    tasks = Tasks(data, torch.arange(len(data)), wanted, targeted=targets is not None)
    source = None if surrogate is None else Victim(surrogate, machine)
    clean = judge(victim, data.inputs(slice(None)))
    _check_classes(data.labels, clean.shape[1], "labels")
    doubts |= chance_check(is_correct(clean, data.labels), clean.shape[1])
    doubts |= _seen_in_training(model, data)
    if surrogate is model:
        raise ValueError("surrogate: is the model itself; leave it out to attack that")
    if source is not None:
        count = source.logits(data.inputs(slice(0, 1), machine.device)).shape[1]
        if count != clean.shape[1]:
            raise ValueError(
                f"surrogate: tells {count} classes apart, and the model {clean.shape[1]}"
            )
    _check_classes(wanted, clean.shape[1], "targets")
    if targets is not None and bool((wanted == data.labels).any()):
        number = int((wanted == data.labels).nonzero()[0])
        raise ValueError(
            f"targets: the target of image {number} is its own label {int(wanted[number])}"
        )
    if not in_ball:
        return _transformed(module, victim, source, tasks, settings, clean, doubts)
    point = _only(sweep(module.perturb, victim, tasks, settings, surrogate=source))
    norms = median = None
    if settings.minimum_norm and source is None:
        sizes = norms_of(point.perturbed, data.inputs(slice(None)))[norm_of(settings)]
        norms = sizes.where(point.reached, torch.inf)
        median = quantile(norms[is_correct(clean, data.labels)], 0.5)
    return AttackResult(
        point.perturbed,
        predicted_classes(point.logits),
        point.reached,
        _fraction(is_correct(clean, data.labels)),
        _fraction(is_correct(clean, data.labels) & is_correct(point.logits, data.labels)),
        point.unusable_gradients,
        norms,
        median,
        {**doubts, **attack_checks.failed([point], tasks, clean)},
    )


@_in_keywords()
@_undisturbed
def evaluate(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float | str | None = None,
    norm: str = "linf",
    suite: str = "standard",
    device: str = "auto",
    precision: str = "auto",
    **options: Any,
) -> EvaluationResult:
    """Evaluate a model against a suite of attacks, each on the images that are still robust.

    The transfer attack of the standard suite needs a second network and is left to the command
    line.

    Args:
        model, images, labels, eps, device: as for ``attack``.
        precision: of gradients, as for ``attack``; attacks whose own is ``fp32`` keep it.
        norm: ``linf``, ``l2`` or ``l1``.
        suite: ``standard``, ``autoattack`` or ``quick``.
        **options: further options of the suite: ``attacks`` (only these of it, by the names in
            its table), ``steps``, ``queries``, ``seed``, ``eot`` (passes that each gradient is the
            average of, for random models), ...

    Raises:
        UsageError: there is no such suite, attack of it or option, a value is out of range, or an
            attack that ``attacks`` names cannot be run here.
        ValueError: as for ``attack``.
    """
    module = attack_suite(suite)
    _refuse_of_command_line(options, suite)
    given_radius = _required_radius(eps, suite, options)
    settings = _validated(module.Options, suite, eps=[given_radius], norm=norm, **options)
    radius: float = settings.eps[0]
    check_radius(norm, radius)
    data = _images(images, labels)
    machine = _machine(model, data, device, precision)
    victim = Victim(model, machine, settings.batch_size)
    final = data.inputs(slice(None))
    logits = judge(victim, final)
    _check_classes(data.labels, logits.shape[1], "labels")
    withstood = is_correct(logits, data.labels)
    robust = withstood.nonzero().squeeze(1)
    clean_accuracy = len(robust) / len(data)
    probe = robust[:_PROBE] if len(robust) else torch.arange(min(_PROBE, len(data)))
    suite_entries = averaging(module.entries(settings), settings.eot)
    suite_entries = selected(suite_entries, settings.attacks, suite, f"{suite}: attacks")
    samples = gradient_samples(suite_entries)
    batch = final[: victim.judged_together].to(machine.device)
    failed = preflight(
        victim, data.select(probe), norm, radius or 0.1, settings.seed, samples, batch
    )
    failed |= _weak_precision(model, data, machine, precision)
    failed |= _seen_in_training(model, data)
    probed = victim.gradients
    rows: list[SuiteRow] = []
    reasons = [_left_out(entry, norm, logits.shape[1]) for entry in suite_entries]
    entries = [entry for entry, why in zip(suite_entries, reasons, strict=True) if not why]
    if settings.attacks is not None and any(reasons):
        name, why = next(
            (entry.label, why) for entry, why in zip(suite_entries, reasons, strict=True) if why
        )
        raise UsageError(f"{suite}: attacks {name}: {why}")
    nearest, broken = leads(logits, data.labels), dict[str, int]()
    for entry in entries:
        index = robust[:0] if broken.get(entry.after) == 0 else robust
        attack = functools.partial(_attacked_by, entry, victim, data, radius, settings)
        total = 0
        for group, point in attacked(
            index, nearest, data.labels, attack, nearest_first=entry.nearest_first
        ):
            final[group[point.reached]] = point.perturbed[point.reached]
            withstood[group[point.reached]] = False
            total += len(group)
        left = withstood.nonzero().squeeze(1)
        broken[entry.label] = len(robust) - len(left)
        robust = left
        rows.append(SuiteRow(entry.label, total, broken[entry.label], len(robust) / len(data)))
    gradients = victim.gradients - probed
    after = vanished_gradients(gradients, len(robust), len(data))
    after |= gradient_faults(gradients, len(data))
    finite = finite_outputs(logits, judge(victim, final))
    failed = after | failed | _checks(entries, rows, len(data)) | finite
    return EvaluationResult(clean_accuracy, len(robust) / len(data), tuple(rows), final, failed)


@_in_keywords()
@_undisturbed
def certify(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    sigma: float,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    **options: Any,
) -> CertificationResult:
    """Certify a model that is smoothed by Gaussian noise (Cohen et al. 2019, arXiv:1902.02918).

    Args:
        model, images, labels, device: as for ``attack``.
        precision: of the passes that vote: ``auto``, which is ``fp32``, or ``bf16`` or ``fp16``.
        sigma: standard deviation of the noise, in pixel units.
        seed: seed of the noise.
        **options: ``samples`` (noisy copies of an image that vote, 1,000), ``select`` (copies that
            choose the class, 100), ``alpha`` (probability that a certificate is wrong, .001).

    Raises:
        UsageError: there is no such option, or a value is out of range.
        ValueError: as for ``attack``.
    """
    for option in options:
        if option not in _OF_CERTIFY:
            raise UsageError(f"certify: no option {option!r}{flag_suggestion(option, _OF_CERTIFY)}")
    settings = _validated(smooth.Options, "certify", sigma=sigma, **options)
    seed = _validated(RunOptions, "certify", seed=seed).seed
    data = _images(images, labels)
    # Whether an image is misclassified is decided in float32, unless the caller asks for less.
    machine = _named_machine(device, "fp32" if precision == "auto" else precision)
    network = _own_copy(model, data, machine)
    smoothing = certification.Smoothing.of(settings, seed)
    certified = certification.certify(network, data, smoothing, machine)
    victim = Victim(model, machine)
    failed = certification.vote_checks(victim, data, smoothing)
    logits = judge(victim, data.inputs(slice(None)))
    failed |= chance_check(is_correct(logits, data.labels), logits.shape[1])
    failed |= _seen_in_training(model, data)
    failed |= certification.lost_votes(certified.without_vote)
    log_failed(failed)
    accuracy = certified.accuracy(data.labels, 0.0)
    return CertificationResult(certified.predicted, certified.radius, accuracy, failed)


@_in_keywords()
@_undisturbed
def verify(
    model: nn.Module, images: Tensor, labels: Tensor, *, eps: float | str, device: str = "auto"
) -> VerificationResult:
    """Verify by interval bounds that no image within L∞ distance ``eps`` is misclassified (Gowal et
    al. 2018, arXiv:1810.12715).

    The bounds are loose unless the model was trained for them, as ``advlab defend ibp`` does: an
    image that is not verified may be robust all the same.

    Args:
        model, images, labels, device: as for ``attack``. The model is a chain of layers with known
            bounds, such as ``nn.Sequential`` of convolutions, ReLU and linear layers.
        eps: L∞ radius in pixel units, in [0, 1], a number or a fraction as text. The images around
            are those with pixels in [0, 1].

    Raises:
        UsageError: the model has a layer without known bounds; it is named.
        ValueError: as for ``attack``, or the radius is out of range.
    """
    radius = _radius_within_one(eps)
    data, machine = _images(images, labels), _named_machine(device, "fp32")
    flags = verified(_own_copy(model, data, machine), data, radius, machine)
    return VerificationResult(flags, int(flags.sum()) / len(flags))


def _own_copy(model: nn.Module, data: Images, machine: Machine) -> Adapter:
    """A copy of the model on the machine's device, which tells enough classes apart.

    Raises:
        ValueError: it is in training mode, or has fewer classes than the labels.
    """
    training = part_in_training_mode(model)
    if training is not None:
        raise ValueError(f"the model is in training mode ({training}); call model.eval() first")
    network = Adapter(place(copied(unwrapped(model)), machine.device))
    with torch.no_grad():
        count = network(data.inputs(slice(0, 1), machine.device)).shape[1]
    _check_classes(data.labels, count, "labels")
    return network


def run(line: str | Sequence[str]) -> int:
    """Carry out a line of the command line, such as ``"train cnn --dataset digits"``.

    Args:
        line: the line after ``advlab``, as a text or as its words.

    Returns:
        The exit status: 0, 2 for a usage error, 1 for an environment error.

    Raises:
        UsageError: it is neither a text nor several, or a quotation in it has no end.
    """
    try:
        words = shlex.split(line) if isinstance(line, str) else list(line)
    except (TypeError, ValueError) as error:  # no words, or a quotation without an end
        raise UsageError(f"run: {line!r} is no line and no sequence of words: {error}") from error
    for word in words:
        if not isinstance(word, str):
            raise UsageError(f"run: every word of a line is a text, and {word!r} is none")
    return main(words)


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
        _fraction(is_correct(clean, labels)),
        _fraction(is_correct(clean, labels) & is_correct(outcome.logits, labels)),
        outcome.gradients.unusable,
        checks_failed={
            **doubts,
            **attack_checks.finite(clean, outcome.logits, tasks),
            **attack_checks.of_gradients(outcome.gradients, outcome.withstood, len(tasks)),
        },
    )


def _attacked_by(
    entry: Entry, victim: Victim, data: Images, eps: float, settings: EvaluateOptions, index: Tensor
) -> Point:
    """What an attack of a suite makes of the images at ``index`` (K,)."""
    given = {
        **entry.settings,
        "norm": settings.norm,
        "eps": [eps],
        "seed": entry.seed(settings.seed),
        "batch_size": batch_of(entry, len(index), settings.batch_size),
    }
    tasks = Tasks(data, index, data.labels[index], targeted=False)
    perturb = load_component("advlab.attacks", entry.attack, "attack").perturb
    options = entry.kind().model_validate(given)
    return _only(sweep(perturb, victim, tasks, options, name=entry.label))


def _left_out(entry: Entry, norm: str, classes: int) -> str:
    """Why an attack of a suite is not run here; empty where it is."""
    if entry.transfer:
        return "needs a second network, which 'advlab evaluate --surrogate' takes"
    if not entry.knows(norm):
        return f"has no {norm} form"
    return f"needs {entry.classes} classes" if classes < entry.classes else ""


def _checks(entries: Sequence[Entry], rows: Sequence[SuiteRow], total: int) -> dict[str, str]:
    """The checks of the result that fail."""
    outcomes = [
        Outcome(
            row.attack,
            entry.sight,
            round(row.robust_accuracy * total) + row.broken,
            row.broken,
            entry.minimum_norm,
            entry.smoothed,
        )
        for entry, row in zip(entries, rows, strict=True)
    ]
    return postflight(outcomes, total)


def _check_classes(classes: Tensor, count: int, what: str) -> None:
    """Refuse classes that the model does not have.

    Raises:
        ValueError: some class is not among the model's.
    """
    strange = classes[(classes < 0) | (classes >= count)]
    if len(strange):
        raise ValueError(
            f"{what}: {int(strange[0])} is no class of the model, which has {count}, from 0"
        )


def _machine(model: nn.Module, data: Images, device: str, precision: str) -> Machine:
    """The machine that is asked for, in a precision that does not weaken attacks on the model.

    Raises:
        ValueError: the model is in training mode.
    """
    machine = _named_machine(device, precision)
    if precision != "auto":
        return machine
    return dependable(model, data.inputs(slice(0, COMPARED), machine.device), machine)[0]


def _weak_precision(
    model: nn.Module, data: Images, machine: Machine, precision: str
) -> dict[str, str]:
    """The check whether the precision that was asked for weakens attacks on the model."""
    images = data.inputs(slice(0, COMPARED), machine.device)
    return weak_precision(model, images, machine, precision)


def _named_machine(device: str, precision: str) -> Machine:
    """The machine of these names.

    Raises:
        UsageError: one of them is no name of a device or precision, or not to be had.
    """
    options = _validated(RunOptions, "machine", device=str(device), precision=precision)
    return machine_of(options.device, options.precision)


def _images(images: Tensor, labels: Tensor) -> Images:
    """Images and labels on the CPU, checked.

    Raises:
        ValueError: a shape, a type or a value is wrong.
    """
    # Copied, as what was made in inference mode can take no part in a gradient.
    given = {"images": _tensor(images, "images"), "labels": _tensor(labels, "labels")}
    for name, tensor in given.items():
        if tensor.is_meta or tensor.layout != torch.strided:
            raise ValueError(f"{name}: a dense tensor with values is needed, not {tensor.layout}")
    pixels = given["images"].detach().cpu().clone()
    classes = given["labels"].cpu().clone()
    if pixels.ndim != 4 or len(pixels) == 0:
        raise ValueError(f"images: shape {tuple(pixels.shape)}; it must be (N, C, H, W), N ≥ 1")
    if classes.shape != (len(pixels),) or classes.dtype not in _INTEGERS:
        raise ValueError(
            f"labels: {classes.dtype} of shape {tuple(classes.shape)}; they must be {len(pixels)} "
            "integers"
        )
    if pixels.is_complex():
        raise ValueError(f"images: {pixels.dtype}; they must be floats in [0, 1] or bytes")
    if pixels.dtype != torch.uint8:
        pixels = pixels.float()
        if not bool(((pixels >= 0) & (pixels <= 1)).all()):
            raise ValueError("images: some values are not in [0, 1]; bytes must be uint8")
    data = Images(pixels, classes.to(torch.int64))
    if pixels.dtype == torch.uint8:
        for sentence in darkness([data]):
            warnings.warn(sentence, stacklevel=5)
    return data


def _tensor(values: object, name: str) -> Tensor:
    """The values as a tensor.

    Raises:
        ValueError: they are nothing that torch makes one of.
    """
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(values).__name__
        raise ValueError(f"{name}: no tensor can be made of this {kind}: {error}") from error


def _path(value: object, where: str) -> str:
    """A name or a path as text.

    Raises:
        UsageError: it is neither.
    """
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str):
        raise UsageError(f"{where}: must be a text or a path, not {value!r}")
    return text


def _radius_within_one(eps: object) -> float:
    """An L∞ radius of at most 1, in every form in which ``attack`` takes one.

    Raises:
        ValueError: it is none.
    """
    try:
        radius = AttackOptions.model_validate({"eps": [eps]}).eps[0]
    except ValidationError:
        radius = math.nan
    if not radius <= 1:
        raise ValueError(f"eps: {eps!r}; it must be a number from 0 to 1")
    return radius


def _required_radius(eps: float | str | None, where: str, options: dict[str, Any]) -> float | str:
    """``eps``, which has no default from Python, although the signature must name one so that
    another name for it gets an answer of its own.

    Raises:
        UsageError: it is missing, or was given by another name.
    """
    for name in ("epsilon", "radius"):
        if name in options:
            raise UsageError(f"{where}: no option {name!r}; the radius is 'eps', as in eps=0.1")
    if eps is None:
        raise UsageError(f"{where}: 'eps' is missing, the radius, as in eps=0.1")
    return eps


def _refuse_of_command_line(options: Mapping[str, Any], where: str) -> None:
    """Refuse options that say to the command line which network, which images, or how a run is
    carried out: here they would be accepted and do nothing.

    Raises:
        UsageError: there is one.
    """
    fields = {*TargetOptions.model_fields, *_INSTEAD}
    for name in options:
        if name in fields - _HERE_TOO:
            instead = _INSTEAD.get(name, "from Python there is nothing that it would say")
            raise UsageError(f"{where}: {name!r} is an option of the command line; {instead}")


def _validated(kind: type[Kind], where: str, **values: Any) -> Kind:
    """The options with these values.

    Raises:
        UsageError: there is no such option, or a value is out of range.
    """
    for name in values:
        if name not in kind.model_fields:
            raise UsageError(
                f"{where}: no option {name!r}{flag_suggestion(name, kind.model_fields)}"
            )
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        text = explain(error, kind, lambda name: f"{where}: {name}", values)
        raise UsageError(text) from error


def _only(points: Any) -> Point:
    (point,) = points
    return point  # type: ignore[no-any-return]


def _fraction(flags: Tensor) -> float:
    return float(flags.double().mean())
