"""``advlab evaluate certification``: certified radii of a network smoothed by noise."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from advlab.config.options.smoothing import CertificationOptions
from advlab.config.resolve import Config
from advlab.data.image_set import Images, ImageSet
from advlab.errors import UsageError
from advlab.evaluation.certify import (
    ABSTAIN,
    Certified,
    Smoothing,
    Vote,
    certify_image,
    gathered,
    largest_radius,
    lost_votes,
    vote_checks,
)
from advlab.evaluation.checks import chance_check, finite_outputs, log_failed
from advlab.experiments.evaluate.spread import Spread
from advlab.experiments.shard_worker import Job, certify_shard
from advlab.experiments.target_images import given_or_newest, loadable, with_images
from advlab.experiments.target_model import TargetModel, named
from advlab.experiments.titles import title_of
from advlab.experiments.trained_on import seen_in_training
from advlab.experiments.workers import Crew, results_of
from advlab.logs import logger
from advlab.metrics.classification import is_correct
from advlab.metrics.intervals import clopper_pearson, with_interval
from advlab.perturbation.sweep import judge
from advlab.perturbation.victim import Victim
from advlab.plots.defence import certified as certified_curves
from advlab.plots.style import save
from advlab.progress import progress_bar
from advlab.results.evaluate import CertificationResult, CertifiedRadius
from advlab.runs import sealed
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.machine import Machine, prepare
from advlab.runs.results import Finished
from advlab.runs.table import counted, percent, table

FILE = "certified.safetensors"
_BLOCK = 10  # images that are certified together, and stored


def run(config: Config, crew: Crew | None = None) -> Finished[CertificationResult]:
    """Certify one network, unless the run is there already.

    Args:
        crew: the processes that share the images; None for this one alone.
    """
    options: CertificationOptions = config.options
    given, data = with_images(options, named(options), prepare(options).device)
    target = given_or_newest(given, data, options)
    spread = None
    if crew is not None:
        spread = Spread(crew, loadable(config, target, data, given is not None))
    certification = Certification(config, target, data, spread)
    experiment = Experiment(
        config=target.settled(config.changed(dataset=data.name)),
        contents={"data": data.sha256(), **target.contents},
        result=CertificationResult,
        measure=certification.measure,
        report=_report,
    )
    return carry_out(experiment)


@dataclass
class Votes:
    """What was found of the images so far, in their order.

    Attributes:
        of: an entry for each image.
        seconds: that it took.
    """

    of: list[Vote] = field(default_factory=list)
    seconds: float = 0.0

    def store(self, folder: Path) -> None:
        """Write them down, whole or not at all."""
        tensors = {
            "predicted": torch.tensor([vote.predicted for vote in self.of]),
            "radius": torch.tensor([vote.radius for vote in self.of], dtype=torch.float64),
            "cast": torch.tensor([vote.cast for vote in self.of]),
        }
        sealed.write_tensors(folder / FILE, tensors, {"seconds": repr(self.seconds)})

    @classmethod
    def restored(cls, folder: Path) -> Votes:
        """What ``store`` wrote; nothing where there is no file.

        Raises:
            UsageError: it belongs to a run of other settings, data or networks.
            EnvironmentFailure: the file is damaged.
        """

        def made(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> Votes:
            columns = (tensors[name].tolist() for name in ("predicted", "radius", "cast"))
            votes = [Vote(*row) for row in zip(*columns, strict=True)]
            return cls(votes, float(texts["seconds"]))

        return sealed.restored(folder / FILE, made) or cls()


@dataclass(frozen=True)
class Certification:
    """One network, certified on the first test images."""

    config: Config
    target: TargetModel
    data: ImageSet
    spread: Spread | None = None

    def measure(self, folder: Path) -> CertificationResult:
        """Check the network, certify the images, and draw."""
        options: CertificationOptions = self.config.options
        if self.spread is not None:
            self.spread.crew.compute_alike(options.threads)
        # Which class a copy votes for is decided in float32, unless the user asks for less.
        machine = prepare(options, "fp32" if options.precision == "auto" else None)
        count = min(options.limit or len(self.data.test), len(self.data.test))
        images = self.data.test.select(torch.arange(count))
        logger.info(
            f"{self.target.label} smoothed by noise of σ = {options.sigma:g}, "
            f"{counted(count, 'image')} of {self.data.name}, {options.samples:,} samples each, on "
            f"{machine.device}"
        )
        victim = self._victim(machine)
        logits = judge(victim, images.inputs(slice(None)))
        correct = is_correct(logits, images.labels)
        failed = self._checked(victim, images, logits) | chance_check(correct, logits.shape[1])
        failed |= seen_in_training(self.target.metadata, self.data, options)
        votes = Votes.restored(folder) if options.resume else Votes()
        self._certify(victim, images, machine, votes, folder)
        certified = gathered(votes.of, self._smoothing)
        failed |= lost_votes(certified.without_vote)
        right = int(correct.sum())
        result = self._result(certified, images.labels, right / count, votes, machine, failed)
        self._draw(result, certified, images.labels, folder)
        return result

    @property
    def _smoothing(self) -> Smoothing:
        options: CertificationOptions = self.config.options
        return Smoothing.of(options, options.seed)

    def _victim(self, machine: Machine) -> Victim:
        try:
            return Victim(self.target.network, machine)
        except RuntimeError as error:  # torch copies only what it made itself
            raise UsageError(
                f"{self.target.where}: this network cannot be copied: {error}"
            ) from error

    def _checked(self, victim: Victim, images: Images, logits: Tensor) -> dict[str, str]:
        """The checks of the network that fail, a sentence by the name of each."""
        return finite_outputs(logits, logits) | vote_checks(victim, images, self._smoothing)

    def _certify(
        self, victim: Victim, images: Images, machine: Machine, votes: Votes, folder: Path
    ) -> None:
        """Certify the images that are not certified yet, and store them block by block."""
        numbers = range(len(votes.of), len(images))
        blocks = [list(numbers[start : start + _BLOCK]) for start in range(0, len(numbers), _BLOCK)]
        with progress_bar(len(images), "certifying", "images") as bar:
            bar.update(len(votes.of))
            started = time.perf_counter()
            for block in self._in_order(victim, images, machine, blocks):
                votes.of += block
                votes.seconds += time.perf_counter() - started
                started = time.perf_counter()
                votes.store(folder)
                bar.update(len(block))

    def _in_order(
        self, victim: Victim, images: Images, machine: Machine, blocks: Sequence[list[int]]
    ) -> Iterator[list[Vote]]:
        """What is found of each block, the first one first, here or by several processes."""
        if self.spread is None:
            for block in blocks:
                yield [
                    certify_image(victim.exact, images, number, self._smoothing, machine)
                    for number in block
                ]
            return
        job = Job(
            self.spread.mapping,
            {"data": self.data.sha256(), **self.target.contents},
            None,
            machine,
            torch.get_num_threads(),
            first=0,
            images=len(images),
        )
        arguments = [(job, block, self._smoothing) for block in blocks]
        early: dict[int, list[Vote]] = {}
        next_one = 0
        for place, votes in results_of(self.spread.crew.team, certify_shard, arguments):
            early[place] = votes
            while next_one in early:
                yield early.pop(next_one)
                next_one += 1

    def _result(
        self,
        certified: Certified,
        labels: Tensor,
        clean_accuracy: float,
        votes: Votes,
        machine: Machine,
        failed: dict[str, str],
    ) -> CertificationResult:
        options: CertificationOptions = self.config.options
        steps = int(float(certified.radius.max()) / (options.sigma / 2))
        return CertificationResult(
            command="evaluate",
            component=self.config.component,
            dataset=self.data.name,
            origin=self.data.origin,
            data_sha256=self.data.sha256(),
            model=self.target.record.model,
            seed=options.seed,
            seconds=round(votes.seconds, 4),
            machine=machine.describe(),
            sigma=options.sigma,
            samples=options.samples,
            select=options.select,
            alpha=options.alpha,
            images=len(labels),
            classes=len(self.data.classes),
            clean_accuracy=clean_accuracy,
            certified_accuracy=certified.accuracy(labels, 0.0),
            average_radius=certified.mean_radius(labels),
            abstained=int((certified.predicted == ABSTAIN).sum()),
            without_vote=certified.without_vote,
            points=[
                _point(certified, labels, step * options.sigma / 2) for step in range(steps + 1)
            ],
            network=self.target.record,
            checks_failed=failed,
        )

    def _draw(
        self, result: CertificationResult, certified: Certified, labels: Tensor, folder: Path
    ) -> None:
        """Certified accuracy by radius."""
        name = f"σ = {result.sigma:g}"
        title = f"Certified accuracy of {title_of(result.network)}, smoothed, on {result.dataset}"
        caption = (
            f"{result.origin} · {counted(result.images, 'test image')} · {result.context()} · "
            f"seed {result.seed}"
        )
        curves, limit = {name: certified.curve(labels)}, largest_radius(self._smoothing)
        drawn = certified_curves(curves, result.samples, limit, title, caption)
        save(drawn, folder / "certified.png")


def _point(certified: Certified, labels: Tensor, radius: float) -> CertifiedRadius:
    """Certified accuracy at a radius, with its interval."""
    accuracy = certified.accuracy(labels, radius)
    low, high = clopper_pearson(round(accuracy * len(labels)), len(labels))
    return CertifiedRadius(radius=radius, accuracy=accuracy, low=low, high=high)


def _report(result: CertificationResult) -> None:
    """Print a row for each radius, then the sentence."""
    rows = [
        [f"{point.radius:.4g}", with_interval(point.accuracy, result.images)]
        for point in result.points
    ]
    logger.info(table(["certified L2 radius", "certified accuracy"], rows))
    logger.info(
        f"{result.summary()}; it abstained on {result.abstained:,} of "
        f"{counted(result.images, 'image')}; accuracy without noise "
        f"{percent(result.clean_accuracy)}"
    )
    log_failed(result.checks_failed)
