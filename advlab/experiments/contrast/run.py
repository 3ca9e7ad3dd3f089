"""``advlab contrast``: train an encoder without labels and evaluate it frozen."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from advlab.augmentation.views import Views
from advlab.config.options.contrast import ContrastOptions
from advlab.config.resolve import Config, Plan
from advlab.contrastive import checkpoint as contrastive_checkpoint
from advlab.contrastive.baselines import Labelled, supervised, untrained
from advlab.contrastive.checkpoint import FILE
from advlab.contrastive.loss import (
    lower_bound,
    queue_lower_bound,
    queue_uninformed,
    uninformed,
)
from advlab.contrastive.networks import Contrast
from advlab.contrastive.settings import epochs_of, views_of
from advlab.contrastive.trainer import ContrastiveProgress, train
from advlab.data import load_images as datasets
from advlab.data.image_set import Images, ImageSet, take
from advlab.errors import UsageError
from advlab.experiments.contrast.evaluation import (
    Features,
    cosines_of,
    evaluated,
    features_of,
    own_accuracy,
    pixels_evaluated,
    validated,
)
from advlab.experiments.contrast.few_labels import (
    FewLabelsTrainings,
    labelled_parts,
    trained_on_few,
)
from advlab.experiments.contrast.figures import draw
from advlab.experiments.contrast.starting import (
    StartingEncoder,
    starting_encoder,
    starting_network_of,
)
from advlab.experiments.grid import run_plan
from advlab.experiments.trained_on import check_weights_unseen, sketch_of
from advlab.logs import logger
from advlab.networks import checkpoint
from advlab.networks.classifier import count_parameters
from advlab.networks.layout import place
from advlab.networks.metadata import EncoderMetadata
from advlab.results.contrast import (
    ContrastResult,
    FeatureAccuracies,
    FewLabels,
    PixelBaseline,
    SupervisedBaseline,
    ViewRecord,
)
from advlab.runs.folder import automatic_name
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.machine import Machine, derive, prepare
from advlab.runs.processes import current, leave_rest_to_first
from advlab.runs.results import Finished, SplitSizes
from advlab.runs.table import counted, percent, table
from advlab.training.distributed import check_batches

_SUPERVISED = "supervised"


def main(plan: Plan) -> int:
    """Run every cell of the plan; exit status 0 where all of them finished."""
    return run_plan(plan, run)


def run(config: Config) -> Finished[ContrastResult]:
    """Train one encoder, unless its run is there already.

    Raises:
        UsageError: there is no such encoder, or too few images.
        EnvironmentFailure: the loss stopped being a number.
    """
    data = datasets.load_to_train(config.options)
    config = config.changed(dataset=data.name)
    options: ContrastOptions = config.options
    start = starting_encoder(options, data.shape, data.classes, data.name)
    images = take(data.train, options.train_size, options.seed)
    name = automatic_name(config)
    settled = config.changed(epochs=epochs_of(options, len(images)))
    check_batches(options.batch_size, len(images))
    labelled_parts(options, images)  # refuses fractions without an image of each class
    if options.queue and current().size > 1:
        raise UsageError("contrast --queue: a single process trains with a queue, without torchrun")
    option = "--weights" if options.weights is not None else "--encoder"
    check_weights_unseen(start.weights, data, options, option)
    logger.info(data.introduction())
    experiment = Experiment(
        config=settled,
        contents={"data": data.sha256(), **start.contents()},
        result=ContrastResult,
        measure=lambda folder: _measure(start, settled, images, data, folder),
        report=_report,
        name=name,
    )
    return carry_out(experiment)


def _measure(
    start: StartingEncoder,
    config: Config,
    images: Images,
    data: ImageSet,
    folder: Path,
) -> ContrastResult:
    options: ContrastOptions = config.options
    metadata = start.metadata
    machine = prepare(options)
    views = views_of(options, data.shape[0])
    torch.manual_seed(derive(options.seed, 32))
    network = starting_network_of(start, images)
    place(network, machine.device)
    fresh = copy.deepcopy(network.encoder)
    width = "" if metadata.width is None else f", width {metadata.width}"
    processes = "" if current().size == 1 else f" in {current().size} processes"
    logger.info(
        f"{metadata.encoder}{width}: "
        f"{count_parameters(network.encoder):,} parameters, and "
        f"{count_parameters(network.head):,} in "
        f"the projection head; {len(images):,} training images, "
        f"{counted(options.epochs or 0, 'epoch')}, "
        f"{machine.precision} on {machine.device}{processes}, "
        f"seed {options.seed}"
    )
    progress = train(network, images.pixels, views, options, machine, folder)
    if current().rank == 0:
        seen = metadata.model_copy(update={"examples": sketch_of(images, start.weights)})
        _keep(folder, network, seen, options, progress)
    features: int = network.head[0].in_features  # type: ignore[assignment]
    parts = labelled_parts(options, images)
    few_labels = trained_on_few(
        network.encoder, fresh, features, parts, data, views, options, machine, folder
    )
    with_labels = None
    if options.supervised:
        logger.info("the same encoder with labels, to compare with")
        with_labels = supervised(
            fresh, features, images, data.val, views, options, machine, folder / _SUPERVISED
        )
    leave_rest_to_first()
    best, _ = contrastive_checkpoint.load(folder)
    evaluation = _evaluated(
        best, fresh, with_labels, few_labels, images, views, options, data, machine
    )
    middle = len(progress.history) // 2
    bound, knowing_nothing = _bounds(options)
    same_class, other_class = cosines_of(evaluation.features.test, data.test.labels)
    result = ContrastResult(
        command="contrast",
        component=config.component,
        dataset=data.name,
        origin=data.origin,
        data_sha256=data.sha256(),
        model=metadata.encoder,
        parameters=count_parameters(best.encoder),
        seed=options.seed,
        seconds=round(progress.seconds, 4),
        machine=machine.describe(),
        **evaluation.trained.model_dump(),
        val_knn_accuracy=validated(evaluation.features, images, data, options),
        weights=start.weights,
        width=metadata.width,
        projection=list(metadata.projection),
        neighbours=min(options.neighbours, len(images)),
        untrained=evaluation.untrained,
        untrained_raw=evaluation.untrained_raw,
        pixels=evaluation.pixels,
        supervised=evaluation.supervised,
        few_labels=evaluation.few_labels,
        cosine_same_class=same_class,
        cosine_other_class=other_class,
        contrastive_loss=progress.history[-1]["loss"],
        first_contrastive_loss=progress.losses[0],
        contrastive_loss_bound=bound,
        contrastive_loss_uninformed=knowing_nothing,
        matched_fraction=progress.history[-1]["found"],
        temperature=options.temperature,
        batch_size=options.batch_size,
        accumulate=options.accumulate,
        queue=options.queue,
        momentum=options.queue_momentum if options.queue else None,
        epochs=progress.epoch,
        batches=len(progress.losses),
        images_per_second=sorted(record["images_per_second"] for record in progress.history)[
            middle
        ],
        views_time_fraction=sorted(record["views_share"] for record in progress.history)[middle],
        views=ViewRecord(**vars(views)),
        examples=SplitSizes(train=len(images), val=len(data.val), test=len(data.test)),
        encoder_sha256_before=evaluation.sha256_before,
        encoder_sha256_after=evaluation.sha256_after,
        checkpoint=FILE,
        checkpoint_sha256=checkpoint.sha256(folder / FILE),
    )
    draw(folder, result, progress, evaluation.features, images, data, views, options)
    return result


def _bounds(options: ContrastOptions) -> tuple[float, float]:
    """What the loss cannot go below, and what it is where nothing is known."""
    if options.queue:
        return queue_lower_bound(options.queue, options.temperature), queue_uninformed(
            options.queue
        )
    return lower_bound(options.batch_size, options.temperature), uninformed(options.batch_size)


def _keep(
    folder: Path,
    network: Contrast,
    metadata: EncoderMetadata,
    options: ContrastOptions,
    progress: ContrastiveProgress,
) -> None:
    """The last epoch's networks: there is no epoch to choose without labels."""
    figures = {"seed": options.seed, "epochs": progress.epoch, "loss": progress.history[-1]["loss"]}
    checkpoint.save(folder / FILE, network, metadata.model_copy(update={"training": figures}))


