"""The verdict of an evaluation: sentence, figures and ``verdict.json``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from advlab.config.options.run import EvaluateOptions
from advlab.config.radii import eps_text, norm_name
from advlab.config.references import dataset_title
from advlab.config.resolve import Config
from advlab.data.image_set import Images, ImageSet
from advlab.experiments.evaluate.state import EvaluationState
from advlab.experiments.titles import title_of
from advlab.logs import logger
from advlab.metrics.intervals import interval, with_interval
from advlab.plots.robustness import accuracy_against_eps
from advlab.plots.style import save
from advlab.plots.verdict import fallen_by_attack
from advlab.results.evaluate import EvaluateResult, RobustPoint, SuiteAttack
from advlab.runs.machine import Machine
from advlab.runs.results import TIMING, NetworkRecord
from advlab.runs.table import counted, percent, table


def verdict(
    config: Config,
    network: NetworkRecord,
    data: ImageSet,
    images: Images,
    state: EvaluationState,
    clean_accuracy: float,
    failed: dict[str, str],
    left_out: dict[str, str],
    machine: Machine,
) -> EvaluateResult:
    """The result of an evaluation.

    Args:
        failed: the checks that failed, and why.
        left_out: the attacks that were left out, and why.
    """
    options: EvaluateOptions = config.options
    eps = sorted(set(options.eps))
    points = [
        RobustPoint(eps=radius, robust_accuracy=int((state.broken_at > radius).sum()) / len(images))
        for radius in eps
    ]
    return EvaluateResult(
        command="evaluate",
        component=config.component,
        variant=getattr(options, "variant", None),
        dataset=data.name,
        origin=data.origin,
        data_sha256=data.sha256(),
        model=network.model,
        seed=options.seed,
        seconds=round(sum(row.seconds for row in state.attacks), 3),
        machine=machine.describe(),
        norm=options.norm,
        eps=eps,
        images=len(images),
        classes=len(data.classes),
        clean_accuracy=clean_accuracy,
        robust_accuracy=points[-1].robust_accuracy,
        points=points,
        checks_failed=failed,
        believable=not failed,
        attacks=state.attacks,
        left_out=left_out,
        bpda=options.bpda,
        network=network,
        surrogate=state.surrogate,
    )


def citation(result: EvaluateResult) -> dict[str, JsonValue]:
    """What another paper needs to cite and repeat the figure: no paths, no timings."""
    left_away = {
        *TIMING,
        "component",
        "kind",
        "command",
        "machine",
        "model",
        "parameters",
        "origin",
    }
    values = result.model_dump(mode="json", exclude=left_away)
    for network in (values["network"], values["surrogate"] or {}):
        network.pop("path", None)
    for row in values["attacks"]:
        row.pop("seconds")
    machine = result.machine
    return {
        "suite": result.component,
        "sentence": sentence(result),
        **values,
        "versions": {"advlab": machine.advlab, "python": machine.python, "torch": machine.torch},
        "precision": machine.precision,
    }


def sentence(result: EvaluateResult) -> str:
    """The verdict in a line; a failed check comes first."""
    doubt = "" if result.believable else f"NOT TO BE BELIEVED ({', '.join(result.checks_failed)}): "
    last = result.points[-1]
    ran = list(dict.fromkeys(row.attack for row in result.attacks if row.attacked))
    attacked = f"the worst of {', '.join(ran)}" if ran else "no image was left to attack"
    look = ", a first look and not to be cited" if result.component == "quick" else ""
    return (
        f"{doubt}robust accuracy at most "
        f"{with_interval(last.robust_accuracy, result.images)} at ε = "
        f"{eps_text(last.eps)} ({norm_name(result.norm)}) on "
        f"{counted(result.images, 'image')} of {result.dataset}, clean "
        f"{with_interval(result.clean_accuracy, result.images)}, with 95 % intervals; "
        f"{_suite(result)}{look}: {attacked}"
        f"{_averages(result)}{_nearest(result)}{_budget(result)}"
    )


# What the standard version of AutoAttack runs (arXiv:2003.01690): by attack, option and value.
_AUTOATTACK = {
    "APGD-CE": ("steps", 100),
    "APGD-T": ("steps", 100),
    "FAB": ("steps", 100),
    "Square": ("queries", 5000),
}
# What its version for random networks runs, each gradient an average over 20 passes.
_RAND = {"APGD-CE": ("steps", 100), "APGD-DLR": ("steps", 100)}
# What its larger version runs.
_PLUS = {**_AUTOATTACK, "APGD-DLR": ("steps", 100), "FAB-nearest": ("steps", 100)}
_RAND_SAMPLES = 20


def _budget(result: EvaluateResult) -> str:
    """The attacks of AutoAttack that were run with less than its budget, or not at all.

    Where no image is robust, no budget could break more.
    """
    if result.robust_accuracy == 0:
        return ""
    settings = {row.attack: row.settings for row in result.attacks}
    samples = _samples(result)
    official = _AUTOATTACK if samples == 1 else _RAND
    if result.variant == "plus" and samples == 1:
        official = _PLUS
    missing = [name for name in official if name not in settings]
    less = [
        name
        for name, (option, wanted) in official.items()
        if name in settings
        and (int(str(settings[name].get(option, 0))) < wanted or 1 < samples < _RAND_SAMPLES)
    ]
    differences = []
    if missing:
        differences.append(f"AutoAttack also runs {', '.join(missing)}")
    if less:
        differences.append(f"AutoAttack has a larger budget for {', '.join(less)}")
    fewer = [
        row.attack
        for row in result.at_largest_eps()
        if row.attack in official and row.on_fewer(result.images)
    ]
    if fewer:
        differences.append(f"AutoAttack runs {', '.join(fewer)} on every robust image")
    return "".join(f"; {difference}" for difference in differences)


def _nearest(result: EvaluateResult) -> str:
    """The attacks that were run on the robust images nearest to breaking alone, at the largest
    ε."""
    names = ", ".join(
        f"{row.attack} ({_attacked(row, result.images)})"
        for row in result.at_largest_eps()
        if row.attacked and row.on_fewer(result.images)
    )
    return f"; on the images nearest to breaking: {names}" if names else ""


def _suite(result: EvaluateResult) -> str:
    """The suite in words, with the version where it is not the standard one."""
    version = "" if result.variant in (None, "standard") else f" ({result.variant} version)"
    return f"{result.component} suite{version}"


def _samples(result: EvaluateResult) -> int:
    """How many passes each gradient of an attack was the average of."""
    return max((int(str(row.settings.get("eot", 1))) for row in result.attacks), default=1)


def _averages(result: EvaluateResult) -> str:
    """That gradients are averages, where they are."""
    samples = _samples(result)
    return f", gradients averaged over {samples} passes" if samples > 1 else ""


def draw(folder: Path, result: EvaluateResult, eps: Sequence[float]) -> None:
    """Robust accuracy after each attack at the largest ε, and at all of them where there are
    several."""
    suite = _suite(result)
    caption = (
        f"{result.origin} · {counted(result.images, 'test image')} · seed {result.seed} · {suite}"
    )
    if len(eps) > 1:
        caption += " · broken at ε or less"
    doubt = ""
    if not result.believable:
        doubt = "NOT TO BE BELIEVED: "
        caption += f" · CHECKS FAILED: {', '.join(result.checks_failed)}"
    what = f"{title_of(result.network)} on {dataset_title(result.dataset)}"
    ran = list(dict.fromkeys(row.attack for row in result.attacks))
    if ran and len(eps) > 1:
        points = [(point.eps, point.robust_accuracy) for point in result.points]
        if points[0][0] > 0:
            points.insert(0, (0.0, result.clean_accuracy))
        title = f"{doubt}Robust accuracy of {what} under the {suite}"
        line = "after all attacks"
        drawn = accuracy_against_eps(
            {line: points},
            result.classes,
            result.norm,
            title,
            caption,
            within=True,
            intervals={line: [interval(accuracy, result.images) for _, accuracy in points]},
        )
        save(drawn, folder / "curve.png")
    if ran:
        bars = [
            (_bar_name(row, result.images), row.robust_accuracy, row.knowledge)
            for row in result.attacks
            if row.eps == eps[-1] and not row.left_alone(result.images)
        ]
        smaller = [row.robust_accuracy for row in result.attacks if row.eps != eps[-1]]
        before = (f"after ε ≤ {eps_text(eps[-2])}", smaller[-1]) if smaller else None
        radius = f"ε = {eps_text(eps[-1])} ({norm_name(result.norm)})"
        title = f"{doubt}Robust accuracy of {what} at {radius}"
        fractions = [result.clean_accuracy, *smaller[-1:], *(fraction for _, fraction, _ in bars)]
        intervals = [interval(fraction, result.images) for fraction in fractions]
        drawn = fallen_by_attack(result.clean_accuracy, bars, title, caption, before, intervals)
        save(drawn, folder / "verdict.png")


def _bar_name(row: SuiteAttack, images: int) -> str:
    """An attack's name, with the images that it was run on where these were not all robust ones."""
    return f"{row.attack} on {_attacked(row, images)}" if row.on_fewer(images) else row.attack


def _attacked(row: SuiteAttack, images: int) -> str:
    """How many images an attack was run on, and of how many that were robust where not all."""
    of = f" of {row.robust_before(images):,}" if row.on_fewer(images) else ""
    return f"{row.attacked:,}{of}"


def report(result: EvaluateResult) -> None:
    """Print the verdict, and what it rests on."""
    logger.info(f"VERDICT: {sentence(result)}")
    for name, why in result.checks_failed.items():
        logger.info(f"  {name}: {why}")
    rows = [
        [
            eps_text(row.eps),
            row.attack,
            _attacked(row, result.images),
            f"{row.broken:,}" if row.attacked else "–",
            percent(row.robust_accuracy),
            f"{row.seconds:.1f}",
        ]
        for row in result.attacks
    ]
    robust_accuracy = with_interval(result.robust_accuracy, result.images)
    total = [f"{result.images:,}", "", robust_accuracy, f"{result.seconds:.1f}"]
    rows.append(["", "all images", *total])
    robust = "not broken at ε or less" if len(result.points) > 1 else "robust accuracy"
    logger.info(
        table(
            [f"ε ({norm_name(result.norm)})", "attack", "attacked", "broken", robust, "seconds"],
            rows,
        )
    )
