"""``advlab evaluate``: checks, a suite of attacks, and a verdict; or corruptions, detection or
certification."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from advlab.components import load_component
from advlab.config.options.detection import DetectionOptions
from advlab.config.options.run import CorruptionOptions, EvaluateOptions
from advlab.config.options.smoothing import CertificationOptions
from advlab.config.radii import eps_text
from advlab.config.references import names_code
from advlab.config.registry import command_named
from advlab.config.resolve import Config, Plan
from advlab.data.image_set import Images, ImageSet
from advlab.errors import UsageError
from advlab.evaluation.checks import (
    Outcome,
    chance_check,
    finite_outputs,
    gradient_faults,
    is_random,
    log_failed,
    postflight,
    preflight,
    vanished_gradients,
)
from advlab.evaluation.entry import Entry, averaging, gradient_samples, selected
from advlab.evaluation.nearest_first import BatchSizes, attacked
from advlab.experiments.evaluate import certification, corruptions, detection
from advlab.experiments.evaluate.spread import Spread, SpreadStages, Stage
from advlab.experiments.evaluate.state import EvaluationState
from advlab.experiments.evaluate.verdict import citation, draw, report, verdict
from advlab.experiments.grid import run_plan
from advlab.experiments.paired import paired_test
from advlab.experiments.shard_worker import Job
from advlab.experiments.shards import Shards
from advlab.experiments.target_images import (
    as_surrogate,
    check_another,
    given_or_newest,
    loadable,
    with_images,
)
from advlab.experiments.target_model import (
    TargetModel,
    check_describing,
    named,
    named_by,
    usable_machine,
    weak_precision_of,
)
from advlab.experiments.trained_on import seen_in_training
from advlab.experiments.workers import Crew
from advlab.logs import logger
from advlab.metrics.classification import is_correct
from advlab.networks.filters import see_through
from advlab.perturbation.geometry import check_radius
from advlab.perturbation.sweep import Batches, Point, Tasks, judge, sweep
from advlab.perturbation.victim import GradientCount, Victim
from advlab.results.comparison import PairedTest
from advlab.results.evaluate import EvaluateResult, SuiteAttack
from advlab.results.train import TrainResult
from advlab.runs import results
from advlab.runs.files import write_json
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.machine import Machine, prepare
from advlab.runs.results import Finished
from advlab.runs.table import counted, percent

_PROBE = 100  # images that the checks look at


def main(plan: Plan) -> int:
    """Run every cell of the plan; exit status 0 where all of them finished.

    Raises:
        UsageError: some cells are suites of attacks, and others something else.
    """
    kinds = {_other_kind(cell.options) for cell in plan.cells}
    if len(kinds) > 1:
        raise UsageError(
            "corruptions, detection, certification and suites of attacks measure different "
            "things; evaluate them by separate lines"
        )
    other = kinds.pop()
    if other is not None:
        shared = other.run if other is certification else None
        return run_plan(
            plan, other.run, check=lambda cell: check_describing(cell.options), shared=shared
        )
    return run_plan(
        plan, run, paired=paired, check=lambda cell: check_describing(cell.options), shared=run
    )


def _other_kind(options: Any) -> ModuleType | None:
    """The module that carries out what is no suite of attacks; None for a suite."""
    kinds = {
        CorruptionOptions: corruptions,
        DetectionOptions: detection,
        CertificationOptions: certification,
    }
    return next((module for kind, module in kinds.items() if isinstance(options, kind)), None)


def configuration(suite: str, **values: Any) -> Config:
    """The configuration of ``advlab evaluate suite`` with these options, every other one at its
    default.

    Raises:
        UsageError: there is no such suite.
    """
    return Config("evaluate", suite, command_named("evaluate").options(suite)(**values))


def paired(first: Finished[EvaluateResult], second: Finished[EvaluateResult]) -> PairedTest | None:
    """Which of two networks is robust on more of the same images, at the largest ε.

    Returns:
        None where the two runs attacked one network, other images or in another way, or where one
        of them has lost its images.
    """
    one, other = first.result, second.result
    if one.network.sha256 == other.network.sha256 or _conditions(one) != _conditions(other):
        return None
    settings = {row.attack: row.settings for row in one.attacks}
    if any(settings.get(row.attack, row.settings) != row.settings for row in other.attacks):
        return None
    states = [EvaluationState.restored(run.folder) for run in (first, second)]
    robust = [state.broken_at > one.eps[-1] for state in states if state is not None]
    return paired_test(robust[0], robust[1]) if len(robust) == 2 else None


def _conditions(result: EvaluateResult) -> tuple[object, ...]:
    """What two evaluations must share for a comparison of their images."""
    return (
        result.data_sha256,
        result.images,
        result.norm,
        result.eps,
        result.component,
        result.bpda,
    )


def run(config: Config, crew: Crew | None = None) -> Finished[EvaluateResult]:
    """Evaluate one network, unless the run is there already.

    Args:
        crew: the processes that share the images; None for this one alone.
    """
    options: EvaluateOptions = config.options
    check_radius(options.norm, max(options.eps))
    entries = chosen(config)
    given, device = named(options), prepare(options).device
    given, data = with_images(options, given, device)
    target = given_or_newest(given, data, options)
    settled = target.settled(config.changed(dataset=data.name))
    contents = {"data": data.sha256(), **target.contents}
    surrogate = None
    if options.surrogate is not None:
        if not any(entry.transfer for entry in entries):
            raise UsageError(
                f"--surrogate: the attacks of 'evaluate {config.component}' make no transferred "
                "images; with all its attacks, 'evaluate standard' does"
            )
        surrogate = as_surrogate(options.surrogate, data, device)
        check_another(surrogate, target)
        contents |= surrogate.contents_as("surrogate")
    spread = None
    if crew is not None:
        spread = Spread(crew, loadable(config, target, data, given is not None))
    evaluation = Evaluation(settled, entries, target, surrogate, data, spread)
    experiment = Experiment(
        config=settled,
        contents=contents,
        result=EvaluateResult,
        measure=evaluation.measure,
        report=report,
    )
    return carry_out(experiment)


def chosen(config: Config) -> list[Entry]:
    """The attacks of the suite, or those of them that ``--attacks`` names.

    Raises:
        UsageError: the suite has none of that name.
    """
    options = config.options
    suite = load_component("advlab.evaluation.suites", config.component, "suite")
    entries = averaging(suite.entries(options), options.eot)
    return selected(entries, options.attacks, config.component, "--attacks")


@dataclass(frozen=True)
class Evaluation:
    """One evaluation: the suite's attacks, smallest ε first, each on the images that are still
    robust."""

    config: Config
    entries: Sequence[Entry]
    target: TargetModel
    surrogate: TargetModel | None
    data: ImageSet
    spread: Spread | None = None

    def measure(self, folder: Path) -> EvaluateResult:
        """Check the network, attack it, check the result, draw, and write what may be cited."""
        options: EvaluateOptions = self.config.options
        if self.spread is not None:
            self.spread.crew.compute_alike(options.threads)
        machine = usable_machine(self.target, self.data, prepare(options), options.precision)
        victim = self._victim(machine)
        images = self.data.test.select(
            torch.arange(min(options.limit or len(self.data.test), len(self.data.test)))
        )
        logger.info(
            f"{self.config.component} suite on {self.target.label}, "
            f"{counted(len(images), 'image')} of "
            f"{self.data.name}, gradients in {machine.precision} on {machine.device}"
        )
        clean = judge(victim, images.inputs(slice(None), "cpu"))
        correct = is_correct(clean, images.labels)
        eps = sorted({one for one in options.eps if one > 0})
        state = EvaluationState.restored(folder) if options.resume else None
        if state is None:
            state = EvaluationState.unattacked(images.inputs(slice(None)), clean, images.labels)
        surrogate = self._surrogate(state)
        stages, left_out = self._stages(victim, images, state, eps, surrogate is not None)
        if len(left_out) == len(self.entries):
            reasons = "; ".join(f"{label}: {reason}" for label, reason in left_out.items())
            raise UsageError(f"evaluate {self.config.component}: no attack can run: {reasons}")
        shards = self._shards(stages, machine, images, surrogate, folder)
        if shards is not None:  # the other processes begin while this one checks the network
            shards.begin(state.robust())
        failed = self._checked(victim, machine, images, correct)
        sizes = BatchSizes.of_network(victim, state.perturbed, options.batch_size)
        self._attack_all(victim, images, state, stages, sizes, surrogate, machine, folder, shards)
        for label, reason in left_out.items():
            logger.info(f"left out: {label}: {reason}")
        finite = finite_outputs(clean, judge(victim, state.perturbed))
        log_failed(finite)
        failed = _after(state, eps, len(images), self.entries) | failed | finite
        accuracy = int(correct.sum()) / len(images)
        result = verdict(
            self.config,
            self.target.record,
            self.data,
            images,
            state,
            accuracy,
            failed,
            left_out,
            machine,
        )
        draw(folder, result, eps)
        write_json(folder / "verdict.json", citation(result))
        return result

    def _victim(self, machine: Machine) -> Victim:
        options: EvaluateOptions = self.config.options
        if self.target.filtered and options.bpda:
            see_through(self.target.network)
        try:
            return Victim(self.target.network, machine, options.batch_size)
        except RuntimeError as error:  # torch copies only what it made itself
            raise UsageError(
                f"{self.target.where}: this network cannot be copied: {error}"
            ) from error

    def _checked(
        self, victim: Victim, machine: Machine, images: Images, correct: Tensor
    ) -> dict[str, str]:
        """The checks that fail before any attack, a sentence by name; each is printed."""
        options: EvaluateOptions = self.config.options
        probe = correct.nonzero().squeeze(1)[:_PROBE]
        probed = images.select(probe if len(probe) else torch.arange(min(_PROBE, len(images))))
        samples = gradient_samples(self.entries)
        radius = max(options.eps) or 0.1
        batch = images.inputs(slice(0, victim.judged_together), victim.device)
        failed = preflight(victim, probed, options.norm, radius, options.seed, samples, batch)
        failed |= weak_precision_of(self.target, self.data, machine, options.precision)
        if samples > 1 and not is_random(victim, probed.inputs(slice(None), victim.device)):
            logger.info(
                f"the network is not random: its gradients are the same in each of {samples} "
                "passes, and one would do"
            )
        failed |= chance_check(correct, len(self.data.classes))
        failed |= seen_in_training(self.target.metadata, self.data, options)
        log_failed(failed)
        return failed

    def _stages(
        self,
        victim: Victim,
        images: Images,
        state: EvaluationState,
        eps: Sequence[float],
        transfer: bool,
    ) -> tuple[list[Stage], dict[str, str]]:
        """Every attack at every ε that is still to run, the smallest ε first; and why attacks are
        left out, by name.

        Args:
            transfer: whether there is a network that images can be made on.
        """
        options: EvaluateOptions = self.config.options
        norm, stages = options.norm, []
        left_out: dict[str, str] = {}
        classes = _classes(victim, images) if eps else 0
        for radius in eps:
            for entry in self.entries:
                if not entry.knows(norm):
                    left_out[entry.label] = f"it has no {norm} form"
                elif entry.transfer and not transfer:
                    left_out[entry.label] = (
                        "no other finished training on this data set was found, networks of one's "
                        "own code left aside; --surrogate names one"
                    )
                elif classes < entry.classes:
                    left_out[entry.label] = f"it needs {entry.classes} classes"
                elif not state.done(entry.label, radius):
                    stages.append(Stage.of(entry, radius, options))
        return stages, left_out

    def _attack_all(
        self,
        victim: Victim,
        images: Images,
        state: EvaluationState,
        stages: Sequence[Stage],
        sizes: BatchSizes,
        surrogate: TargetModel | None,
        machine: Machine,
        folder: Path,
        shards: SpreadStages | None,
    ) -> None:
        """Run the attacks, and store what became of the images after each."""
        source = None if surrogate is None else Victim(surrogate.network, machine)
        for place, stage in enumerate(stages):
            transfer = stage.entry.transfer
            if transfer and surrogate is not None:
                state.surrogate = surrogate.record
            used = source if transfer else None
            elsewhere = None if shards is None else partial(shards.batches, place)
            _attack_one(stage, victim, used, images, state, sizes, elsewhere)
            state.store(folder)
            if shards is not None:
                shards.forget(place)

    def _shards(
        self,
        stages: Sequence[Stage],
        machine: Machine,
        images: Images,
        surrogate: TargetModel | None,
        folder: Path,
    ) -> SpreadStages | None:
        """The attacks as other processes carry them out; None where this one does."""
        if self.spread is None:
            return None
        options: EvaluateOptions = self.config.options
        contents = {"data": self.data.sha256(), **self.target.contents}
        if surrogate is not None:
            contents |= surrogate.contents_as("surrogate")
        job = Job(
            self.spread.mapping,
            contents,
            None if surrogate is None else surrogate.place,
            machine,
            torch.get_num_threads(),
            first=0,
            images=len(images),
            transparent=self.target.filtered and options.bpda,
        )
        shards = Shards(self.spread.crew.team, job, folder, options.resume)
        return SpreadStages(shards, stages, images.labels, options.batch_size)

    def _surrogate(self, state: EvaluationState) -> TargetModel | None:
        """The network that transferred images are made on; None where there is no other one.

        Where none is named it is the one that an interrupted run began with, else the newest other
        one that was trained on the same data, and is not made by the user's own code.
        """
        if self.surrogate is not None or not any(entry.transfer for entry in self.entries):
            return self.surrogate
        begun = state.surrogate.sha256 if state.surrogate else None
        trained = results.newest(
            Path(self.config.options.out),
            "train",
            TrainResult,
            lambda result: (
                result.data_sha256 == self.data.sha256()
                and result.checkpoint_sha256 != self.target.record.sha256
                and begun in (None, result.checkpoint_sha256)
                # no folder of results may choose what code is run
                and not names_code(result.model or "")
            ),
        )
        return None if trained is None else named_by(str(trained.folder), "--surrogate")


def _attack_one(
    stage: Stage,
    victim: Victim,
    source: Victim | None,
    images: Images,
    state: EvaluationState,
    sizes: BatchSizes,
    elsewhere: Callable[[Tensor], Batches] | None = None,
) -> None:
    """Run one attack, and note in the state what became of the images.

    Args:
        elsewhere: what attacks batches of the images at an index in other processes.
    """
    entry, eps, options = stage.entry, stage.eps, stage.options
    perturb = load_component("advlab.attacks", entry.attack, "attack").perturb

    def attack(group: Tensor) -> Point:
        tasks = Tasks(images, group, images.labels[group], targeted=False)
        size = sizes.of(entry, len(group))
        (point,) = sweep(
            perturb,
            victim,
            tasks,
            options.model_copy(update={"batch_size": size}),
            surrogate=source,
            elsewhere=None if elsewhere is None else elsewhere(group),
            name=entry.label,
        )
        return point

    index = state.robust()
    if state.broken_under(entry.after, eps) == 0:
        index = index[:0]
    total, broken, counts, seconds = 0, 0, GradientCount(), 0.0
    for group, point in attacked(
        index,
        state.nearest,
        images.labels,
        attack,
        nearest_first=entry.nearest_first,
    ):
        state.break_images(group[point.reached], point.perturbed[point.reached], entry.label, eps)
        total, broken = total + len(group), broken + int(point.reached.sum())
        counts, seconds = counts + point.gradients, seconds + point.seconds
    state.attacks.append(
        SuiteAttack(
            eps=eps,
            attack=entry.label,
            knowledge=entry.sight,
            attacked=total,
            broken=broken,
            robust_accuracy=state.robust_accuracy(),
            seconds=round(seconds, 3),
            settings=stage.settings,
            gradients=counts.total,
            missing_gradients=counts.missing,
            non_finite_gradients=counts.not_finite,
            zero_gradients=counts.zero,
        )
    )
    if total:
        robust = f"{percent(state.robust_accuracy())} robust"
        logger.info(
            f"ε {eps_text(eps)}, {entry.label}: {broken:,} of {total:,} broken, "
            f"{robust}, {seconds:.1f} s"
        )
    elif len(state.robust()):
        logger.info(
            f"ε {eps_text(eps)}, {entry.label}: not run, since {entry.after} broke no image"
        )


def _classes(victim: Victim, images: Images) -> int:
    """How many classes the network tells apart."""
    return int(victim.logits(images.inputs(slice(0, 1), victim.device)).shape[1])


def _after(
    state: EvaluationState, eps: Sequence[float], total: int, entries: Sequence[Entry]
) -> dict[str, str]:
    """The checks of the result that fail at any ε."""
    kinds = {entry.label: (entry.minimum_norm, entry.smoothed) for entry in entries}
    failed: dict[str, str] = {}
    for radius in eps:
        rows = [row for row in state.attacks if row.eps == radius]
        outcomes = [
            Outcome(
                row.attack,
                row.knowledge,
                row.robust_before(total),
                row.broken,
                *kinds[row.attack],
            )
            for row in rows
        ]
        failed.update(postflight(outcomes, total))
        robust = int((state.broken_at > radius).sum())
        followed = [row for row in rows if row.knowledge == "white"]
        failed.update(vanished_gradients(_gradients(followed), robust, total))
    return failed | gradient_faults(_gradients(state.attacks), total)


def _gradients(rows: Sequence[SuiteAttack]) -> GradientCount:
    """The gradients of these attacks together."""
    counts = (
        GradientCount(
            row.gradients, row.missing_gradients, row.non_finite_gradients, row.zero_gradients
        )
        for row in rows
    )
    return sum(counts, GradientCount())
