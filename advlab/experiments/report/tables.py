"""Everything but robustness: a table for each kind of run, with its headline figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from advlab.components import component_names, display_name
from advlab.errors import AdvlabError
from advlab.experiments.report.board import RobustnessResult
from advlab.experiments.report.gather import Run
from advlab.experiments.report.seeds import Repeated, repeated
from advlab.experiments.titles import title_of
from advlab.results.attack import TextAttackResult
from advlab.results.comparison import ComparisonResult
from advlab.results.defend import DefendResult
from advlab.results.evaluate import CertificationResult
from advlab.results.gan import GanTrainResult
from advlab.results.memorize import MemorizeResult
from advlab.results.poison import TextPoisonResult
from advlab.results.scratch import ScratchCheckResult
from advlab.runs.results import Result
from advlab.runs.table import counted, percent


@dataclass(frozen=True)
class Column:
    """A figure of a kind of run.

    Attributes:
        words: the head of the column.
        value: the figure of a result; None where it has none.
        fraction: whether it lies in [0, 1] and is shown in percent.
        optional: whether the column is left out where no run has the figure.
    """

    words: str
    value: Callable[[Any], float | None]
    fraction: bool = True
    optional: bool = False


@dataclass(frozen=True)
class Cell:
    """A figure in a table: its text, and the number to sort by; None where there is none."""

    text: str
    value: float | None


@dataclass(frozen=True)
class Row:
    """One setting.

    Attributes:
        dataset: its data set.
        network: its network, a dash where it is about none.
        cells: the figures, or the summary.
        conditions: what they hold for.
        seeds: the seeds.
        warning: what failed, in capitals; empty where nothing did.
        reasons: why, a sentence each.
        date: when the newest run finished.
        runs: the runs that the row is of.
        copies: further runs with the same result.
    """

    dataset: str
    network: str
    cells: Sequence[Cell]
    conditions: str
    seeds: Sequence[int]
    warning: str
    reasons: Sequence[str]
    date: str
    runs: Sequence[Run]
    copies: Sequence[Run]


@dataclass(frozen=True)
class Kind:
    """A table.

    Attributes:
        title: its heading.
        note: what its figures hold for.
        columns: the figures, the headline first.
        order: what its rows are sorted by; None for the newest first.
    """

    title: str
    note: str
    columns: Sequence[Column]
    order: Callable[[Row], Any] | None = None


def _field(words: str, name: str, fraction: bool = True) -> Column:
    def value(result: Any) -> float | None:
        for part in name.split("."):
            result = getattr(result, part, None)
        return None if result is None else float(result)

    return Column(words, value, fraction)


def _certified(words: str, name: str, fraction: bool = True) -> Column:
    def value(result: Any) -> float | None:
        figure = getattr(result.certified_network(), name)
        return None if figure is None else float(figure)

    return Column(words, value, fraction)


def _by_radius(row: Row) -> tuple[object, ...]:
    """Networks certified on the same images together, the largest radius first."""
    radius, images = row.cells[0].value or 0.0, row.cells[-1].value or 0.0
    return row.dataset, -images, -radius


def _of_any(result: Any, rate: float) -> float | None:
    """A success rate of patches; None where it is of no image."""
    return rate if result.attacked else None


def _repair_columns() -> list[Column]:
    """Attack success and accuracy after every repair that there is."""

    def figures(method: str) -> list[Column]:
        def after(result: Any) -> Any:
            last = result.points[-1]
            for one in (*last.repairs, *last.input_detections):
                if one.method == method:
                    return one
            return None

        def success(result: Any) -> float | None:
            one = after(result)
            return None if one is None else float(one.attack_success)

        def accuracy(result: Any) -> float | None:
            one = after(result)
            if one is None:
                return None
            return float((one.screened if hasattr(one, "screened") else one.repaired).accuracy)

        return [
            Column(f"attack success with {method}", success, optional=True),
            Column(f"accuracy with {method}", accuracy, optional=True),
        ]

    names = component_names("advlab.poisoning.repairs")
    names += component_names("advlab.poisoning.input_detectors")
    return [column for name in names for column in figures(name)]


KINDS = {
    "train": Kind(
        "Trained networks",
        "Accuracy on unattacked test data, of the epoch that was best on validation data.",
        [_field("test accuracy", "test_accuracy"), _field("validation", "val_accuracy")],
    ),
    "corruptions": Kind(
        "Common corruptions",
        "Errors on corrupted images, without an adversary: the mean over corruptions of the mean "
        "over severities. The columns of one row compare with those of another only for the same "
        "corruptions and severities. With a reference network the error under each corruption is "
        "divided by that network's.",
        [
            Column(
                "mean corruption error (unnormalised)", lambda one: float(one.mean_corruption_error)
            ),
            Column("clean error", lambda one: 1 - float(one.clean_accuracy)),
            _field("mCE relative to the reference", "relative_mce"),
            _field("images", "images", fraction=False),
        ],
    ),
    "certification": Kind(
        "Certified networks",
        "L2 radii within which no perturbation changes the answer of the network smoothed by "
        "noise: their mean, with 0 for misclassified images, and the accuracy of the smoothed "
        "network. Each certificate is wrong with probability at most α. Only figures on the same "
        "images compare; rows with as many images stand together, the largest radius first.",
        [
            _certified("average certified radius", "average_radius", fraction=False),
            _certified("accuracy, smoothed", "accuracy"),
            _certified("clean, without noise", "clean_accuracy"),
            _certified("σ", "sigma", fraction=False),
            _certified("abstained", "abstained", fraction=False),
            _certified("images", "images", fraction=False),
        ],
        order=_by_radius,
    ),
    "detection": Kind(
        "Detectors of adversarial images",
        "Fraction of the images that are classified correctly and that no attack makes both "
        "misclassified and undetected, at a threshold from clean validation images. It is an "
        "upper bound: a better attack that knows the detector may lower it.",
        [
            _field("robust accuracy with a detector", "robust_accuracy_with_detector"),
            _field("under attacks that do not know it", "robust_accuracy_unaware"),
            _field("without it", "robust_accuracy"),
            _field("clean", "clean_accuracy"),
            _field("false alarms", "false_alarm_rate"),
            _field("images", "images", fraction=False),
        ],
    ),
    "attack-spatial": Kind(
        "Rotated and shifted images",
        "Accuracy under the worst rotation and translation that was tried, within the limits of "
        "each row. That is no Lp ball, so that it does not compare with the tables above. It is an "
        "upper bound: a finer search may lower it. Rotation and shift are means over the moved "
        "images, broken or not, queries over the attacked.",
        [
            _field("robust accuracy", "robust_accuracy"),
            _field("clean", "clean_accuracy"),
            _field("rotation in degrees", "degrees_mean", fraction=False),
            _field("shift in pixels", "shift_mean", fraction=False),
            _field("queries", "queries", fraction=False),
            _field("images", "images", fraction=False),
        ],
    ),
    "attack-stadv": Kind(
        "Images with displaced pixels",
        "Accuracy under a smooth flow that displaces each pixel, within the limit of each row. "
        "That is no Lp ball, so that it does not compare with the tables above. It is an upper "
        "bound: more steps may lower it. Shift and roughness are means over the changed images, "
        "broken or not, queries over the attacked.",
        [
            _field("robust accuracy", "robust_accuracy"),
            _field("clean", "clean_accuracy"),
            _field("shift in pixels", "shift_mean", fraction=False),
            _field("roughness in pixels", "roughness_mean", fraction=False),
            _field("queries", "queries", fraction=False),
            _field("images", "images", fraction=False),
        ],
    ),
    "attack-colour": Kind(
        "Images with shifted colours",
        "Accuracy under the worst shift of hue, saturation, brightness and contrast that was "
        "tried, within the limits of each row. That is no Lp ball, so that it does not compare "
        "with the tables above. It is an upper bound: a finer search may lower it. Queries are "
        "means over the attacked images.",
        [
            _field("robust accuracy", "robust_accuracy"),
            _field("clean", "clean_accuracy"),
            _field("queries", "queries", fraction=False),
            _field("images", "images", fraction=False),
        ],
    ),
    "attack-patch": Kind(
        "Adversarial patches",
        "Success of one patch for all images, each in one place that was drawn for it, and that of "
        "patches of noise and of training images in the same places. Success is of the images "
        "classified correctly before, with a target of those of other classes. Robust accuracy is "
        "over all images; those of the target class get no patch, and any wrong class counts as "
        "broken. That is no Lp ball, and no place is searched for, so that it does not compare "
        "with the tables above.",
        [
            Column("success", lambda one: _of_any(one, one.success_rate)),
            Column("of noise", lambda one: _of_any(one, one.noise.success_rate)),
            Column("of training images", lambda one: _of_any(one, one.training_image.success_rate)),
            _field("robust accuracy", "robust_accuracy"),
            _field("clean", "clean_accuracy"),
            _field("images", "images", fraction=False),
        ],
    ),
    "attack-texts": Kind(
        "Attacked texts",
        "Accuracy under one attack that changes a limited fraction of each text's words. It is an "
        "upper bound: a stronger attack may lower it. Changed words are of the broken texts, "
        "queries the mean for each attacked text.",
        [
            _field("robust accuracy", "robust_accuracy"),
            _field("clean", "clean_accuracy"),
            _field("changed words", "perturbed_words"),
            _field("queries", "queries", fraction=False),
            _field("texts", "texts", fraction=False),
        ],
    ),
    "poison-texts": Kind(
        "Poisoned training texts",
        "Accuracy on clean test texts that name the entity, after training with poison and "
        "without. Attack success is the fraction of the texts the attack is after that get the "
        "answer it wants, less the same fraction of the clean network: 0 or less means that it "
        "failed.",
        [
            _field("entity accuracy, with poison", "entity_accuracy_after"),
            _field("without", "entity_accuracy_before"),
            _field("attack success", "attack_success"),
        ],
    ),
    "poison-images": Kind(
        "Poisoned training images",
        "Accuracy on clean test images, after training with poison and without. Attack success is "
        "the fraction of the images the attack is after that are taken for its target, less the "
        "same fraction of the clean network: 0 or less means that it failed. Where repairs were "
        "asked for, both follow for each of them, at the largest poison rate.",
        [
            _field("accuracy, with poison", "accuracy_after"),
            _field("without", "accuracy_before"),
            _field("attack success", "attack_success"),
            *_repair_columns(),
        ],
    ),
    "gan-train": Kind(
        "Generators",
        "FID is comparable only on the features of the same classifier and for the same number of "
        "images; lower is better. Held-out real images show what is within reach.",
        [
            _field("FID", "fid", fraction=False),
            _field("FID of real images", "real_reference.fid", fraction=False),
            _field("classes generated", "modes", fraction=False),
            _field("classes of real images", "real_modes", fraction=False),
        ],
    ),
    "contrast": Kind(
        "Features learned without labels",
        "Accuracy on test images by nearest neighbours and by a linear probe on frozen features, "
        "beside the encoder before training and the pixels.",
        [
            _field("k-NN accuracy", "knn_accuracy"),
            _field("linear probe", "probe_accuracy"),
            _field("k-NN, untrained", "untrained.knn_accuracy"),
            _field("k-NN, pixels", "pixels.knn_accuracy"),
        ],
    ),
    "memorize": Kind(
        "Memorised random labels",
        "Accuracy on the random labels that were trained on, and on test images with labels drawn "
        "likewise; beside them a network that was trained on true labels, on test images with true "
        "labels.",
        [
            _field("test, random labels", "test_accuracy"),
            _field("training, random labels", "train_accuracy"),
            _field("test, trained on true labels", "true_labels.test_accuracy"),
        ],
    ),
    "scratch-train": Kind(
        "Networks in NumPy",
        "Accuracy on unattacked test images, of the epoch that was best on validation images.",
        [
            _field("test accuracy", "test_accuracy"),
            _field("validation", "val_accuracy"),
            _field("learning rate", "lr", fraction=False),
        ],
    ),
    "scratch-check": Kind(
        "Derivatives in NumPy, checked",
        "Largest absolute difference from finite differences and from autograd.",
        [
            _field("largest difference", "largest_difference", fraction=False),
            _field("limit", "limit", fraction=False),
        ],
    ),
}
_OTHER = {
    "attack-photo": "Attacked photos",
    "gan-sample": "Images of generators",
    "gan-interpolate": "Images of generators",
    "gan-latent": "Images of generators",
    "gan-compare": "Comparisons of generators",
    "inspect-predictions": "Inspected images",
    "inspect-filters": "Inspected images",
    "inspect-saliency": "Inspected images",
    "comparison": "Comparisons",
}
"""Kinds without figures of their own: their summary stands in one column."""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: its heading.
        note: what its figures hold for; may be empty.
        head: heads of the figures' columns.
        rows: newest first.
    """

    title: str
    note: str
    head: Sequence[str]
    rows: Sequence[Row]


