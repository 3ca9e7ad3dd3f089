"""A suite of attacks on a model."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from advlab.api.inputs import (
    check_classes,
    checked_images,
    dependable_machine,
    only,
    precision_check,
    required_radius,
)
from advlab.api.keywords import in_keywords, refuse_of_command_line, undisturbed, validated
from advlab.api.loading import training_check
from advlab.components import load_component
from advlab.config.options.run import EvaluateOptions
from advlab.data.image_set import Images
from advlab.errors import UsageError
from advlab.evaluation.checks import (
    Outcome,
    finite_outputs,
    gradient_faults,
    postflight,
    preflight,
    vanished_gradients,
)
from advlab.evaluation.entry import (
    Entry,
    attack_suite,
    averaging,
    gradient_samples,
    selected,
)
from advlab.evaluation.nearest_first import BatchSizes, attacked, leads
from advlab.metrics.classification import is_correct
from advlab.perturbation.geometry import check_radius
from advlab.perturbation.sweep import Point, Tasks, judge, sweep
from advlab.perturbation.victim import Victim

_PROBE = 100  # images that the checks before an evaluation look at


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


@in_keywords()
@undisturbed
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
    refuse_of_command_line(options, suite)
    given_radius = required_radius(eps, suite, options)
    settings = validated(module.Options, suite, eps=[given_radius], norm=norm, **options)
    radius: float = settings.eps[0]
    check_radius(norm, radius)
    data = checked_images(images, labels)
    machine = dependable_machine(model, data, device, precision)
    victim = Victim(model, machine, settings.batch_size)
    final = data.inputs(slice(None))
    logits = judge(victim, final)
    check_classes(data.labels, logits.shape[1], "labels")
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
    failed |= precision_check(model, data, machine, precision)
    failed |= training_check(model, data)
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
    sizes = BatchSizes.of_network(victim, batch, settings.batch_size)
    for entry in entries:
        index = robust[:0] if broken.get(entry.after) == 0 else robust
        attack = functools.partial(_attacked_by, entry, victim, data, radius, settings, sizes)
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


def _attacked_by(
    entry: Entry,
    victim: Victim,
    data: Images,
    eps: float,
    settings: EvaluateOptions,
    sizes: BatchSizes,
    index: Tensor,
) -> Point:
    """What an attack of a suite makes of the images at ``index`` (K,)."""
    given = {
        **entry.settings,
        "norm": settings.norm,
        "eps": [eps],
        "seed": entry.seed(settings.seed),
        "batch_size": sizes.of(entry, len(index)),
    }
    tasks = Tasks(data, index, data.labels[index], targeted=False)
    perturb = load_component("advlab.attacks", entry.attack, "attack").perturb
    options = entry.kind().model_validate(given)
    return only(sweep(perturb, victim, tasks, options, name=entry.label))


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
