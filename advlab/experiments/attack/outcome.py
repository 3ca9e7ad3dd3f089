"""What an attack reached, and the sizes and visibility of its perturbations, as ``metrics.json``
holds them."""

from __future__ import annotations

import torch
from torch import Tensor

from advlab.metrics import perturbation as visible
from advlab.metrics.classification import is_correct
from advlab.perturbation.sweep import Tasks
from advlab.results.attack import AttackResult, TransformedResult
from advlab.runs.table import counted, percent


def rates(
    logits: Tensor, reached: Tensor, tasks: Tasks, clean_logits: Tensor
) -> tuple[float, float]:
    """Robust accuracy and success rate.

    Args:
        logits: of the victim on the perturbed images, (T, classes).
        reached: which tasks reached their goal, bool (T,).
        clean_logits: of the victim on all unperturbed images, (N, classes).
    """
    labels = tasks.images.labels
    right = is_correct(logits, labels[tasks.index])
    # With several targets an image is robust when it withstood all of them; one that is no task
    # keeps its clean answer.
    robust = is_correct(clean_logits, labels)
    robust[tasks.index[~right]] = False
    was_right = is_correct(clean_logits, labels)[tasks.index]
    eligible = torch.ones_like(was_right) if tasks.targeted else was_right
    success = int((reached & eligible).sum()) / max(1, int(eligible.sum()))
    return int(robust.sum()) / len(labels), success


def success_text(rate: float, result: AttackResult | TransformedResult) -> str:
    """A success rate in percent; ``–`` where there was nothing to succeed on, since every image was
    misclassified before."""
    of = result.tasks if result.target else round(result.clean_accuracy * result.images)
    return percent(rate) if of else "–"


def not_attacked(result: AttackResult | TransformedResult) -> str:
    """A note on images of the target class, and on others that are taken for it without an attack;
    empty where there are none."""
    if result.target is None or result.target == "each":
        return ""
    others = result.images - result.tasks
    which = f"the {others:,} of the target class" if others > 1 else "the one of the target class"
    accuracy = (
        f"robust accuracy: over all {counted(result.images, 'image')}; {which} "
        f"{'are' if others > 1 else 'is'} not attacked"
    )
    attacked = result.points[0].attacked if isinstance(result, AttackResult) else result.attacked
    success = (
        f"success: over {counted(result.tasks, 'image')}, of which {result.tasks - attacked:,} "
        "reach the target without an attack"
    )
    return "\n".join([accuracy] * (others > 0) + [success] * (attacked < result.tasks))


def sizes_of(perturbed: Tensor, clean: Tensor, changed: Tensor) -> dict[str, float]:
    """Norms and visibility of the perturbations of the images that were changed; nothing where none
    was."""
    if not bool(changed.any()):
        return {}
    figures: dict[str, float] = {}
    for name, size in visible.norms(perturbed, clean).items():
        figures[f"{name}_mean"], figures[f"{name}_max"] = (
            float(size[changed].mean()),
            float(size.max()),
        )
    figures["psnr_mean"] = float(visible.psnr(perturbed[changed], clean[changed]).mean())
    if min(clean.shape[2:]) >= 11:
        parts = zip(perturbed[changed].split(1000), clean[changed].split(1000), strict=True)
        figures["ssim_mean"] = float(torch.cat([visible.ssim(*part) for part in parts]).mean())
    return figures
