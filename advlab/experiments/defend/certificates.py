"""Certified accuracy of a smoothed network and of the undefended one under the same noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from advlab.config.radii import eps_text
from advlab.data.image_set import ImageSet
from advlab.defenses import smooth
from advlab.evaluation.certify import (
    ABSTAIN,
    Certified,
    Smoothing,
    certify,
    largest_radius,
    lost_votes,
)
from advlab.experiments.defend.titles import defence_title
from advlab.experiments.trained_classifier import TrainedClassifier
from advlab.plots.defence import certified
from advlab.plots.style import save
from advlab.results.defend import (
    Abstentions,
    Certificates,
    CertifiedPoint,
    DefendResult,
    MeanRadii,
)
from advlab.results.smoothing import smoothed, votes
from advlab.runs.files import write_json
from advlab.runs.machine import Machine
from advlab.runs.table import counted, seconds_text, spread, table

_TABLE = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


def certificates(
    options: Any,
    seed: int,
    plain: TrainedClassifier,
    defended: TrainedClassifier,
    data: ImageSet,
    machine: Machine,
    folder: Path,
) -> Certificates:
    """Certify both networks on the same test images, of the first ``--limit``; write
    ``certified.json`` and draw ``certified.png``.

    Returns:
        What the result says of it.
    """
    assert isinstance(options, smooth.Options)
    total = min(options.limit or len(data.test), len(data.test))
    count = min(options.certify, total)
    index = torch.linspace(0, total - 1, count).round().long()
    images = data.test.select(index)
    smoothing = Smoothing.of(options, seed)
    results: dict[str, Certified] = {}
    for name, classifier in (("undefended", plain), ("defended", defended)):
        network = classifier.network.to(machine.device)
        results[name] = certify(
            network, images, smoothing, machine, f"certifying the {name} network"
        )
    farthest = max(float(one.radius.max()) for one in results.values())
    limit = largest_radius(smoothing)
    curves = {name: one.curve(images.labels) for name, one in results.items()}
    settings = smoothed(options.sigma, options.samples, options.alpha)
    caption = f"{data.origin} · {counted(count, 'test image')} · {settings} · seed {seed}"
    title = (
        f"Certified accuracy of {defended.metadata.model}, smoothed, without and with the defence "
        f"'{defence_title('smooth', options)}'"
    )
    save(certified(curves, options.samples, limit, title, caption), folder / "certified.png")
    details = {
        name: [
            {"image": int(i), "predicted": int(c), "radius": float(r)}
            for i, c, r in zip(index, one.predicted, one.radius, strict=True)
        ]
        for name, one in results.items()
    }
    write_json(folder / "certified.json", details)
    abstained = {name: int((one.predicted == ABSTAIN).sum()) for name, one in results.items()}
    return Certificates(
        sigma=options.sigma,
        alpha=options.alpha,
        samples=options.samples,
        images=count,
        whole=count == total,
        first=None if total == len(data.test) else total,
        abstained=Abstentions(**abstained),
        points=[
            CertifiedPoint(
                radius=radius,
                **{name: one.accuracy(images.labels, radius) for name, one in results.items()},
            )
            for radius in _TABLE
            if radius <= farthest
        ],
        mean_radius=MeanRadii(
            **{name: one.mean_radius(images.labels) for name, one in results.items()}
        ),
        checks_failed={
            check if name == "defended" else f"{check}, undefended": text
            for name, one in results.items()
            for check, text in lost_votes(one.without_vote).items()
        },
    )


def certified_side_by_side(groups: Mapping[str, Sequence[DefendResult]]) -> str | None:
    """Certified accuracy and mean radius of each setting over its seeds, with the training time.

    Args:
        groups: the results over the seeds of each setting, by its label.

    Returns:
        A table; None where no setting was certified, or not all with as many samples.
    """
    certified = {
        label: [one.certified for one in members if one.certified is not None]
        for label, members in groups.items()
    }
    certified = {label: members for label, members in certified.items() if members}
    every = [one for members in certified.values() for one in members]
    kinds = {(one.alpha, one.samples) for one in every}
    if len(kinds) != 1:
        return None
    ((alpha, samples),) = kinds
    noises = {one.sigma for one in every}
    noise = f"σ = {eps_text(noises.pop())}, " if len(noises) == 1 else ""
    radii = [radius for radius in _TABLE if any(_accuracy_at(one, radius) for one in every)]
    rows = [
        [
            label,
            *(spread([_accuracy_at(one, radius) for one in members]) for radius in radii),
            _mean_radius([one.mean_radius.defended for one in members if one.mean_radius]),
            seconds_text(mean(one.seconds for one in groups[label])),
        ]
        for label, members in certified.items()
    ]
    title = f"certified accuracy at an L2 radius, {noise}{votes(samples, alpha)}"
    header = [title, *(f"{radius:.2f}" for radius in radii), "average radius", "training seconds"]
    return table(header, rows)


def _accuracy_at(certified: Certificates, radius: float) -> float:
    """Of the defended network; beyond the largest radius that was certified it is 0."""
    return next((one.defended for one in certified.points if one.radius == radius), 0.0)


def _mean_radius(values: Sequence[float]) -> str:
    if not values:
        return "–"
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")