def tables(everything: Sequence[Run]) -> list[Table]:
    """Every readable run that no board holds."""
    listed = [_figures(kind, everything) for kind in KINDS]
    others: dict[str, list[Row]] = {title: [] for title in _OTHER.values()}
    for run in everything:
        result = run.result
        if isinstance(result, (AdvlabError, *RobustnessResult)):
            continue
        if not isinstance(result, Result):
            others.setdefault("Runs of earlier versions", []).append(_summed_up(run))
        elif result.kind not in KINDS:
            others.setdefault(_OTHER.get(result.kind, "Other runs"), []).append(_summed_up(run))
    listed += [Table(title, "", ["result"], rows) for title, rows in others.items()]
    return [table for table in listed if table.rows]


NOT_BELIEVED = "NOT TO BE BELIEVED"
"""What stands beside a figure with a failed check."""


def warning_of(result: object) -> tuple[str, str]:
    """What failed in a run, in capitals, and why; two empty texts where nothing did."""
    if isinstance(result, GanTrainResult) and result.collapsed:
        seen = "; ".join(f"epoch {one.epoch}: {one.words}" for one in result.indicators)
        return "COLLAPSED", seen
    if isinstance(result, ScratchCheckResult) and result.largest_difference > result.limit:
        return "CHECK FAILED", "a derivative differs by more than the limit"
    if failed := getattr(result, "checks_failed", None):
        return NOT_BELIEVED, "; ".join(f"{name}: {words}" for name, words in failed.items())
    # A defence with certificates stands here for these, and has checks of its own for them.
    doubt = result.doubt() if isinstance(result, DefendResult) else ""
    return (NOT_BELIEVED, doubt.removeprefix(NOT_BELIEVED).strip(" ()")) if doubt else ("", "")


