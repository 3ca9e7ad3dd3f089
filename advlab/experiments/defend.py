"""``advlab defend METHOD``: train with a defence, find or train the same network without, and put both to the same attacks."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from advlab import names
from advlab.config.base import Options
from advlab.config.commands import AdversarialOptions, DefendOptions, TrainOptions
from advlab.config.radii import eps_text
from advlab.config.resolve import Config, Plan
from advlab.datasets import _load as datasets
from advlab.datasets._set import Images, ImageSet, take
from advlab.defenses._watch import RobustnessWatch
from advlab.experiments import _judge, train
from advlab.experiments._answer import conclude
from advlab.experiments._certificates import certificates
from advlab.experiments._defence_pictures import draw
from advlab.experiments._fitting import epochs_of, fit_network
from advlab.experiments._grid import run_plan
from advlab.experiments._judge import Answers
from advlab.experiments._victim import Subject, load_subject
from advlab.models._filters import in_front, see_through
from advlab.models._network import count_parameters
from advlab.perturbation.geometry import check_radius
from advlab.perturbation.victim import Victim
from advlab.runs.folder import RunFolder, automatic_name
from advlab.runs.machine import Machine, prepare
from advlab.runs.table import percent, table
from advlab.training import checkpoint

_GAP = 0.25  # between accuracy under FGSM and PGD: more than any honest defence shows


def main(plan: Plan) -> int:
    """Run every cell of the plan; exit status 0 where all of them finished."""
    return run_plan(plan, run, headline="robust_accuracy", conclude=conclude)


def run(config: Config, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Defend one network, unless the run is there already.

    Returns:
        The run's metrics, with its folder under ``folder``.
    """
    options = config.options
    assert isinstance(options, DefendOptions)
    check_radius(options.norm, options.eps, getattr(options, "step_size", None))
    data = datasets.load(config.options)
    config = config.changed(dataset=data.name)
    assert isinstance(config.options, TrainOptions)
    images = data.train if config.options.train_size is None else take(data.train, config.options.train_size, config.options.seed)
    without = Config("train", options.model, undefended_options(config.options))
    name = automatic_name(config)
    config = config.changed(epochs=epochs_of(config.options, len(images)))
    folder = RunFolder(config, name)
    folder.check_unchanged()
    say(data.introduction())
    if folder.finished and not config.options.overwrite:
        folder.tidy()
        return _finished(folder, say)
    machine = prepare(config.options)
    with folder.claim():
        if folder.finished:  # by another process, while this one was getting here
            return _finished(folder, say)
        metrics = _defend(config, without, images, data, machine, folder, say)
    return {**metrics, "folder": str(folder.path)}


def undefended_options(options: Any) -> Options:
    """The options of ``advlab train`` for the same network without the defence: whatever was changed from its default."""
    kind: type[Options] = names.load("advlab.models", options.model, "model").Options
    fields = type(options).model_fields
    changed = {key: getattr(options, key) for key in kind.model_fields if getattr(options, key) != fields[key].default}
    return kind(**{**changed, "seeds": 1, "name": None, "overwrite": False})


def _finished(folder: RunFolder, say: Callable[[str], None]) -> dict[str, Any]:
    metrics = folder.metrics()
    say(f"{folder.path} is finished already (--overwrite runs it again)")
    _report(metrics, folder, say)
    return {**metrics, "folder": str(folder.path)}


def _defend(
    config: Config, without: Config, images: Images, data: ImageSet, machine: Machine, folder: RunFolder, say: Callable[[str], None]
) -> dict[str, Any]:
    started = time.perf_counter()
    options = config.options
    module = names.load("advlab.defenses", config.component, "defence")
    say("the undefended network first")
    plain = load_subject(train.run(without, lambda lines: say(textwrap.indent(lines, "  ")))["folder"], "--model")
    say(f"now with {config.component}")
    if hasattr(module, "objective"):
        figures = _trained(module, options, images, data, machine, folder, say)
    else:
        figures = _filtered(module, options, plain, data, machine, folder)
    defended = load_subject(str(folder.path), "--model")
    judged = data.test.select(torch.arange(min(options.limit or len(data.test), len(data.test))))
    before, after = _answers(options, plain, defended, judged, machine)
    shares = {
        name: {one.situation: one.accuracy(judged.labels) for one in answers}
        for name, answers in (("undefended", before), ("defended", after))
    }
    metrics = {
        "command": "defend",
        "defence": config.component,
        **figures,
        "norm": options.norm,
        "eps": options.eps,
        "clean_accuracy": shares["defended"]["clean"],
        "robust_accuracy": min(share for name, share in shares["defended"].items() if name != "clean"),
        "accuracies": shares,
        "judged_images": len(judged),
        "classes": len(data.classes),
        "undefended": plain.describe(),
    }
    if config.component == "smooth":
        metrics["certified"] = certificates(options, options.seed, plain, defended, data, machine, folder.path)
    metrics["total_seconds"] = round(time.perf_counter() - started, 4)
    draw(folder.path, metrics, before, after, judged, data, options)
    folder.finish(metrics)
    _report(metrics, folder, say)
    return metrics


