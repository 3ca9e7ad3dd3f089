"""``advlab defend``: train a robust network and compare it with the undefended one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from advlab.components import load_component
from advlab.config.fields import image_models
from advlab.config.model_modules import model_module
from advlab.config.options.run import AdversarialOptions, TrainOptions
from advlab.config.radii import eps_text, norm_name
from advlab.config.resolve import Config, Plan
from advlab.data import load_images as datasets
from advlab.data.image_set import Images, ImageSet, take
from advlab.evaluation.checks import log_failed
from advlab.experiments.defend import paired, robustness
from advlab.experiments.defend.certificates import certificates
from advlab.experiments.defend.figures import draw
from advlab.experiments.defend.robustness import Answers
from advlab.experiments.defend.seeds import conclude
from advlab.experiments.defend.suite_verdict import check_suite, suite_verdict
from advlab.experiments.defend.verification import verification
from advlab.experiments.fitting import Fitted, epochs_of, fit_network, trained
from advlab.experiments.grid import run_plan
from advlab.experiments.paired import p_text
from advlab.experiments.starting import check_weights, starting_contents, starting_network
from advlab.experiments.train import run as training
from advlab.experiments.trained_classifier import (
    TrainedClassifier,
    load_classifier,
    read_classifier,
)
from advlab.experiments.trained_on import check_weights_unseen
from advlab.logs import indented, logger
from advlab.metrics.classification import (
    majority_accuracy,
    majority_warning,
    too_few_for_majority,
)
from advlab.metrics.intervals import with_interval
from advlab.networks import checkpoint
from advlab.networks.classifier import architecture_of, assemble, count_parameters
from advlab.networks.filters import in_front, see_through
from advlab.networks.layout import place
from advlab.perturbation.geometry import check_radius
from advlab.perturbation.victim import Victim
from advlab.results.attack import ball
from advlab.results.defend import Comparison, DefendResult
from advlab.results.smoothing import votes
from advlab.robust_training.validation import RobustnessWatch
from advlab.runs.folder import automatic_name
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.machine import Machine, derive, prepare
from advlab.runs.processes import leave_rest_to_first
from advlab.runs.results import Finished
from advlab.runs.table import counted, percent, table
from advlab.training.distributed import check_batches, start_alike
from advlab.training.objective import Objective, Watch

_GAP = 0.25  # between accuracy under FGSM and PGD: more than any honest defence shows


def main(plan: Plan) -> int:
    """Run every cell of the plan; exit status 0 where all of them finished."""
    return run_plan(
        plan,
        run,
        conclude,
        paired.paired,
        check=lambda cell: check_weights(cell.options.model, cell.options),
    )


def run(config: Config) -> Finished[DefendResult]:
    """Defend one network, unless the run is there already."""
    check_radius(
        config.options.norm, config.options.eps, getattr(config.options, "step_size", None)
    )
    check_suite(config.options)
    data = datasets.load_to_train(config.options)
    config = config.changed(dataset=data.name)
    options: TrainOptions = config.options
    images = take(data.train, options.train_size, options.seed)
    without = undefended(options)
    name = automatic_name(config)
    settled = config.changed(epochs=epochs_of(options, len(images)))
    check_batches(options.batch_size, len(images))
    check_weights_unseen(options.weights, data, options)
    logger.info(data.introduction())
    experiment = Experiment(
        config=settled,
        contents={"data": data.sha256(), **starting_contents(config.options.model, options)},
        result=DefendResult,
        measure=lambda folder: _measure(settled, without, images, data, folder),
        report=_report,
        name=name,
    )
    return carry_out(experiment)


def undefended(options: Any) -> Config:
    """``advlab train`` for the same network without the defence: with whatever was changed from its
    default, of the network and of its training."""
    fields = type(options).model_fields
    changed = {
        key: getattr(options, key)
        for key in model_module(options.model).Options.model_fields
        if getattr(options, key) != fields[key].default
    }
    return training.configuration(
        options.model, **{**changed, "seeds": 1, "name": None, "overwrite": False}
    )


@dataclass(frozen=True)
class _Defended:
    """What a defence made, before it is compared.

    Attributes:
        fitted: the training; None where nothing was trained.
        filters: in front of the network, by name and strength.
        parameters: trainable numbers of the network.
    """

    fitted: Fitted | None
    filters: dict[str, int]
    parameters: int


def _measure(
    config: Config, without: Config, images: Images, data: ImageSet, folder: Path
) -> DefendResult:
    options = config.options
    machine = prepare(options)
    module = load_component("advlab.defenses", config.component, "defence")
    _check_network(module, options, data)
    logger.info("the undefended network first")
    with indented():
        undefended_run = training.run(without)
    logger.info(f"now the network defended by {config.component}")
    fitted = None
    if hasattr(module, "objective"):
        fitted = _trained(module, options, images, data, machine, folder)
    leave_rest_to_first()
    plain = load_classifier(str(undefended_run.folder), "--model")
    if fitted is not None:
        defence = _Defended(fitted, {}, count_parameters(fitted.network))
    else:
        defence = _filtered(module, options, plain, folder)
    defended = read_classifier(str(folder), "--model")
    attacked = data.test.select(torch.arange(min(options.limit or len(data.test), len(data.test))))
    before, after = _answers(options, plain, defended, attacked, machine)
    if hasattr(module, "distilled"):
        for network, answers in ((plain.network, before), (defended.network, after)):
            answers += robustness.attacked_naively(
                network, attacked, options.norm, options.eps, options.seed, machine
            )
    accuracies = Comparison(
        undefended={one.situation: one.accuracy(attacked.labels) for one in before},
        defended={one.situation: one.accuracy(attacked.labels) for one in after},
    )
    best = {} if defence.fitted is None else defence.fitted.progress.best
    certified = None
    if config.component == "smooth":
        exact = Machine(machine.device, "fp32") if options.precision == "auto" else machine
        certified = certificates(options, options.seed, plain, defended, data, exact, folder)
    verified = None
    if config.component == "ibp":
        verified = verification(options, plain, defended, attacked, data, machine, folder)
    result = DefendResult(
        command="defend",
        component=config.component,
        dataset=data.name,
        origin=data.origin,
        data_sha256=data.sha256(),
        model=options.model,
        parameters=defence.parameters,
        seed=options.seed,
        seconds=0.0 if defence.fitted is None else round(defence.fitted.progress.seconds, 4),
        machine=machine.describe(),
        norm=options.norm,
        eps=[options.eps],
        clean_accuracy=accuracies.defended["clean"],
        robust_accuracy=min(
            value for name, value in accuracies.defended.items() if name != "clean"
        ),
        accuracies=accuracies,
        images=len(attacked),
        classes=len(data.classes),
        undefended=plain.describe(),
        checkpoint=checkpoint.FILE,
        checkpoint_sha256=defended.sha256,
        training=None if defence.fitted is None else defence.fitted.figures,
        val_fgsm_accuracy=best.get("val_fgsm_accuracy"),
        val_robust_accuracy=best.get("val_robust_accuracy"),
        stopped=None if defence.fitted is None else defence.fitted.progress.stopped or None,
        filters=defence.filters,
        certified=certified,
        verified=verified,
        val_verified_accuracy=best.get("val_verified_accuracy"),
        val_mean_radius=best.get("val_mean_radius"),
        verdict=suite_verdict(options, undefended_run.folder, folder),
        paired=paired.compared(before, after, attacked.labels),
        majority_accuracy=majority_accuracy(attacked.labels),
    )
    paired.store(folder, before, after, attacked.labels)
    draw(folder, result, before, after, attacked, data, options)
    return result


def _check_network(module: ModuleType, options: Any, data: ImageSet) -> None:
    """Let the defence check the network that it is to train, where advlab builds it.

    Raises:
        UsageError: the defence cannot train it.
    """
    if hasattr(module, "check_network") and options.model in image_models():
        architecture = architecture_of(options.model, options)
        channels = data.shape[0]
        with torch.device("meta"):
            network = assemble(
                options.model,
                architecture,
                data.shape,
                len(data.classes),
                [0.0] * channels,
                [1.0] * channels,
            )
        module.check_network(network)


def _trained(
    module: ModuleType,
    options: Any,
    images: Images,
    data: ImageSet,
    machine: Machine,
    folder: Path,
) -> Fitted:
    """Fit the network with the defence's objective."""
    seed: int = options.seed
    objective = module.objective(options, options.label_smoothing, machine)
    started = time.perf_counter()
    if hasattr(module, "distilled"):
        teacher = _teacher(objective, options, images, data, machine)
        objective = module.distilled(options, teacher)
    before = time.perf_counter() - started
    watch: Watch | None = None
    if isinstance(options, AdversarialOptions) and options.check_images:
        watch = RobustnessWatch(data.val, options, seed, machine)
    elif hasattr(module, "watch"):
        watch = module.watch(options, data.val, machine)
    fitted = fit_network(
        options.model, options, images, data, machine, folder, objective=objective, watch=watch
    )
    fitted.progress.seconds += before  # the teacher is part of the defence
    return fitted


