"""``advlab scratch check``: compare every derivative, write the table, refuse to call it right where it is not."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from advlab.config.resolve import Config
from advlab.config.scratch import ScratchCheckOptions
from advlab.errors import WorldError
from advlab.experiments._derivatives import derivatives
from advlab.experiments._scratch_train import MACHINE
from advlab.plots.scratch import agreement
from advlab.plots.style import save
from advlab.runs.files import write_text
from advlab.runs.folder import RunFolder, automatic_name
from advlab.runs.machine import derive
from advlab.runs.table import table

LIMIT = 1e-8

Say = Callable[[str], None]


def run(config: Config, say: Say = print) -> dict[str, Any]:
    """Check the derivatives for one seed, unless it is done already.

    Returns:
        The run's metrics, with its folder under ``folder``.

    Raises:
        WorldError: a derivative is further than 1e-8 from a reference.
    """
    options: ScratchCheckOptions = config.options
    folder = RunFolder(config, automatic_name(config))
    folder.check_unchanged()
    if folder.finished and not options.overwrite:
        metrics = folder.metrics()
        say(f"{folder.path} is finished already (--overwrite runs it again)")
    else:
        with folder.claim(), threadpool_limits(1, user_api="blas"):
            metrics = _checked(options, folder.path)
            folder.finish(metrics)
    say((folder.path / "derivatives.md").read_text(encoding="utf-8").rstrip())
    say(f"in {folder.path}: derivatives.md, derivatives.png, metrics.json")
    if metrics["largest_difference"] >= LIMIT:
        raise WorldError(f"a derivative is {metrics['largest_difference']:.2g} from its reference, and {LIMIT:g} was the limit")
    return {**metrics, "folder": str(folder.path)}


def _checked(options: ScratchCheckOptions, folder: Path) -> dict[str, Any]:
    started = time.perf_counter()
    found = derivatives(np.random.default_rng(derive(options.seed, 40)), options.batch_size, options.hidden, options.entries)
    largest = max(one.largest for one in found)
    rows = [[one.of, one.formula, f"{one.entries:,}", f"{one.finite_differences:.1e}", f"{one.autograd:.1e}"] for one in found]
    text = table(["derivative", "by hand", "entries", "from finite differences", "from autograd"], rows)
    drawn = f"float64, {options.batch_size} drawn inputs, seed {options.seed}"
    write_text(folder / "derivatives.md", f"{text}\n\nLargest differences; {drawn}. The largest of all: {largest:.1e}.\n")
    differences = {one.of: {"finite differences": one.finite_differences, "autograd": one.autograd} for one in found}
    title = "Derivatives by hand, and how far they are from two references"
    save(agreement(differences, LIMIT, title, f"{drawn} · differences below 1e-18 are drawn there"), folder / "derivatives.png")
    return {
        "command": "scratch",
        "model": "-".join(map(str, [784, *options.hidden, 10])),
        "dataset": "drawn inputs",
        "origin": "drawn inputs",
        "largest_difference": largest,
        "limit": LIMIT,
        "derivatives": [asdict(one) for one in found],
        "seed": options.seed,
        "seconds": round(time.perf_counter() - started, 4),
        "machine": {**MACHINE.describe(), "numpy": np.__version__, "threads": 1},
    }
