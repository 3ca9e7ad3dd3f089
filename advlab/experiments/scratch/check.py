"""``advlab scratch check``: compare every derivative and fail if one differs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from advlab.config.options.scratch import ScratchCheckOptions
from advlab.config.resolve import Config
from advlab.errors import EnvironmentFailure
from advlab.experiments.scratch.derivatives import derivatives
from advlab.experiments.scratch.train import MACHINE
from advlab.logs import logger
from advlab.plots.scratch import agreement
from advlab.plots.style import save
from advlab.results.scratch import DerivativeRecord, ScratchCheckResult
from advlab.runs.files import write_text
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.machine import derive
from advlab.runs.results import Finished
from advlab.runs.table import table

LIMIT = 1e-8


def run(config: Config) -> Finished[ScratchCheckResult]:
    """Check the derivatives for one seed, unless it is done already.

    Raises:
        EnvironmentFailure: a derivative is further than 1e-8 from a reference.
    """

    def measure(folder: Path) -> ScratchCheckResult:
        with threadpool_limits(1, user_api="blas"):
            return _measure(config.options, folder)

    experiment = Experiment(
        config=config,
        contents={},
        result=ScratchCheckResult,
        measure=measure,
        report=lambda result: logger.info(_table(result.derivatives)),
    )
    finished = carry_out(experiment)
    largest = finished.result.largest_difference
    if largest >= LIMIT:
        raise EnvironmentFailure(
            f"a derivative is {largest:.2g} from its reference, and {LIMIT:g} was the limit"
        )
    return finished


def _table(derivatives: Sequence[DerivativeRecord]) -> str:
    """Each derivative, and how far it is from its references."""
    rows = [
        [
            one.of,
            one.formula,
            f"{one.entries:,}",
            f"{one.finite_differences:.1e}",
            f"{one.autograd:.1e}",
        ]
        for one in derivatives
    ]
    return table(
        ["derivative", "formula", "entries", "from finite differences", "from autograd"], rows
    )


def _measure(options: ScratchCheckOptions, folder: Path) -> ScratchCheckResult:
    started = time.perf_counter()
    random = np.random.default_rng(derive(options.seed, 40))
    compared = derivatives(random, options.batch_size, options.hidden, options.entries)
    largest = max(one.largest for one in compared)
    records = [DerivativeRecord(**asdict(one)) for one in compared]
    drawn = f"float64, {options.batch_size} drawn inputs, seed {options.seed}"
    write_text(
        folder / "derivatives.md",
        f"{_table(records)}\n\nLargest differences; {drawn}. The largest of all: {largest:.1e}.\n",
    )
    differences = {
        one.of: {"finite differences": one.finite_differences, "autograd": one.autograd}
        for one in compared
    }
    title = "Derivatives from scratch: largest difference from two references"
    save(
        agreement(differences, LIMIT, title, f"{drawn} · differences below 1e-18 are drawn there"),
        folder / "derivatives.png",
    )
    return ScratchCheckResult(
        command="scratch",
        component="check",
        dataset="drawn inputs",
        origin="drawn inputs",
        model="-".join(map(str, [784, *options.hidden, 10])),
        seed=options.seed,
        seconds=round(time.perf_counter() - started, 4),
        machine=MACHINE.describe(numpy=np.__version__, threads=1),
        largest_difference=largest,
        limit=LIMIT,
        derivatives=records,
    )