@dataclass(frozen=True)
class _Evaluation:
    """What the encoder's features are worth beside those of its baselines.

    Attributes:
        features: of the trained encoder.
        sha256_before, sha256_after: of its parameters, before and after the evaluation.
    """

    features: Features
    trained: FeatureAccuracies
    untrained: FeatureAccuracies
    untrained_raw: FeatureAccuracies
    pixels: PixelBaseline
    supervised: SupervisedBaseline | None
    few_labels: list[FewLabels]
    sha256_before: str
    sha256_after: str


def _evaluated(
    network: Contrast,
    fresh: nn.Module,
    with_labels: Labelled | None,
    few_labels: list[FewLabelsTrainings],
    images: Images,
    views: Views,
    options: ContrastOptions,
    data: ImageSet,
    machine: Machine,
) -> _Evaluation:
    """The figures of the encoder that the file holds and of its baselines.

    Args:
        fresh: the encoder before its training.
        with_labels: the encoder that was trained with labels.
        few_labels: the trainings on fractions of the labels.
    """
    encoder = place(network.encoder, machine.device)
    before = checkpoint.sha256_of(encoder)
    features = features_of(encoder, images, data, machine)
    settled = features_of(
        untrained(fresh, images.pixels, views, options, machine), images, data, machine
    )
    raw = features_of(fresh, images, data, machine)
    baseline_figures = None
    if with_labels is not None:
        classifier = with_labels.best()
        baseline_figures = SupervisedBaseline(
            **evaluated(
                features_of(classifier[0], images, data, machine), images, data, options
            ).model_dump(),
            accuracy=own_accuracy(classifier, data, machine),
            seconds=round(with_labels.progress.seconds, 4),
        )
    return _Evaluation(
        features=features,
        trained=evaluated(features, images, data, options),
        untrained=evaluated(settled, images, data, options),
        untrained_raw=evaluated(raw, images, data, options),
        pixels=pixels_evaluated(images, data, options),
        supervised=baseline_figures,
        few_labels=[one.measured(data, machine) for one in few_labels],
        sha256_before=before,
        sha256_after=checkpoint.sha256_of(encoder),
    )


