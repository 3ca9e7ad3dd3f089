"""Comparison over several seeds: whether a difference is larger than its spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Literal

from scipy.special import stdtrit  # scipy.stats takes a second to import

from advlab.config.radii import eps_text, norm_name
from advlab.config.references import dataset_title
from advlab.experiments.defend.certificates import certified_side_by_side
from advlab.experiments.defend.overview import overview
from advlab.plots.defence import trade
from advlab.plots.style import save
from advlab.results.attack import ball
from advlab.results.defend import DefendResult
from advlab.results.smoothing import AVERAGE_RADIUS, WITHOUT_NOISE
from advlab.runs.files import write_text
from advlab.runs.results import Finished
from advlab.runs.table import spread, table

Who = Literal["undefended", "defended"]
_BOTH: tuple[Who, Who] = ("undefended", "defended")


def conclude(
    groups: Mapping[str, Sequence[Finished[DefendResult]]], folder: Path, caption: str
) -> list[str]:
    """The four steps over all seeds (each network clean and attacked), drawn and answered in a
    sentence for each setting; before them several defences side by side.

    Returns:
        Lines to print.
    """
    rows, sentences = [], []
    results = {label: [run.result for run in finished] for label, finished in groups.items()}
    for label, members in results.items():
        worst = _worst(members)
        for who in _BOTH:
            accuracies = _by_situation(members, who)
            attacked = (
                worst
                if worst in accuracies
                else min(
                    (name for name in accuracies if name != "clean"),
                    key=lambda name: mean(accuracies[name]),
                )
            )
            row = [label, who, spread(accuracies["clean"]), f"{spread(accuracies[attacked])}"]
            rows.append([*row, _verdict(members, who)])
        sentences.append(sentence(label, members))
    balls = {label: ball(one[0].eps[-1], one[0].norm) for label, one in results.items()}
    together = len(set(balls.values())) == 1
    if not together:  # such as randomised smoothing, which is of L2, beside defences in L∞
        rows = [[f"{row[0]}, {balls[row[0]]}", *row[1:]] for row in rows]
    attack = "strongest attack" + (f", {next(iter(balls.values()))}" if together else "")
    header = ["setting", "network", "clean", attack, "verdict"]
    if all(row[-1] == "–" for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    text = table(header, rows)
    beside = overview(results, folder, caption)
    tables = [text] if beside is None else [beside, text]
    certified = certified_side_by_side(results)
    if certified is not None:
        tables.append(certified)
    if any(result.certified is not None for one in results.values() for result in one):
        tables.append(f"accuracy under attack is that of {WITHOUT_NOISE}")
    if not together:
        tables.append(
            "the defences were attacked in different balls: their accuracies under attack do not "
            "compare, and no figure shows them together"
        )
    write_text(folder / "answer.md", "\n\n".join([*tables, *sentences, caption]) + "\n")
    for number, (label, members) in enumerate(results.items()):
        bars = {str(who): _by_situation(members, who) for who in _BOTH}
        first = members[0]
        radius = f"ε = {eps_text(first.eps[-1])} ({norm_name(first.norm)})"
        defence = label if first.component in label else f"{first.component}, {label}"
        title = f"Accuracy without and with the defence '{defence}': {first.model} on "
        title += f"{dataset_title(first.dataset)}, {radius}"
        aside = "" if first.certified is None else f" · {WITHOUT_NOISE}"
        file = "trade.png" if len(groups) == 1 else f"trade-{number + 1}.png"
        save(trade(bars, first.classes, title, caption + aside), folder / file)
    return [*tables, *sentences]


def _verdict(members: Sequence[DefendResult], who: Who) -> str:
    """The verdicts of the suite on the defended networks; a dash where there are none."""
    verdicts = [result.verdict for result in members if result.verdict is not None]
    if who == "undefended" or len(verdicts) < len(members):
        return "–"
    doubted = sum(not one.believable for one in verdicts)
    doubt = f", {doubted} of {len(verdicts)} NOT TO BE BELIEVED" if doubted else ""
    return f"≤ {spread([one.robust_accuracy for one in verdicts])} ({verdicts[0].suite}{doubt})"


def sentence(label: str, members: Sequence[DefendResult]) -> str:
    """Whether what the defence is about differs by more than chance, from the differences seed by
    seed: the average certified radius of smoothed networks, else accuracy under the strongest
    attack.

    The interval is Student's, at 95 %, for the mean of the paired differences.
    """
    radii = [radius for one in members if (radius := _change_of_radius(one)) is not None]
    if len(radii) == len(members):
        differences, digits = radii, 3
        text = f"{label}: the {AVERAGE_RADIUS} changes by {mean(radii):+.3f}"
    else:
        worst, digits = _worst(members), 2
        differences = [
            100 * (result.robust_accuracy - min(_attacked(result.accuracies.undefended).values()))
            for result in members
        ]
        text = (
            f"{label}: accuracy under attack ({worst.replace(chr(10), ' ')}) changes by "
            f"{mean(differences):+.2f} points"
        )
    if len(differences) < 2:
        return f"{text}, in a single run; --seeds 3 would show the spread."
    centre = mean(differences)
    half = (
        float(stdtrit(len(differences) - 1, 0.975)) * stdev(differences) / len(differences) ** 0.5
    )
    low, high = (f"{end:+.{digits}f}" for end in (centre - half, centre + half))
    interval = f"{text} (95 % interval {low} to {high}, {len(differences)} seeds)"
    if abs(centre) > half:
        return f"{interval}: the difference exceeds the spread between seeds."
    return (
        f"{interval}: within the spread between seeds, so these runs do not tell whether it helps."
    )


def _change_of_radius(result: DefendResult) -> float | None:
    """By how much the defended network's average certified radius exceeds the other one's; None
    where none was certified."""
    radius = None if result.certified is None else result.certified.mean_radius
    return None if radius is None else radius.defended - radius.undefended


def _by_situation(members: Sequence[DefendResult], who: Who) -> dict[str, list[float]]:
    """Accuracies of one of the two networks over all seeds, by situation."""
    by_member: list[dict[str, float]] = [getattr(result.accuracies, who) for result in members]
    return {
        situation: [accuracies[situation] for accuracies in by_member] for situation in by_member[0]
    }


def _attacked(accuracies: Mapping[str, float]) -> dict[str, float]:
    """Accuracies under attack, by situation."""
    return {
        situation: accuracy for situation, accuracy in accuracies.items() if situation != "clean"
    }


def _worst(members: Sequence[DefendResult]) -> str:
    """The attack that leaves least of the defended network, over all seeds."""
    situations = _attacked(members[0].accuracies.defended)
    return min(
        situations, key=lambda name: mean(result.accuracies.defended[name] for result in members)
    )
