"""The feature classifier of a data set: the one named, or one trained for it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from advlab.config.options.gan import GanOptions
from advlab.config.options.run import DataOptions
from advlab.data.image_set import ImageSet
from advlab.errors import EnvironmentFailure, UsageError
from advlab.experiments.train import run as training
from advlab.experiments.trained_classifier import (
    TrainedClassifier,
    load_classifier,
    read_classifier,
)
from advlab.gan.feature_classifier import FeatureClassifier, check_ends_linear
from advlab.input_files import is_plain
from advlab.logs import indented, logger
from advlab.results.gan import GanTrainResult
from advlab.runs import results
from advlab.runs.files import write_atomically
from advlab.runs.folder import is_run
from advlab.runs.machine import Machine

FILE = "classifier.safetensors"
_EARLIER_FILE = "yardstick.safetensors"  # what earlier versions called it


def trained_for(options: GanOptions, data: ImageSet) -> TrainedClassifier:
    """The classifier for the images of ``data`` where none is named: ``advlab train cnn`` with its
    defaults and seed 0.

    It is trained once for a data set and machine, and found again afterwards. Another process that
    is training it is waited for.
    """
    logger.info(
        f"the feature classifier: a network for {data.stacked_of or data.name}, trained once and "
        "frozen"
    )
    config = training.configuration(
        "cnn",
        dataset=data.stacked_of or data.name,
        **options.part(DataOptions).model_dump(exclude={"dataset"}),
        out=options.out,
        device=options.device,
        threads=options.threads,
    )
    with indented():
        trained = training.run(config)
    return load_classifier(str(trained.folder), "--feature-classifier")


def named_classifier(place: str, data: ImageSet) -> TrainedClassifier:
    """The classifier at ``place``.

    Raises:
        UsageError: there is none, it takes other images than those of ``data``, or it does not end
            in a linear layer.
    """
    classifier = load_classifier(place, "--feature-classifier")
    channels, height, width = data.shape
    # One for each of the stacked images, or one for all channels together.
    fitting = {channels, 1} if data.stacked_of else {channels}
    if (
        classifier.metadata.shape[1:] != (height, width)
        or classifier.metadata.shape[0] not in fitting
    ):
        raise UsageError(
            f"--feature-classifier: {classifier.file} takes images of "
            f"{' × '.join(map(str, classifier.metadata.shape))}; "
            f"{data.name} has {' × '.join(map(str, data.shape))}"
        )
    check_ends_linear(classifier.network)
    return classifier


def ready(classifier: TrainedClassifier, machine: Machine) -> FeatureClassifier:
    """The classifier, cut where it is measured."""
    return FeatureClassifier(classifier.network, classifier.metadata.shape, machine.device)


def keep_beside(folder: Path, classifier: TrainedClassifier) -> None:
    """Put a copy of the classifier into a run's folder, so that its generator can be measured where
    the data are not.

    Raises:
        EnvironmentFailure: the file has changed since it was loaded.
    """
    content = classifier.file.read_bytes()
    if hashlib.sha256(content).hexdigest() != classifier.sha256:
        raise EnvironmentFailure(
            f"{classifier.file} was replaced while this run was using it; the same line tries "
            "again with the new one"
        )
    write_atomically(folder / FILE, lambda file: file.write(content))


def beside(generator: Path) -> TrainedClassifier | None:
    """The classifier that lies beside a generator's file; None where there is none.

    Raises:
        UsageError: it is not the one that the generator's finished run was measured with.
    """
    folder = generator.parent
    file = next((folder / name for name in (FILE, _EARLIER_FILE) if is_plain(folder / name)), None)
    if file is None:
        return None
    classifier = read_classifier(str(file), "--generator")
    if is_run(folder) and (folder / results.FILE).is_file():
        expected = results.read_as(GanTrainResult, folder).classifier.sha256
        if classifier.sha256 != expected:
            raise UsageError(
                f"{file} is not the classifier of the run there: sha256 {expected[:12]}… in "
                f"{results.FILE}, {classifier.sha256[:12]}… of "
                "the file; it was damaged or replaced since. Run it again with --overwrite, or "
                "copy the generator to another folder"
            )
    return classifier