def _teacher(
    objective: Objective, options: Any, images: Images, data: ImageSet, machine: Machine
) -> torch.nn.Module:
    """The first of two networks, which the second one learns from; an interrupted run trains it
    again."""
    logger.info("the teacher first")
    settled = options.model_copy(update={"seed": derive(options.seed, 51), "resume": False})
    network = starting_network(options.model, settled, data.shape, data.classes, images)
    place(network, machine.device)
    teacher = trained(network, images, data.val, settled, machine, objective)
    start_alike(teacher)  # the first of several processes chose its best epoch
    logger.info("now the network that learns from it")
    return teacher


def _filtered(
    module: ModuleType, options: Any, plain: TrainedClassifier, folder: Path
) -> _Defended:
    """Write the undefended network again, with the filter in front; there is nothing to train."""
    filters = module.in_front(options)
    network = torch.nn.Sequential(*in_front(filters), *plain.network.children())
    checkpoint.save(
        folder / checkpoint.FILE, network, plain.metadata.model_copy(update={"filters": filters})
    )
    return _Defended(None, filters, count_parameters(network))


def _answers(
    options: Any,
    plain: TrainedClassifier,
    defended: TrainedClassifier,
    images: Images,
    machine: Machine,
) -> tuple[list[Answers], list[Answers]]:
    """Both networks, clean and under attack, the undefended first.

    A filter is attacked blindly, by images made on the network behind it, and by an attack that
    passes it backwards (BPDA).
    """
    victim = Victim(plain.network, machine)
    before = [
        robustness.clean(victim, images),
        *robustness.attacked(victim, images, options.norm, options.eps, options.seed),
    ]
    if not defended.metadata.filters:
        target = Victim(defended.network, machine)
        return before, [
            robustness.clean(target, images),
            *robustness.attacked(target, images, options.norm, options.eps, options.seed),
        ]
    naive = Victim(defended.network, machine)
    see_through(defended.network)
    knowing = Victim(defended.network, machine)
    arguments = (images, options.norm, options.eps, options.seed)
    after = [
        robustness.clean(naive, images),
        *robustness.attacked(naive, *arguments, suffix=",\ntrue gradient"),
        *robustness.attacked(naive, *arguments, surrogate=victim, suffix=",\nblind"),
        *robustness.attacked(knowing, *arguments, suffix=",\nBPDA"),
    ]
    return before, after


