"""``advlab evaluate corruptions``: accuracy under common corruptions, without an adversary."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from advlab.components import load_component
from advlab.config.options.run import CorruptionOptions
from advlab.config.resolve import Config
from advlab.data.image_set import Images, ImageSet
from advlab.evaluation.checks import unsteady
from advlab.evaluation.corruption.catalogue import Corruption
from advlab.experiments.evaluate.corruption_report import draw, report, result_of
from advlab.experiments.target_images import as_surrogate, given_or_newest, with_images
from advlab.experiments.target_model import TargetModel, named
from advlab.experiments.trained_on import seen_in_training
from advlab.logs import logger
from advlab.metrics.classification import is_correct
from advlab.perturbation.sweep import judge
from advlab.perturbation.victim import Victim
from advlab.progress import progress_bar
from advlab.results.evaluate import CorruptionResult
from advlab.runs import sealed
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.machine import prepare
from advlab.runs.results import Finished
from advlab.runs.table import counted

FILE = "correct.safetensors"
_PROBE = 100  # images on which the networks themselves are checked


def run(config: Config) -> Finished[CorruptionResult]:
    """Measure one network under corruptions, unless the run is there already.

    Raises:
        UsageError: no corruptions suit the images, or there is none of a given name.
    """
    options: CorruptionOptions = config.options
    device = prepare(options).device
    given, data = with_images(options, named(options), device)
    suite = load_component("advlab.evaluation.suites", config.component, "suite")
    sort, kinds = suite.corruptions(options, data.shape)
    target = given_or_newest(given, data, options)
    contents = {"data": data.sha256(), **target.contents}
    reference = None
    if options.reference is not None:
        reference = as_surrogate(options.reference, data, device, "--reference")
        contents |= reference.contents_as("reference")
    measurement = Measurement(config, sort, kinds, target, reference, data)
    experiment = Experiment(
        config=target.settled(config.changed(dataset=data.name)),
        contents=contents,
        result=CorruptionResult,
        measure=measurement.measure,
        report=report,
    )
    return carry_out(experiment)


@dataclass
class Answers:
    """Which images are classified correctly, as far as they were measured.

    Attributes:
        correct: bool (severities, N) by ``network/corruption`` and ``reference/corruption``; (1, N)
            of the uncorrupted images by ``network/clean`` and ``reference/clean``. Whether the
            logits were finite is there as well, by ``finite/network/clean`` and the like.
        seconds: that the measurement took.
    """

    correct: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0

    def store(self, folder: Path) -> None:
        """Write them down, whole or not at all."""
        sealed.write_tensors(folder / FILE, self.correct, {"seconds": json.dumps(self.seconds)})

    @classmethod
    def restored(cls, folder: Path) -> Answers:
        """What ``store`` wrote; nothing where there is no file.

        Raises:
            UsageError: it belongs to a run of other settings, data or networks.
            EnvironmentFailure: the file is damaged.
        """

        def made(tensors: dict[str, Tensor], texts: Mapping[str, str]) -> Answers:
            return cls(tensors, float(json.loads(texts["seconds"])))

        return sealed.restored(folder / FILE, made) or cls()


def _unsteady(networks: Mapping[str, Victim], images: Images) -> dict[str, str]:
    """The checks that fail since a network's answers depend on more than the image."""
    failed: dict[str, str] = {}
    for network, victim in networks.items():
        whose = "" if network == "network" else " of the reference"
        some = images.inputs(slice(0, victim.judged_together), victim.device)
        failed |= {
            f"{name}{whose}": text for name, text in unsteady(victim, some, attacked=False).items()
        }
    return failed


@dataclass(frozen=True)
class Measurement:
    """One network, and perhaps a reference, on the same corrupted images."""

    config: Config
    sort: str
    kinds: Sequence[Corruption]
    target: TargetModel
    reference: TargetModel | None
    data: ImageSet

    def measure(self, folder: Path) -> CorruptionResult:
        """Corrupt the images in every way, count what is classified correctly, and draw."""
        options: CorruptionOptions = self.config.options
        machine = prepare(options)
        count = min(options.limit or len(self.data.test), len(self.data.test))
        images = self.data.test.select(torch.arange(count))
        severities = sorted(set(options.severities))
        logger.info(
            f"{counted(len(self.kinds), 'corruption')} of {self.sort} × "
            f"{counted(len(severities), 'severity').replace('severitys', 'severities')} on "
            f"{self.target.label}, {counted(count, 'image')} of {self.data.name}, on "
            f"{machine.device}"
        )
        networks = {"network": Victim(self.target.network, machine)}
        if self.reference is not None:
            networks["reference"] = Victim(self.reference.network, machine)
        answers = Answers.restored(folder) if options.resume else Answers()
        with progress_bar(len(self.kinds), "corruptions", "corruptions") as bar:
            for kind in (None, *self.kinds):
                self._answer(kind, severities, networks, images, answers, folder)
                bar.update(0 if kind is None else 1)
        failed = _unsteady(networks, images)
        failed |= seen_in_training(self.target.metadata, self.data, options)
        known = None if self.reference is None else self.reference.metadata
        failed |= {
            f"{name} of the reference": text.replace("the network", "the reference")
            for name, text in seen_in_training(known, self.data, options).items()
        }
        result = result_of(
            self.config,
            self.sort,
            self.kinds,
            answers.correct,
            self.target,
            self.reference,
            self.data,
            machine,
            answers.seconds,
            failed,
        )
        draw(folder, result, images, self.kinds)
        return result

    def _answer(
        self,
        kind: Corruption | None,
        severities: Sequence[int],
        networks: dict[str, Victim],
        images: Images,
        answers: Answers,
        folder: Path,
    ) -> None:
        """Measure the networks under one corruption, or on the uncorrupted images for None, unless
        that is done."""
        name = "clean" if kind is None else kind.name
        if f"network/{name}" in answers.correct:
            return
        started = time.perf_counter()
        x, numbers = images.inputs(slice(None)), torch.arange(len(images))
        rows: dict[str, list[Tensor]] = {network: [] for network in networks}
        finite: dict[str, list[Tensor]] = {network: [] for network in networks}
        for severity in [0] if kind is None else severities:
            seed = self.config.options.seed
            corrupted = x if kind is None else kind.apply(x, numbers, severity, seed)
            for network, victim in networks.items():
                logits = judge(victim, corrupted)
                rows[network].append(is_correct(logits, images.labels))
                finite[network].append(logits.isfinite().all(dim=1))
        for network, flags in rows.items():
            answers.correct[f"{network}/{name}"] = torch.stack(flags)
            answers.correct[f"finite/{network}/{name}"] = torch.stack(finite[network])
        answers.seconds += time.perf_counter() - started
        answers.store(folder)
