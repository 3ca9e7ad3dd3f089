"""Figures of ``advlab contrast``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from advlab.augmentation.views import Views, view
from advlab.config.options.contrast import ContrastOptions
from advlab.contrastive.trainer import ContrastiveProgress
from advlab.data.image_set import Images, ImageSet
from advlab.experiments.contrast.evaluation import Features
from advlab.logs import logger
from advlab.metrics.neighbours import nearest
from advlab.plots.contrast import (
    encoder_accuracies,
    few_labels_accuracies,
    loss_between_bounds,
)
from advlab.plots.embedding import image_map, retrieved
from advlab.plots.mosaic import grid
from advlab.plots.style import save
from advlab.results.contrast import ContrastResult, FeatureAccuracies
from advlab.runs.machine import derive
from advlab.runs.table import counted, percent

_MAPPED = 1000
_QUERIES, _NEIGHBOURS = 6, 7
_VIEWED = 8


def draw(
    folder: Path,
    result: ContrastResult,
    progress: ContrastiveProgress,
    features: Features,
    train: Images,
    data: ImageSet,
    views: Views,
    options: ContrastOptions,
) -> None:
    """All that is drawn once it is over."""
    untrained = max(result.untrained.knn_accuracy, result.untrained_raw.knn_accuracy)
    encoder = result.model if result.width is None else f"{result.model} of width {result.width}"
    queue = f"queue of {result.queue:,}, " if result.queue else ""
    caption = (
        f"{result.examples.of(data.origin, len(data.train))} · {encoder}, {result.epochs} epochs, "
        f"batches of {options.batch_size}, {queue}"
        f"τ = {options.temperature:g} · seed {options.seed} · {result.machine.precision} · "
        f"k-NN {percent(result.knn_accuracy)} ({result.before} at best {percent(untrained)})"
    )
    save(_views(train, data, views, options, caption), folder / "views.png")
    bounds = result.contrastive_loss_bound, result.contrastive_loss_uninformed
    save(
        loss_between_bounds(
            progress.losses,
            progress.history,
            *bounds,
            result.loss,
            f"Contrastive loss during training: {result.model} on {_short(data)}",
            caption,
        ),
        folder / "loss.png",
    )
    compared: dict[str, FeatureAccuracies] = {
        result.method: result,
        result.before: result.untrained,
        f"{result.before},\ninitial statistics": result.untrained_raw,
    }
    if result.supervised is not None:
        compared["with labels"] = result.supervised
    accuracies = {name: (one.knn_accuracy, one.probe_accuracy) for name, one in compared.items()}
    title = f"Test accuracy on frozen features: {result.model} on {_short(data)}"
    save(
        encoder_accuracies(
            accuracies, result.pixels.knn_accuracy, 1 / len(data.classes), title, caption
        ),
        folder / "evaluation.png",
    )
    if result.few_labels:
        by_labels = {
            f"{one.images:,} ({100 * one.fraction:g} %)": (
                one.fine_tuned_accuracy,
                one.scratch_accuracy,
            )
            for one in result.few_labels
        }
        title = f"Test accuracy with few labels: {result.model} on {_short(data)}"
        epochs = " and ".join(f"{one.epochs:,}" for one in result.few_labels)
        trained = (
            f"{data.origin} · trained for {epochs} epochs on these labels · seed {result.seed}"
        )
        drawn = few_labels_accuracies(
            by_labels, 1 / len(data.classes), result.method, title, trained
        )
        save(drawn, folder / "few-labels.png")
    _map(folder, features, data, options, caption)
    _neighbours(folder, features, train, data, options, caption)


def _short(data: ImageSet) -> str:
    """The data set's name for a title; of a folder, the last part of its path."""
    return data.name.rstrip("/").rpartition("/")[2].removeprefix("folder:").removeprefix("npz:")


def _views(
    train: Images, data: ImageSet, views: Views, options: ContrastOptions, caption: str
) -> Figure:
    """Rows of an image and views of it."""
    generator = torch.Generator().manual_seed(derive(options.seed, 34))
    index = torch.randperm(len(train), generator=generator)[:6]
    images = train.inputs(index)
    columns = [images, *(view(images, views, generator) for _ in range(_VIEWED))]
    pixels = torch.stack(columns, 1).flatten(0, 1).mul(255).round().to(torch.uint8).numpy()
    names = [data.classes[label] for label in train.labels[index].tolist()]
    return grid(
        pixels, "Training images (left), and augmented views of each", caption, 1 + _VIEWED, names
    )


_DIGITS, _FEWEST = 6, 4  # of unit features that differ, and how many of them make a map


def _map(
    folder: Path, features: Features, data: ImageSet, options: ContrastOptions, caption: str
) -> None:
    """t-SNE of test images, at most so many, each drawn where it comes to lie; not of features that
    are next to all the same, which have no place."""
    from sklearn.manifold import TSNE

    chosen = torch.randperm(
        len(data.test), generator=torch.Generator().manual_seed(derive(options.seed, 35))
    )[:_MAPPED]
    unit = torch.nn.functional.normalize(features.test[chosen], dim=1).double().numpy()
    different = len(np.unique(unit.round(_DIGITS), axis=0))
    if different < _FEWEST:
        logger.info(
            f"tsne.png is not drawn: {counted(len(unit), 'test image')} with "
            f"{counted(different, 'different feature')} have no places"
        )
        return
    perplexity = min(30.0, (len(unit) - 1) / 3)
    places = TSNE(
        perplexity=perplexity, init="pca", random_state=options.seed, n_jobs=1
    ).fit_transform(unit)
    pixels, labels = data.test.pixels[chosen].numpy(), data.test.labels[chosen].numpy()
    title = f"Features of test images of {_short(data)}, in two dimensions by t-SNE"
    note = (
        f"{caption} · t-SNE of {len(unit):,} test images, perplexity {perplexity:g}; labels only "
        "colour the frames; a small square is an image that another one would cover"
    )
    save(
        image_map(np.asarray(places), pixels, labels, data.classes, title, note),
        folder / "tsne.png",
    )


def _neighbours(
    folder: Path,
    features: Features,
    train: Images,
    data: ImageSet,
    options: ContrastOptions,
    caption: str,
) -> None:
    """Test images and the training images nearest to them."""
    generator = torch.Generator().manual_seed(derive(options.seed, 36))
    order = torch.randperm(len(data.test), generator=generator)
    queries: list[int] = []
    for number in order.tolist():  # of classes that differ, as far as there are
        if all(int(data.test.labels[number]) != int(data.test.labels[other]) for other in queries):
            queries.append(number)
        if len(queries) == _QUERIES:
            break
    cosines, index = nearest(features.test[queries], features.train, min(_NEIGHBOURS, len(train)))
    rows = []
    for row, number in enumerate(queries):
        truth = int(data.test.labels[number])
        neighbours = [
            (
                train.inputs(slice(int(place), int(place) + 1))[0].numpy(),
                data.classes[int(train.labels[place])],
                float(cosine),
            )
            for place, cosine in zip(index[row], cosines[row], strict=True)
        ]
        rows.append(
            (
                data.test.inputs(slice(number, number + 1))[0].numpy(),
                data.classes[truth],
                neighbours,
            )
        )
    title = f"Test images of {_short(data)}, and the training images nearest to them"
    save(retrieved(rows, title, f"{caption} · cosine of features"), folder / "neighbours.png")
