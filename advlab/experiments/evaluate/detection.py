"""``advlab evaluate detection``: a detector of adversarial images, and attacks on it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from advlab.components import load_component, suggestion
from advlab.config.options.detection import DetectionOptions
from advlab.config.resolve import Config
from advlab.data.image_set import Images, ImageSet
from advlab.errors import UsageError
from advlab.evaluation.checks import (
    chance_check,
    finite_outputs,
    gradient_faults,
    log_failed,
    unsteady,
)
from advlab.evaluation.detection import Detector, DetectorEvidence, scored, threshold_of
from advlab.evaluation.entry import Entry
from advlab.evaluation.evasion import Evasion
from advlab.experiments.evaluate.detection_report import draw, report, result_of
from advlab.experiments.target_images import given_or_newest, with_images
from advlab.experiments.target_model import TargetModel, named, usable_machine, weak_precision_of
from advlab.experiments.trained_on import seen_in_training
from advlab.logs import logger
from advlab.metrics.classification import is_correct
from advlab.networks.adapter import Adapter, copied, unwrapped
from advlab.networks.filters import see_through
from advlab.networks.layout import place
from advlab.perturbation.geometry import check_radius
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom, repeatable
from advlab.perturbation.sweep import Tasks, judge, sweep
from advlab.perturbation.victim import Victim
from advlab.progress import progress_bar
from advlab.results.evaluate import DetectionResult
from advlab.runs import sealed
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.machine import Machine, derive, prepare
from advlab.runs.results import Finished
from advlab.runs.table import counted, percent

FILE = "scores.safetensors"
ADAPTIVE = "adaptive PGD"
_PROBE = 100  # images on which the network itself is checked
_ZEROS = 0.1  # of the gradients
_PACKAGE = "advlab.evaluation.detectors"


def run(config: Config) -> Finished[DetectionResult]:
    """Measure one detector on one network, unless the run is there already.

    Raises:
        UsageError: there are too few validation images for the false alarms, or no training images.
    """
    options: DetectionOptions = config.options
    check_radius(options.norm, options.eps)
    entries = chosen(config)
    given, data = with_images(options, named(options), prepare(options).device)
    _check_splits(data, options.false_alarms)
    target = given_or_newest(given, data, options)
    measurement = Measurement(config, entries, target, data)
    experiment = Experiment(
        config=target.settled(config.changed(dataset=data.name)),
        contents={"data": data.sha256(), **target.contents},
        result=DetectionResult,
        measure=measurement.measure,
        report=report,
    )
    return carry_out(experiment)


def chosen(config: Config) -> list[Entry]:
    """The attacks that do not know the detector, or those of them that ``--attacks`` names.

    Raises:
        UsageError: there is none of that name.
    """
    options: DetectionOptions = config.options
    suite = load_component("advlab.evaluation.suites", config.component, "suite")
    entries: list[Entry] = suite.entries(options)
    labels = [entry.label for entry in entries]
    wanted = [name.lower() for name in options.attacks or labels]
    for name, typed in zip(wanted, options.attacks or labels, strict=True):
        if name not in [label.lower() for label in labels]:
            raise UsageError(
                f"--attacks {typed}: not among the attacks of detection"
                f"{suggestion(typed, labels)}; they are {', '.join(labels)}"
            )
    return [entry for entry in entries if entry.label.lower() in wanted]


def _check_splits(data: ImageSet, false_alarms: float) -> None:
    """Refuse data from which no detector can be made.

    Raises:
        UsageError: there are no training images, or too few validation images.
    """
    if not len(data.train):
        raise UsageError(f"{data.name} has no training images, which a detector is made from")
    if false_alarms * len(data.val) < 1:
        raise UsageError(
            f"--false-alarms {false_alarms:g}: is less than one of the {len(data.val):,} "
            f"validation images of {data.name}, which set the threshold"
        )


@dataclass
class Scores:
    """The scores of the images, as far as they were measured.

    Attributes:
        tensors: scores, float64 (N,), by ``validation/scores``, ``test/scores``, and for each
            attack ``ATTACK/scores``; flags, bool (N,), by ``test/correct``, and ``ATTACK/correct``
            for what is classified correctly. Attacks leave images out that are misclassified
            unattacked.
        seconds: that each attack took, by its name.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def store(self, folder: Path) -> None:
        """Write them down, whole or not at all."""
        sealed.write_tensors(folder / FILE, self.tensors, {"seconds": json.dumps(self.seconds)})

    @classmethod
    def restored(cls, folder: Path) -> Scores:
        """What ``store`` wrote; nothing where there is no file.

        Raises:
            UsageError: it belongs to a run of other settings, data or networks.
            EnvironmentFailure: the file is damaged.
        """

        def made(tensors: dict[str, Tensor], texts: Mapping[str, str]) -> Scores:
            seconds = json.loads(texts["seconds"])
            return cls(tensors, {str(name): float(value) for name, value in seconds.items()})

        return sealed.restored(folder / FILE, made) or cls()


