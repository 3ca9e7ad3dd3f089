"""``advlab compare --ensemble``: trained networks judged together, beside each of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from advlab.config.options.compare import CompareOptions
from advlab.config.options.run import DataOptions
from advlab.data import load_images, load_texts
from advlab.data.image_set import ImageSet
from advlab.data.text_set import TextSet
from advlab.errors import UsageError
from advlab.experiments import trained_text_classifier
from advlab.experiments.ensembles import check_alike
from advlab.experiments.paired import p_text, paired_test
from advlab.experiments.train import run as training
from advlab.experiments.trained_classifier import TrainedClassifier, load_classifier
from advlab.experiments.trained_text_classifier import TextTarget
from advlab.metrics.classification import accuracy
from advlab.metrics.intervals import with_interval
from advlab.networks.ensemble import log_mean_probability
from advlab.results.comparison import JointAccuracy, JointMember, Part
from advlab.results.train import TrainResult
from advlab.runs.machine import Machine
from advlab.runs.results import Finished, Result
from advlab.runs.table import counted, table
from advlab.training.evaluate import logits_of

_MACHINE = Machine(torch.device("cpu"), "fp32")
_READER = "textcnn"  # any network of texts: only the options of its data are used


def joint_accuracies(
    runs: Sequence[Finished[Result]], options: CompareOptions
) -> list[JointAccuracy]:
    """The accuracy of the mean of the networks' probabilities, on validation and on test data, in
    float32. Networks of texts read them each in its own way.

    Raises:
        UsageError: a run is no training, the networks do not go together, or their data are not
            those that they were trained on any more.
        EnvironmentFailure: the data cannot be read.
    """
    for run in runs:
        if not isinstance(run.result, TrainResult):
            raise UsageError(f"--ensemble: {run.folder} is no run of train")
    members = [_member(run) for run in runs]
    check_alike(members, "--ensemble")
    data = _data(members[0], options.data_dir)
    if data.sha256() != runs[0].result.data_sha256:
        raise UsageError(f"--ensemble: {data.name} has changed since {runs[0].folder} was trained")
    names = [str(run.folder) for run in runs]
    logits = [_logits(member, data) for member in members]
    return [
        _joint("validation", names, [one[0] for one in logits], data.val.labels),
        _joint("test", names, [one[1] for one in logits], data.test.labels),
    ]


def joint_table(joint: JointAccuracy, unit: str) -> str:
    """A row for the ensemble and one for each of its members.

    Args:
        unit: what an example is.
    """
    rows = [["ensemble", with_interval(joint.accuracy, joint.examples), "–", "–", "–"]]
    rows += [
        [one.run, with_interval(one.accuracy, joint.examples), *p_text(one.test)]
        for one in joint.members
    ]
    head = [f"{joint.part}, {counted(joint.examples, unit)}", "accuracy"]
    return table([*head, "only it right", "only the ensemble right", "p (McNemar)"], rows)


def _member(run: Finished[Result]) -> TrainedClassifier | TextTarget:
    """The network of a training."""
    assert isinstance(run.result, TrainResult)
    if run.result.unit == "texts":
        return trained_text_classifier.loaded(str(run.folder), "--ensemble")
    return load_classifier(str(run.folder), "--ensemble")


def _data(member: TrainedClassifier | TextTarget, data_dir: str) -> ImageSet | TextSet:
    """The data that a network was trained on."""
    metadata = member.metadata
    chosen = {"dataset": metadata.dataset, "data_dir": data_dir, **metadata.data}
    if isinstance(member, TextTarget):
        return load_texts.load(training.configuration(_READER, **chosen).options)
    return load_images.load(DataOptions.model_validate(chosen))


def _logits(
    member: TrainedClassifier | TextTarget, data: ImageSet | TextSet
) -> tuple[Tensor, Tensor]:
    """The network's logits of the validation and of the test examples."""
    if isinstance(member, TextTarget) and isinstance(data, TextSet):
        data = data.read_with(member.vocabulary, member.metadata.max_words)
    with torch.no_grad():
        validation = logits_of(member.network, data.val, _MACHINE)
        return validation, logits_of(member.network, data.test, _MACHINE)


def _joint(
    part: Part, names: Sequence[str], logits: Sequence[Tensor], labels: Tensor
) -> JointAccuracy:
    """The ensemble on one part of the data."""
    together = log_mean_probability(logits)
    right = together.argmax(1) == labels
    members = [
        JointMember(
            run=name,
            accuracy=accuracy(own, labels),
            test=paired_test(own.argmax(1) == labels, right),
        )
        for name, own in zip(names, logits, strict=True)
    ]
    return JointAccuracy(
        part=part, accuracy=accuracy(together, labels), examples=len(labels), members=members
    )