def _report(result: DefendResult) -> None:
    both = {
        "undefended": dict(result.accuracies.undefended),
        "defended": dict(result.accuracies.defended),
    }
    situations = list(dict.fromkeys([*both["undefended"], *both["defended"]]))
    if result.paired:
        situations.append(paired.STRONGEST)
        for accuracies in both.values():
            accuracies[paired.STRONGEST] = min(
                value for name, value in accuracies.items() if name != "clean"
            )
    rows = [
        [
            name.replace("\n", " "),
            *(
                percent(accuracies[name]) if name in accuracies else "–"
                for accuracies in both.values()
            ),
            *(p_text(result.paired.get(name)) if result.paired else []),
        ]
        for name in situations
    ]
    if result.verdict is not None:
        bound = f"≤ {percent(result.verdict.robust_accuracy)}"
        rows.append([result.verdict.words(), "–", bound, *(["–"] * 3 if result.paired else [])])
    tests = ["only undefended", "only defended", "p (McNemar)"] if result.paired else []
    place = f"{result.model} on {result.dataset}, {ball(result.eps[-1], result.norm)}"
    if result.certified is not None:
        place += ", without noise"
    logger.info(table([place, *both, *tests], rows))
    naive = "PGD" + robustness.NAIVE in both["defended"]  # of no training on perturbed images
    if both["defended"].get("FGSM", 0) - both["defended"].get("PGD", 0) > _GAP and not naive:
        logger.info(
            "WARNING: it is robust to FGSM and not to PGD: it has learnt to withstand single "
            "steps (catastrophic overfitting), not attacks"
        )
    warning = majority_warning(
        "the defended network",
        result.clean_accuracy,
        result.majority_accuracy,
        result.images,
        "images",
    )
    if warning:
        assert result.majority_accuracy is not None
        sure = not too_few_for_majority(result.majority_accuracy, result.images)
        withstands = sure and result.robust_accuracy > 0
        logger.info(
            f"WARNING: {warning}"
            + ("; it withstands attacks since it has learnt nothing" * withstands)
        )
    if result.stopped:
        logger.info(f"stopped early: {result.stopped}")
    if result.certified is not None:
        rows = [
            [
                f"{point.radius:.2f}",
                *(
                    with_interval(accuracy, result.certified.images)
                    for accuracy in (point.undefended, point.defended)
                ),
            ]
            for point in result.certified.points
        ]
        radius = result.certified.mean_radius
        if radius is not None:
            rows.append(["average", f"{radius.undefended:.3f}", f"{radius.defended:.3f}"])
        logger.info(table(["certified L2 radius", "undefended", "defended"], rows))
        logger.info(
            f"{counted(result.certified.images, 'image')}, "
            f"{votes(result.certified.samples, result.certified.alpha)}; abstained: undefended "
            f"{result.certified.abstained.undefended:,}, defended "
            f"{result.certified.abstained.defended:,}"
        )
        log_failed(result.certified.checks_failed)
    if result.verified is not None:
        rows = [
            [
                eps_text(point.eps),
                *map(percent, (point.undefended, point.undefended_pgd)),
                *map(percent, (point.defended, point.defended_pgd)),
            ]
            for point in result.verified.points
        ]
        header = [f"ε ({norm_name('linf')})"]
        for who in both:
            header += [f"{who}, verified", f"{who}, PGD"]
        logger.info(table(header, rows))