def _gradient_checks(victim: Victim, images: Tensor, labels: Tensor) -> dict[str, str]:
    """The checks of gradients that fail, at some images and beside them."""
    before = victim.gradients
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(0)).to(images)
    for inputs in (images, (images + 0.1 * (noise - 0.5)).clamp(0, 1)):
        victim.gradient(inputs, Goal(labels), "margin")
    counts = victim.gradients - before
    failed = gradient_faults(counts, len(images))
    if counts.zero > _ZEROS * counts.total:
        failed["zero gradients"] = (
            f"{counts.zero} of {counts.total} gradients at clean images and beside them are zero, "
            "which attacks cannot follow"
        )
    return failed


@dataclass(frozen=True)
class Measurement:
    """One detector on one network: attacks that do not know it, then one that does."""

    config: Config
    entries: Sequence[Entry]
    target: TargetModel
    data: ImageSet

    def measure(self, folder: Path) -> DetectionResult:
        """Make the detector, set its threshold, attack, and draw."""
        options: DetectionOptions = self.config.options
        machine = usable_machine(self.target, self.data, prepare(options), options.precision)
        count = min(options.limit or len(self.data.test), len(self.data.test))
        images = self.data.test.select(torch.arange(count))
        detector = self._detector(machine)
        logger.info(
            f"{options.detector} on {self.target.label}, {counted(count, 'image')} of "
            f"{self.data.name}, on {machine.device}"
        )
        scores = Scores.restored(folder) if options.resume else Scores()
        self._score_clean(detector, images, machine, scores)
        victim = self._victim(machine)
        failed = self._checked(victim, images, machine)
        threshold = threshold_of(scores.tensors["validation/scores"], options.false_alarms)
        labels = [*(entry.label for entry in self.entries), ADAPTIVE]
        with progress_bar(len(labels), "attacks", "attacks") as bar:
            for entry, label in zip([*self.entries, None], labels, strict=True):
                if f"{label}/scores" not in scores.tensors:
                    started = time.perf_counter()
                    perturbed = self._attacked(entry, victim, detector, images, machine, scores)
                    self._score(label, detector, perturbed, images, machine, scores)
                    scores.seconds[label] = time.perf_counter() - started
                    scores.store(folder)
                self._tell(label, scores, threshold)
                bar.update()
        settings = {entry.label: entry.settings for entry in self.entries}
        settings[ADAPTIVE] = {"steps": options.steps, "restarts": options.restarts}
        result = result_of(
            self.config,
            detector.settings(),
            settings,
            self.target.record,
            self.data,
            scores.tensors,
            scores.seconds,
            threshold,
            machine,
            failed,
        )
        draw(folder, result, scores.tensors)
        return result

    def _checked(self, victim: Victim, images: Images, machine: Machine) -> dict[str, str]:
        """The checks of the network that fail, a sentence by the name of each; each is printed."""
        options: DetectionOptions = self.config.options
        some = images.inputs(slice(0, _PROBE), machine.device)
        logits = judge(victim, images.inputs(slice(None)))
        failed = finite_outputs(logits, logits)
        failed |= chance_check(is_correct(logits, images.labels), logits.shape[1])
        failed |= seen_in_training(self.target.metadata, self.data, options, validates=True)
        batch = images.inputs(slice(0, victim.judged_together), machine.device)
        failed |= unsteady(victim, batch, samples=1)
        failed |= weak_precision_of(self.target, self.data, machine, options.precision)
        failed |= _gradient_checks(victim, some, images.labels[:_PROBE].to(machine.device))
        log_failed(failed)
        return failed

    def _network(self, machine: Machine) -> nn.Module:
        """A copy of the network in its own arithmetic, whose input filters gradients pass."""
        network = self.target.network
        adapter = network if isinstance(network, Adapter) else Adapter(network)
        try:
            copy = adapter.around(place(copied(unwrapped(adapter.network)), machine.device))
        except RuntimeError as error:  # torch copies only what it made itself
            raise UsageError(
                f"{self.target.where}: this network cannot be copied: {error}"
            ) from error
        see_through(copy)
        return copy

    def _victim(self, machine: Machine) -> Victim:
        """The network without the detector, as attacks see it."""
        options: DetectionOptions = self.config.options
        return Victim(self._network(machine), machine, options.batch_size)

    def _detector(self, machine: Machine) -> Detector:
        """The detector, made from the training images."""
        options: DetectionOptions = self.config.options
        module = load_component(_PACKAGE, options.detector, "detector")
        network = self._network(machine)
        evidence = DetectorEvidence(network, self.target.where, self.data.train, machine.device)
        detector: Detector = module.fitted(evidence, options)
        return detector.eval()

    def _score_clean(
        self, detector: Detector, images: Images, machine: Machine, scores: Scores
    ) -> None:
        """Score the clean validation and test images, unless that is done."""
        if "test/scores" in scores.tensors:
            return
        every = self.data.val.inputs(slice(None))
        scores.tensors["validation/scores"] = scored(detector, every, machine.device)[1]
        if not bool(scores.tensors["validation/scores"].isfinite().all()):
            raise UsageError(
                f"{self.target.where}: its answers to clean validation images are not finite (NaN "
                "or infinite), so that no threshold can be set"
            )
        logits, clean = scored(detector, images.inputs(slice(None)), machine.device)
        scores.tensors["test/scores"] = clean
        scores.tensors["test/correct"] = is_correct(logits, images.labels)

    def _attacked(
        self,
        entry: Entry | None,
        victim: Victim,
        detector: Detector,
        images: Images,
        machine: Machine,
        scores: Scores,
    ) -> Tensor:
        """What an attack, or the adaptive one for None, makes of the images that are classified
        correctly."""
        options: DetectionOptions = self.config.options
        index = scores.tensors["test/correct"].nonzero().squeeze(1)
        if len(index) == 0:
            return images.inputs(index)
        if entry is not None:
            tasks = Tasks(images, index, images.labels[index], targeted=False)
            shared = {"seed": options.seed, "batch_size": options.batch_size, "norm": options.norm}
            given = entry.kind().model_validate({**entry.settings, **shared, "eps": [options.eps]})
            attack = load_component("advlab.attacks", entry.attack, "attack").perturb
            (point,) = sweep(attack, victim, tasks, given)
            return point.perturbed
        evasion = Evasion(options.eps, options.norm, options.steps, options.restarts)
        perturbed = []
        for some in index.split(options.batch_size):
            random = ImageRandom(derive(options.seed, 62), some)
            clean = images.inputs(some, machine.device)
            with repeatable(derive(options.seed, 63, int(some[0])), machine.device):
                evading = evasion.perturbed(
                    detector, clean, images.labels[some].to(machine.device), random
                )
            perturbed.append(evading.cpu())
        return torch.cat(perturbed)

    def _score(
        self,
        label: str,
        detector: Detector,
        perturbed: Tensor,
        images: Images,
        machine: Machine,
        scores: Scores,
    ) -> None:
        """Note what detector and network make of the perturbed images."""
        index = scores.tensors["test/correct"].nonzero().squeeze(1)
        scores.tensors[f"{label}/correct"] = torch.ones(len(index), dtype=torch.bool)
        scores.tensors[f"{label}/scores"] = torch.zeros(len(index), dtype=torch.float64)
        if len(index):
            logits, suspicion = scored(detector, perturbed, machine.device)
            scores.tensors[f"{label}/correct"] = is_correct(logits, images.labels[index])
            scores.tensors[f"{label}/scores"] = suspicion

    def _tell(self, label: str, scores: Scores, threshold: float) -> None:
        """Print what an attack reached."""
        broken = ~scores.tensors[f"{label}/correct"]
        passed = broken & (scores.tensors[f"{label}/scores"] <= threshold)
        told = f"{int(broken.sum()):,} of {len(broken):,} misclassified"
        if bool(broken.any()):
            told += f", {percent(1 - int(passed.sum()) / int(broken.sum()))} of them detected"
        logger.info(f"{label}: {told}, {scores.seconds[label]:.1f} s")
