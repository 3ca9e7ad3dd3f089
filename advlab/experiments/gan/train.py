"""``advlab gan train``: train a generator and a discriminator and measure the images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from advlab.config.options.gan import GanOptions
from advlab.config.resolve import Config
from advlab.data import load_images as datasets
from advlab.data.image_set import ImageSet
from advlab.errors import EnvironmentFailure, UsageError
from advlab.experiments.gan.feature_classifier import (
    keep_beside,
    named_classifier,
    ready,
    trained_for,
)
from advlab.experiments.gan.figures import draw, draw_grid
from advlab.experiments.gan.measure import FinalQuality, Measurement, RealImages, SampleSizes
from advlab.experiments.trained_classifier import TrainedClassifier
from advlab.experiments.trained_on import seen_in_training
from advlab.gan import checkpoint as gan_checkpoint
from advlab.gan.checkpoint import FILE
from advlab.gan.inception import Inception
from advlab.gan.networks import check_size, metadata_of, new_networks
from advlab.gan.trainer import GanProgress, Pace, indicator_line, pace_of, train_networks
from advlab.logs import logger
from advlab.networks import checkpoint
from advlab.networks.classifier import count_parameters
from advlab.networks.metadata import GeneratorMetadata
from advlab.results.gan import GanTrainResult, Indicator, NetworkSizes, SampleQuality
from advlab.runs.folder import automatic_name
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.machine import Machine, derive, prepare
from advlab.runs.results import Finished, SplitSizes
from advlab.runs.table import counted, percent, table


def run(config: Config) -> Finished[GanTrainResult]:
    """Train one generator, unless its run is there already.

    Raises:
        UsageError: the networks, the images or the classifier cannot be had as asked for.
        EnvironmentFailure: a loss stopped being a number, or the generator cannot be measured.
    """
    data = datasets.load_to_train(config.options)
    config = config.changed(dataset=data.name)
    options: GanOptions = config.options
    if options.precision == "fp16":
        raise UsageError(
            "--precision fp16: two networks that train against each other run in bf16 or fp32 here"
        )
    metadata = metadata_of(options, data.shape, data.classes, data.name)
    check_size(metadata, options.batch_size, options.device)
    chosen = (
        None
        if options.feature_classifier is None
        else named_classifier(options.feature_classifier, data)
    )
    # Weights that cannot be read are refused before a network is trained.
    inception = (
        None
        if options.inception is None
        else Inception(Path(options.inception), _machine(options).device)
    )
    real = RealImages.of(data, options.images, options.train_size, options.seed)
    real.check_enough(data.name)
    images = len(real.trained_on)
    if images < options.batch_size:
        raise UsageError(
            f"--batch-size {options.batch_size}: there are {images:,} images to train on; a "
            "batch must be whole"
        )
    if chosen is not None:
        config = config.changed(feature_classifier=str(chosen.place))
    name = automatic_name(config)
    pace = pace_of(options, images)
    settled = config.changed(epochs=pace.epochs)
    logger.info(data.introduction())
    known = None if chosen is None else chosen.metadata
    for text in seen_in_training(known, data, options).values():
        logger.info(
            f"note: --feature-classifier: {text}, so that it tells held-out images less well from "
            "others than it seems"
        )
    classifier = chosen or trained_for(options, data)
    training = GanTraining(settled.options, metadata, pace, data, real, classifier, inception)
    experiment = Experiment(
        config=settled,
        contents={
            "data": data.sha256(),
            "classifier": classifier.sha256,
            **({} if inception is None else {"inception weights": inception.sha256}),
        },
        result=GanTrainResult,
        measure=training.measure,
        report=_report,
        name=name,
    )
    return carry_out(experiment)


def _machine(options: GanOptions) -> Machine:
    """As asked for. Half precision that needs its losses scaled is no help to two networks that
    shift all the time."""
    machine = prepare(options)
    return Machine(machine.device, "fp32") if machine.precision == "fp16" else machine


@dataclass(frozen=True)
class GanTraining:
    """One training of a generator.

    Attributes:
        options: settled.
        metadata: of the two networks.
        pace: its epochs, and how often it is evaluated.
        data: the data set.
        real: the images of it that are imitated, and those to measure beside.
        classifier: on its features the images are measured.
        inception: a second network to measure with; None for none.
    """

    options: GanOptions
    metadata: GeneratorMetadata
    pace: Pace
    data: ImageSet
    real: RealImages
    classifier: TrainedClassifier
    inception: Inception | None

    def measure(self, folder: Path) -> GanTrainResult:
        """Train the networks, measure the generator that was kept, and draw."""
        options, metadata, pixels = self.options, self.metadata, self.real.trained_on
        machine = _machine(options)
        torch.manual_seed(derive(options.seed, 10))
        pair = new_networks(metadata, machine.device)
        measurement = Measurement(
            SampleSizes(options.samples, options.evaluation_samples),
            options.seed,
            ready(self.classifier, machine),
            self.real,
            self.inception,
        )
        keep_beside(folder, self.classifier)
        sizes = NetworkSizes(
            generator=count_parameters(pair.generator),
            discriminator=count_parameters(pair.discriminator),
        )
        logger.info(
            f"{metadata.arch}: generator {sizes.generator:,} parameters, discriminator "
            f"{sizes.discriminator:,}, "
            f"{len(pixels):,} images, {counted(self.pace.epochs, 'epoch')}, {machine.precision} on "
            f"{machine.device}, "
            f"seed {options.seed}"
        )

        def picture(epoch: int, images: Tensor) -> None:
            draw_grid(folder, epoch, images, metadata, self.data, options.seed)

        progress = train_networks(
            pair,
            metadata,
            pixels,
            options,
            self.pace,
            machine,
            folder,
            measurement.evaluate,
            picture,
        )
        quality = _final(folder, progress, measurement, machine)
        result = self._result(progress, quality, sizes, machine)
        samples = options.evaluation_samples
        draw(folder, result, progress, measurement.few_reference, samples, self.data, metadata)
        return result

    def _result(
        self, progress: GanProgress, quality: FinalQuality, sizes: NetworkSizes, machine: Machine
    ) -> GanTrainResult:
        """What is reported of the training and of the generator that was kept."""
        data, inception, split = self.data, self.inception, self.real.split
        evaluation = next(one for one in progress.evaluations if one["epoch"] == progress.kept)
        return GanTrainResult(
            command="gan",
            component="train",
            dataset=data.name,
            origin=data.origin,
            data_sha256=data.sha256(),
            model=self.metadata.arch,
            parameters=sizes.generator,
            seed=self.options.seed,
            seconds=round(progress.seconds, 4),
            machine=machine.describe(),
            **quality.generator.model_dump(),
            adversarial_loss=self.metadata.loss,
            zdim=self.metadata.zdim,
            real_reference=quality.real,
            measured_images=quality.images,
            classifier=self.classifier.describe(),
            classifier_val_accuracy=self.classifier.metadata.training.get("val_accuracy"),
            inception_sha256=None if inception is None else inception.sha256,
            generated_class_fractions=quality.generated_fractions,
            real_class_fractions=quality.real_fractions,
            collapsed=evaluation["collapsed"],
            indicators=[
                Indicator(epoch=epoch, **indicator) for epoch, indicator in progress.indicators
            ],
            stopped=progress.stopped or None,
            epochs=progress.epoch,
            checkpoint_epoch=progress.kept,
            steps=len(progress.steps["loss_d"]),
            images_per_second=sorted(record["images_per_second"] for record in progress.history)[
                len(progress.history) // 2
            ],
            examples=SplitSizes(
                train=len(self.real.trained_on),
                val=0,
                test=len(data.test) if split == "train" else 0,
            ),
            split=split,
            network_parameters=sizes,
            checkpoint=FILE,
            checkpoint_sha256=progress.kept_sha256,
        )


def _final(
    folder: Path, progress: GanProgress, measurement: Measurement, machine: Machine
) -> FinalQuality:
    """The figures of the generator that was kept, as its file holds it.

    Raises:
        EnvironmentFailure: the file is not what was kept, or its images cannot be measured.
    """
    if checkpoint.sha256(folder / FILE) != progress.kept_sha256:
        raise EnvironmentFailure(
            f"{folder / FILE} is damaged: it is not the generator that was kept; --overwrite "
            "starts over"
        )
    pair, _, _ = gan_checkpoint.load(folder)
    pair.to(machine.device)
    try:
        return measurement.final(pair)
    except ValueError as error:
        raise EnvironmentFailure(
            f"the generator of epoch {progress.kept} cannot be measured: {error}"
        ) from error


def _report(result: GanTrainResult) -> None:
    real, counts = result.real_reference, result.measured_images
    images = counted(counts.generated, "image")
    rows = [
        [f"FID of {images}", f"{result.fid:.3f}", f"{real.fid:.3f}"],
        ["KID × 1000", _thousandths(result), _thousandths(real)],
        ["precision", percent(result.precision), percent(real.precision)],
        ["recall", percent(result.recall), percent(real.recall)],
        ["inception score", f"{result.inception_score:.3f}", f"{real.inception_score:.3f}"],
        ["classes generated", f"{result.modes:,}", f"{result.real_modes:,}"],
        ["largest deviation of a class from its share", percent(result.imbalance), ""],
    ]
    if result.fid_inception is not None and real.fid_inception is not None:
        rows.append(
            [
                f"FID of {images}, Inception v3",
                f"{result.fid_inception:.3f}",
                f"{real.fid_inception:.3f}",
            ]
        )
    logger.info(
        table(
            [
                f"{result.model} on {result.dataset}, epoch {result.checkpoint_epoch}",
                "generated",
                "real, held out",
            ],
            rows,
        )
    )
    for indicator in result.indicators:
        logger.info(indicator_line(indicator.epoch, indicator.name, indicator.words))
    if result.stopped:
        logger.info(result.stopped)
    if result.collapsed:
        logger.info(
            "WARNING: the generator has collapsed, so that its figures are of a few kinds of "
            f"images: {result.modes:,} of {result.real_modes:,} classes generated; a longer "
            "training or a lower learning rate may help"
        )
    classifier = result.classifier
    logger.info(
        f"on the last hidden layer of {classifier.model} {classifier.sha256[:12]}, "
        f"{counts.generated:,} images of each beside "
        f"{counts.reference:,} others; {result.images_per_second:,.0f} images/s, "
        f"{result.seconds:.0f} s"
    )


def _thousandths(quality: SampleQuality) -> str:
    text = f"{1000 * quality.kid:.2f}"
    return text if quality.kid_std is None else f"{text} ± {1000 * quality.kid_std:.2f}"
