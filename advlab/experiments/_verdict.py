"""A verdict on a network: its figures, its sentence, its pictures, and the small file by which others cite it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from advlab.config.radii import eps_text
from advlab.config.resolve import Config
from advlab.datasets._set import Images, ImageSet
from advlab.experiments._standing import FILE as IMAGES
from advlab.experiments._standing import Standing
from advlab.plots.robustness import accuracy_against_eps
from advlab.plots.style import save
from advlab.plots.verdict import fallen_by_attack
from advlab.runs.machine import Machine
from advlab.runs.table import counted, percent, table


def verdict(
    config: Config,
    described: dict[str, Any],
    surrogate: dict[str, Any] | None,
    data: ImageSet,
    images: Images,
    standing: Standing,
    clean_accuracy: float,
    failed: dict[str, str],
    skipped: dict[str, str],
    machine: Machine,
) -> dict[str, Any]:
    """What ``metrics.json`` says of an evaluation.

    Args:
        described: the network's description.
        failed: the checks that failed, and why.
        skipped: the attacks that were left out, and why.
    """
    options = config.options
    eps = sorted(set(options.eps))
    curve = [{"eps": radius, "robust_accuracy": int((standing.eps > radius).sum()) / len(images)} for radius in eps]
    return {
        "command": "evaluate",
        "suite": config.component,
        "dataset": data.name,
        "origin": data.origin,
        "norm": options.norm,
        "eps": eps[0] if len(eps) == 1 else eps,
        "images": len(images),
        "classes": len(data.classes),
        "clean_accuracy": clean_accuracy,
        "robust_accuracy": curve[-1]["robust_accuracy"],
        "curve": curve,
        "broken_at": "eps or less",  # in the curve: by any attack at this radius or at a smaller one
        "checks_failed": failed,
        "believable": not failed,
        "attacks": standing.rows,
        "left_out": skipped,
        "bpda": options.bpda,
        "network": described,
        "surrogate": surrogate,
        "data_sha256": data.sha256(),
        "seed": options.seed,
        "seconds": round(sum(row["seconds"] for row in standing.rows), 3),
        "machine": machine.describe(),
    }


def citation(metrics: dict[str, Any]) -> dict[str, Any]:
    """What another paper needs to cite and repeat the figure: no paths, no timings."""
    kept = (
        "suite",
        "dataset",
        "norm",
        "eps",
        "images",
        "clean_accuracy",
        "robust_accuracy",
        "curve",
        "broken_at",
        "believable",
        "checks_failed",
        "left_out",
        "bpda",
    )
    network = {key: value for key, value in metrics["network"].items() if key != "checkpoint"}
    surrogate = metrics["surrogate"]
    return {
        **{key: metrics[key] for key in kept},
        "sentence": sentence(metrics),
        "attacks": [{key: value for key, value in row.items() if key != "seconds"} for row in metrics["attacks"]],
        "network": network,
        "surrogate": None if surrogate is None else {key: value for key, value in surrogate.items() if key != "checkpoint"},
        "data_sha256": metrics["data_sha256"],
        "seed": metrics["seed"],
        "versions": {key: metrics["machine"][key] for key in ("advlab", "python", "torch")},
        "precision": metrics["machine"]["precision"],
    }


def sentence(metrics: dict[str, Any]) -> str:
    """The verdict in a line; a failed check comes first."""
    doubt = f"NOT TO BE BELIEVED ({', '.join(metrics['checks_failed'])}): " if metrics["checks_failed"] else ""
    last = metrics["curve"][-1]
    ran = list(dict.fromkeys(row["attack"] for row in metrics["attacks"]))
    return (
        f"{doubt}robust accuracy at most {percent(last['robust_accuracy'])} at ε = {eps_text(last['eps'])} ({metrics['norm']}) on "
        f"{counted(metrics['images'], 'image')} of {metrics['dataset']}, clean {percent(metrics['clean_accuracy'])}; "
        f"the worst of {', '.join(ran) or 'no attack'}"
    )


def draw(folder: Path, metrics: dict[str, Any], eps: Sequence[float]) -> None:
    """What each attack leaves at the largest radius, and at all of them where there are several."""
    caption = f"{metrics['origin']} · {counted(metrics['images'], 'test image')} · seed {metrics['seed']} · {metrics['suite']} suite"
    caption += " · broken at ε or less" if len(eps) > 1 else ""
    doubt = f" · CHECKS FAILED: {', '.join(metrics['checks_failed'])}" if metrics["checks_failed"] else ""
    what = f"{metrics['network']['model']} on {metrics['dataset']}"
    ran = list(dict.fromkeys(row["attack"] for row in metrics["attacks"]))
    left = {label: [(row["eps"], row["left"]) for row in metrics["attacks"] if row["attack"] == label] for label in ran}
    if len(eps) > 1:
        lines = {f"after {label}": [(0.0, metrics["clean_accuracy"]), *points] for label, points in left.items()}
        title = f"What is left of {what}, attack after attack"
        drawn = accuracy_against_eps(lines, metrics["classes"], metrics["norm"], title, caption + doubt, within=True)
        save(drawn, folder / "curve.png")
    if ran:
        last = [row for row in metrics["attacks"] if row["eps"] == eps[-1]]
        title = f"What is left of {what} at ε = {eps_text(eps[-1])} ({metrics['norm']})"
        save(
            fallen_by_attack(
                metrics["clean_accuracy"], [(row["attack"], row["left"], row["sight"]) for row in last], title, caption + doubt
            ),
            folder / "verdict.png",
        )


def report(metrics: dict[str, Any], folder: Path, say: Callable[[str], None]) -> None:
    """Say the verdict, and what it rests on."""
    say(f"VERDICT: {sentence(metrics)}")
    for name, why in metrics["checks_failed"].items():
        say(f"  {name}: {why}")
    rows = [
        [eps_text(row["eps"]), row["attack"], f"{row['given']:,}", f"{row['fell']:,}", percent(row["left"]), f"{row['seconds']:.1f}"]
        for row in metrics["attacks"]
    ]
    rows.append(["", "in total", f"{metrics['images']:,}", "", percent(metrics["robust_accuracy"]), f"{metrics['seconds']:.1f}"])
    left = "not broken at ε or less" if len(metrics["curve"]) > 1 else "left"
    say(table([f"ε ({metrics['norm']})", "attack", "given", "fell", left, "seconds"], rows))
    pictures = ", ".join(sorted(path.name for path in folder.glob("*.png")))
    say(f"in {folder}: verdict.json, metrics.json, config.yaml, the images ({IMAGES}), {pictures}")
