"""The verdict of a suite of attacks on the defended network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from advlab.config.options.run import DataOptions
from advlab.evaluation.entry import attack_suite
from advlab.experiments.evaluate import run as evaluation
from advlab.experiments.evaluate.run import chosen
from advlab.logs import indented
from advlab.results.defend import SuiteVerdict

_SHARED = ("norm", "limit", "seed", "device", "threads", "precision", "out")


def check_suite(options: Any) -> None:
    """Check that there is a suite of the name that ``--verdict`` gives, before any training.

    Raises:
        UsageError: there is none, or it is no suite of attacks.
    """
    if options.verdict is not None:
        attack_suite(options.verdict)


def suite_verdict(options: Any, undefended: Path, defended: Path) -> SuiteVerdict | None:
    """Evaluate the defended network, on the data, the images and the ball of the defence.

    The evaluation is a run of its own, beside the others.

    Args:
        undefended: folder of the network that transferred images are made on.
        defended: folder of the network to evaluate.

    Returns:
        None where no verdict was asked for.
    """
    if options.verdict is None:
        return None
    shared = {name: getattr(options, name) for name in (*DataOptions.model_fields, *_SHARED)}
    config = evaluation.configuration(
        options.verdict,
        **shared,
        eps=[options.eps],
        model=str(defended),
    )
    if any(entry.transfer for entry in chosen(config)):
        config = config.changed(surrogate=str(undefended))
    with indented():
        finished = evaluation.run(config)
    return SuiteVerdict(
        suite=options.verdict,
        clean_accuracy=finished.result.clean_accuracy,
        robust_accuracy=finished.result.robust_accuracy,
        believable=finished.result.believable,
        checks_failed=finished.result.checks_failed,
        attacks=[row.attack for row in finished.result.attacks],
        folder=str(finished.folder),
    )
