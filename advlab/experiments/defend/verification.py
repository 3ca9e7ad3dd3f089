"""Verified accuracy of the defended and of the undefended network, beside accuracy under PGD."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from advlab.config.radii import eps_text
from advlab.config.references import dataset_title
from advlab.data.image_set import Images, ImageSet
from advlab.evaluation.verify import verified
from advlab.experiments.defend.robustness import PGD, attacked_by
from advlab.experiments.trained_classifier import TrainedClassifier
from advlab.perturbation.victim import Victim
from advlab.plots.robustness import accuracy_against_eps
from advlab.plots.style import save
from advlab.results.defend import Verification, VerifiedPoint
from advlab.runs.machine import Machine
from advlab.runs.table import counted

_RADII = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)  # of the table and the figure, in units of eps


def verification(
    options: Any,
    plain: TrainedClassifier,
    defended: TrainedClassifier,
    images: Images,
    data: ImageSet,
    machine: Machine,
    folder: Path,
) -> Verification:
    """Verify both networks on the same test images, and draw ``verified.png``.

    Returns:
        What the result says of it.
    """
    networks = {"undefended": plain.network, "defended": defended.network}
    victims = {name: Victim(network, machine) for name, network in networks.items()}
    points = []
    for factor in _RADII:
        eps = round(factor * options.eps, 12)
        accuracies = {}
        for name, network in networks.items():
            answers = attacked_by(PGD, victims[name], images, options.norm, eps, options.seed)
            accuracies[name] = _fraction(verified(network, images, eps, machine))
            accuracies[f"{name}_pgd"] = answers.accuracy(images.labels)
        points.append(VerifiedPoint(eps=eps, **accuracies))
    _draw(points, defended, images, data, options.seed, folder)
    at_eps = points[_RADII.index(1.0)]
    return Verification(images=len(images), verified_accuracy=at_eps.defended, points=points)


def _draw(
    points: list[VerifiedPoint],
    defended: TrainedClassifier,
    images: Images,
    data: ImageSet,
    seed: int,
    folder: Path,
) -> None:
    curves = {
        "defended, under PGD": [(point.eps, point.defended_pgd) for point in points],
        "defended, verified": [(point.eps, point.defended) for point in points],
        "undefended, under PGD": [(point.eps, point.undefended_pgd) for point in points],
        "undefended, verified": [(point.eps, point.undefended) for point in points],
    }
    trained = eps_text(points[_RADII.index(1.0)].eps)
    title = f"Verified accuracy of {defended.metadata.model} on {dataset_title(data.name)}"
    caption = (
        f"{data.origin} · {counted(len(images), 'test image')} · seed {seed} · trained for "
        f"ε = {trained} · robust accuracy lies between the two lines of a network"
    )
    drawn = accuracy_against_eps(curves, len(data.classes), "linf", title, caption, y="accuracy")
    save(drawn, folder / "verified.png")


def _fraction(flags: Tensor) -> float:
    return int(flags.sum()) / len(flags)