def _trained(
    module: ModuleType, options: Any, images: Images, data: ImageSet, machine: Machine, folder: RunFolder, say: Callable[[str], None]
) -> dict[str, Any]:
    """Fit the network with the defence's objective; what a training says of itself."""
    seed: int = options.seed
    objective = module.objective(options, options.label_smoothing, machine)
    watch = None
    if isinstance(options, AdversarialOptions) and options.check_images:
        watch = RobustnessWatch(data.val, options, seed, machine, say)
    fitted = fit_network(options.model, options, images, data, machine, folder.path, say, objective=objective, watch=watch)
    robust = {key: share for key, share in fitted.progress.best.items() if key in ("val_fgsm_accuracy", "val_robust_accuracy")}
    return {**fitted.figures, **robust, "stopped": fitted.progress.stopped or None}


def _filtered(module: ModuleType, options: Any, plain: Subject, data: ImageSet, machine: Machine, folder: RunFolder) -> dict[str, Any]:
    """Write the undefended network again, with the filter in front; there is nothing to train."""
    filters = module.in_front(options)
    network = torch.nn.Sequential(*in_front(filters), *plain.network.children())
    file = folder.path / checkpoint.FILE
    checkpoint.save(file, network, plain.card.model_copy(update={"filters": filters}))
    return {
        "model": plain.card.model,
        "filters": filters,
        "dataset": data.name,
        "origin": data.origin,
        "parameters": count_parameters(network),
        "seed": options.seed,
        "data_sha256": data.sha256(),
        "checkpoint": checkpoint.FILE,
        "checkpoint_sha256": checkpoint.sha256(file),
        "seconds": 0.0,
        "machine": machine.describe(),
    }


def _answers(options: Any, plain: Subject, defended: Subject, images: Images, machine: Machine) -> tuple[list[Answers], list[Answers]]:
    """Both networks, clean and under attack, the undefended first.

    A filter is attacked blindly, by images made on the network behind it, and by an attack that passes it backwards (BPDA).
    """
    victim = Victim(plain.network, machine)
    before = [_judge.clean(victim, images), *_judge.attacked(victim, images, options.norm, options.eps, options.seed)]
    if not defended.card.filters:
        target = Victim(defended.network, machine)
        return before, [_judge.clean(target, images), *_judge.attacked(target, images, options.norm, options.eps, options.seed)]
    naive = Victim(defended.network, machine)
    see_through(defended.network)
    knowing = Victim(defended.network, machine)
    given = (images, options.norm, options.eps, options.seed)
    after = [
        _judge.clean(naive, images),
        *_judge.attacked(naive, *given, suffix=",\ntrue gradient"),
        *_judge.attacked(naive, *given, surrogate=victim, suffix=",\nblind"),
        *_judge.attacked(knowing, *given, suffix=",\nBPDA"),
    ]
    return before, after


def _report(metrics: dict[str, Any], folder: RunFolder, say: Callable[[str], None]) -> None:
    shares = metrics["accuracies"]
    situations = list(dict.fromkeys([*shares["undefended"], *shares["defended"]]))
    rows = [
        [name.replace("\n", " "), *(percent(shares[who][name]) if name in shares[who] else "–" for who in shares)] for name in situations
    ]
    say(table([f"{metrics['model']} on {metrics['dataset']}, ε = {eps_text(metrics['eps'])} ({metrics['norm']})", *shares], rows))
    if shares["defended"].get("FGSM", 0) - shares["defended"].get("PGD", 0) > _GAP:
        say("WARNING: it withstands FGSM and not PGD: it has learnt to withstand single steps (catastrophic overfitting), not attacks")
    if metrics.get("stopped"):
        say(f"stopped early: {metrics['stopped']}")
    if "certified" in metrics:
        points = metrics["certified"]["points"]
        radii = [radius for radius, _ in points["defended"]]
        rows = [[f"{radius:.2f}", *(percent(points[who][row][1]) for who in points)] for row, radius in enumerate(radii)]
        say(table(["right, certified to an L2 radius of", *points], rows))
    pictures = ", ".join(sorted(path.name for path in folder.path.glob("*.png")))
    say(f"in {folder.path}: {checkpoint.FILE}, metrics.json, config.yaml, {pictures}")