def _report(result: ContrastResult) -> None:
    compared: dict[str, FeatureAccuracies] = {
        result.method: result,
        result.before: result.untrained,
        f"{result.before}, initial statistics": result.untrained_raw,
    }
    if result.supervised is not None:
        compared["trained with labels"] = result.supervised
    rows = [
        [
            name,
            percent(one.knn_accuracy),
            percent(one.probe_accuracy),
            _figure(one.silhouette),
            _figure(one.cluster_agreement),
        ]
        for name, one in compared.items()
    ]
    rows.append(["the pixels themselves", percent(result.pixels.knn_accuracy), "", "", ""])
    header = [f"{result.model} on {result.dataset}", "k-NN", "linear probe", "silhouette", "NMI"]
    logger.info(table(header, rows))
    if result.few_labels:
        logger.info(_few_labels_table(result))
    logger.info(
        f"{result.loss} {result.contrastive_loss:.4f} in the last epoch; knowing nothing it is "
        f"{result.contrastive_loss_uninformed:.4f}, and it "
        f"cannot go below {result.contrastive_loss_bound:.4f}; "
        f"{100 * result.matched_fraction:.1f} % of the views find their partner"
    )
    same = "unchanged" if result.encoder_sha256_before == result.encoder_sha256_after else "CHANGED"
    logger.info(
        f"encoder {result.encoder_sha256_before[:12]}, {same} by the evaluation; "
        f"{result.images_per_second:,.0f} images/s, "
        f"{result.seconds:.0f} s"
    )


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _few_labels_table(result: ContrastResult) -> str:
    rows = [
        [
            f"{one.images:,} ({100 * one.fraction:g} %)",
            percent(one.fine_tuned_accuracy),
            percent(one.scratch_accuracy),
        ]
        for one in result.few_labels
    ]
    return table(["labels", "fine-tuned", "from scratch"], rows)
