"""``advlab poison``: train on clean and poisoned data, compare, detect the poisoned rows.

A study of images and one of texts have the same course and other figures: ``images`` and ``texts``.
"""

from __future__ import annotations

from advlab.config.resolve import Config, Plan
from advlab.errors import UsageError
from advlab.experiments.grid import run_plan
from advlab.experiments.poison import image_figures, images, text_figures, texts
from advlab.experiments.starting import check_weights
from advlab.networks.text import takes_texts
from advlab.results.poison import ImagePoisonResult, TextPoisonResult
from advlab.runs.results import Finished


def main(plan: Plan) -> int:
    """Run every cell of the plan; exit status 0 where all of them finished.

    Raises:
        UsageError: some cells poison images and others texts.
    """
    kinds = {takes_texts(cell.component) for cell in plan.cells}
    if len(kinds) > 1:
        raise UsageError(
            "poison: networks for images and for texts do not go into one comparison; name one kind"
        )
    if kinds == {True}:
        return run_plan(plan, texts.run, text_figures.conclude)
    return run_plan(
        plan,
        images.run,
        image_figures.conclude,
        check=lambda cell: check_weights(cell.component, cell.options),
    )


def run(config: Config) -> Finished[ImagePoisonResult] | Finished[TextPoisonResult]:
    """One seed's study, unless it is there already."""
    return texts.run(config) if takes_texts(config.component) else images.run(config)