def _figures(kind: str, everything: Sequence[Run]) -> Table:
    table = KINDS[kind]
    runs = [
        (run, run.result)
        for run in everything
        if isinstance(run.result, Result) and _belongs(run.result, kind)
    ]
    columns = [
        column
        for column in table.columns
        if not column.optional or any(column.value(result) is not None for _, result in runs)
    ]
    rows = [_row(group, columns) for group in repeated(runs, everything)]
    if table.order is not None:
        rows.sort(key=table.order)
    return Table(table.title, table.note, [column.words for column in columns], rows)


def _belongs(result: Result, kind: str) -> bool:
    """Whether a result stands in the table of that kind; a defence that certifies networks stands
    beside the certified ones, and its attacks on a board."""
    return result.kind == kind or (kind == "certification" and bool(result.certified_network()))


def _row(group: Repeated[Result], columns: Sequence[Column]) -> Row:
    cells = []
    for column in columns:
        values = group.values(column.value)
        value = sum(values) / len(values) if values else None
        cells.append(Cell(group.spread(column.value, column.fraction), value))
    newest = max((run for run, _ in group.runs), key=lambda run: run.date)
    warnings = [warning for _, one in group.runs if (warning := warning_of(one))[0]]
    result = group.first
    return Row(
        dataset=result.dataset,
        network=_network(result),
        cells=cells,
        conditions=_conditions(newest, result),
        seeds=group.seeds,
        warning=warnings[0][0] if warnings else "",
        reasons=list(dict.fromkeys(reason for _, reason in warnings if reason)),
        date=newest.date,
        runs=[run for run, _ in group.runs],
        copies=group.copies,
    )


