"""``advlab gan``: dispatch of its actions."""

from __future__ import annotations

from advlab.config.resolve import Plan
from advlab.experiments.gan import compare, generate, train
from advlab.experiments.grid import run_plan


def main(plan: Plan) -> int:
    """Run every cell of the plan; exit status 0 where all of them finished."""
    for cell in plan.cells:
        if cell.component == "compare":
            compare.run(cell)
        elif cell.component != "train":
            generate.run(cell)
    trained = [cell for cell in plan.cells if cell.component == "train"]
    if not trained:
        return 0
    return run_plan(plan, train.run, compare.conclude)
