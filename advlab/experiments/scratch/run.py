"""``advlab scratch``: dispatch of its actions."""

from __future__ import annotations

from advlab.config.resolve import Plan
from advlab.errors import UsageError
from advlab.experiments.grid import run_plan
from advlab.experiments.scratch import check, train
from advlab.experiments.scratch.figures import conclude


def main(plan: Plan) -> int:
    """Run every cell of the plan; exit status 0 where all of them finished, and every derivative
    agrees."""
    components = {cell.component for cell in plan.cells}
    if len(components) > 1:
        raise UsageError(
            "scratch: training and checking do not go into one comparison; name one of them"
        )
    if components == {"check"}:
        return run_plan(plan, check.run)
    return run_plan(plan, train.run, conclude)