def _network(result: Result) -> str:
    """The network; of one that was certified which one, or by what it is defended; of one whose
    texts are attacked the attack as well."""
    model = result.model or "–"
    if isinstance(result, TextAttackResult):
        return f"{title_of(result.network)}, {display_name(result.component)}"
    if isinstance(result, CertificationResult):
        model = title_of(result.network)
    elif isinstance(result, DefendResult):
        model = f"{model}, defended by {result.component}"
    size = f" ({result.parameters:,} parameters)" if result.parameters else ""
    return model + size


def _conditions(run: Run, result: Result) -> str:
    """What the figures hold for: context, number of examples, and options of the run."""
    examples = getattr(result, "examples", None)
    unit = getattr(result, "unit", "texts" if result.kind == "poison-texts" else "images")
    tested = ""
    if examples is not None:
        trained = counted(examples.train, unit.removesuffix("s"))
        tested = f"{trained} trained on, {examples.test:,} tested on"
    if isinstance(result, TextPoisonResult):
        named = result.entity_texts.test  # none where the poison is a trigger
        tested += f", {named:,} of which name the entity" if named else ""
    if isinstance(result, MemorizeResult):
        tested += f", {percent(result.random_fraction)} of the labels at random"
    doubt = "" if warning_of(result)[0] else result.doubt()
    held = ", ".join(filter(None, [result.context(), doubt]))
    return "; ".join(part for part in (held, tested, run.settings) if part)


def _summed_up(run: Run) -> Row:
    result = run.result
    assert not isinstance(result, AdvlabError)
    warning, reason = warning_of(result)
    seeded = isinstance(result, Result) and not isinstance(result, ComparisonResult)
    return Row(
        dataset=result.dataset,
        network=result.model or "–",
        cells=[Cell(run.summary, None)],
        conditions=run.settings,
        seeds=[result.seed] if isinstance(result, Result) and seeded else [],
        warning=warning,
        reasons=[reason] if reason else [],
        date=run.date,
        runs=[run],
        copies=[],
    )
