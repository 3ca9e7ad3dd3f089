"""Several seeds of a defence: is the difference larger than the spread?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.stats import t as student

from advlab.config.radii import eps_text
from advlab.plots.defence import trade
from advlab.plots.style import save
from advlab.runs.files import write_text
from advlab.runs.table import spread, table


def conclude(groups: Mapping[str, Sequence[dict[str, Any]]], folder: Path, caption: str) -> list[str]:
    """The four steps over all seeds (each network clean and attacked), drawn and answered in a sentence for each setting.

    Returns:
        Lines to print.
    """
    rows, sentences = [], []
    for label, members in groups.items():
        worst = _worst(members)
        for who in ("undefended", "defended"):
            shares = {name: [metrics["accuracies"][who][name] for metrics in members] for name in members[0]["accuracies"][who]}
            attacked = worst if worst in shares else min((name for name in shares if name != "clean"), key=lambda name: mean(shares[name]))
            rows.append([label, who, spread(shares["clean"]), f"{spread(shares[attacked])}"])
        sentences.append(sentence(label, members))
    norm, eps = next(iter(groups.values()))[0]["norm"], next(iter(groups.values()))[0]["eps"]
    text = table(["setting", "network", "clean", f"strongest attack, ε = {eps_text(eps)} ({norm})"], rows)
    write_text(folder / "answer.md", "\n\n".join([text, *sentences, caption]) + "\n")
    for number, (label, members) in enumerate(groups.items()):
        bars = {
            who: {name: [metrics["accuracies"][who][name] for metrics in members] for name in members[0]["accuracies"][who]}
            for who in ("undefended", "defended")
        }
        first = members[0]
        title = f"What {label} costs and gives: {first['model']} on {first['dataset']}, ε = {eps_text(first['eps'])} ({first['norm']})"
        file = "trade.png" if len(groups) == 1 else f"trade-{number + 1}.png"
        save(trade(bars, first["classes"], title, caption), folder / file)
    return [text, *sentences]


def sentence(label: str, members: Sequence[dict[str, Any]]) -> str:
    """Whether accuracy under the strongest attack differs by more than chance, from the differences seed by seed.

    The interval is Student's, at 95 %, for the mean of the paired differences.
    """
    worst = _worst(members)
    differences = [100 * (metrics["robust_accuracy"] - min(_attacked(metrics, "undefended").values())) for metrics in members]
    centre = mean(differences)
    said = f"{label}: accuracy under attack ({worst.replace(chr(10), ' ')}) changes by {centre:+.2f} points"
    if len(differences) < 2:
        return f"{said}, in a single run; --seeds 3 would show the spread."
    half = float(student.ppf(0.975, len(differences) - 1)) * stdev(differences) / len(differences) ** 0.5
    interval = f"{said} (95 % interval {centre - half:+.2f} to {centre + half:+.2f}, {len(differences)} seeds)"
    if abs(centre) > half:
        return f"{interval}: the difference exceeds the spread between seeds."
    return f"{interval}: within the spread between seeds, so these runs do not tell whether it helps."


def _attacked(metrics: dict[str, Any], who: str) -> dict[str, float]:
    return {name: share for name, share in metrics["accuracies"][who].items() if name != "clean"}


def _worst(members: Sequence[dict[str, Any]]) -> str:
    """The attack that leaves least of the defended network, over all seeds."""
    names = _attacked(members[0], "defended")
    return min(names, key=lambda name: mean(metrics["accuracies"]["defended"][name] for metrics in members))
