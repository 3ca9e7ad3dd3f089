"""Robust accuracy on validation images after every epoch.

It chooses the epoch that is kept, and detects catastrophic overfitting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from advlab.attacks import fgsm, pgd
from advlab.config.options.run import AdversarialOptions
from advlab.data.image_set import Images
from advlab.logs import logger
from advlab.perturbation.sweep import Attack, Tasks, sweep
from advlab.perturbation.victim import Victim
from advlab.runs.machine import Machine
from advlab.training.objective import Watch


class RobustnessWatch(Watch):
    """FGSM and PGD on some validation images after every epoch.

    Catastrophic overfitting (Wong, Rice and Kolter 2020, arXiv:2001.03994): a network trained on
    single steps learns to withstand those alone. Accuracy under PGD then falls to nothing within an
    epoch while that under FGSM stays or rises.
    """

    selects = "val_robust_accuracy"

    def __init__(
        self,
        images: Images,
        options: AdversarialOptions,
        seed: int,
        machine: Machine,
    ) -> None:
        """Attack these images after every epoch, and log warnings."""
        self.images = images.select(torch.arange(min(options.check_images, len(images))))
        self.machine = machine
        self.stop = options.on_overfitting == "stop"
        self.fgsm = fgsm.Options(norm=options.norm, eps=[options.eps], seed=seed)
        self.pgd = pgd.Options(
            norm=options.norm, eps=[options.eps], steps=options.check_steps, seed=seed
        )

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """Accuracy under FGSM and under PGD."""
        victim = Victim(model, self.machine)
        return {
            "val_fgsm_accuracy": self._under(fgsm.perturb, victim, self.fgsm),
            "val_robust_accuracy": self._under(pgd.perturb, victim, self.pgd),
        }

    def _under(self, attack: Attack, victim: Victim, options: fgsm.Options | pgd.Options) -> float:
        tasks = Tasks(
            self.images, torch.arange(len(self.images)), self.images.labels, targeted=False
        )
        (point,) = sweep(attack, victim, tasks, options)
        return int((~point.reached).sum()) / len(tasks)

    def objection(self, history: Sequence[Mapping[str, float]]) -> str | None:
        """The reason to stop after a collapse; None without one, or if a warning is enough."""
        if not collapsed(history):
            return None
        now, best = history[-1], max(history, key=lambda record: record["val_robust_accuracy"])
        change = (
            f"{100 * best['val_robust_accuracy']:.1f} % in epoch {best['epoch']} to "
            f"{100 * now['val_robust_accuracy']:.1f} %"
        )
        message = (
            f"catastrophic overfitting in epoch {now['epoch']}: accuracy under PGD fell from "
            f"{change}, "
            f"while under FGSM it is {100 * now['val_fgsm_accuracy']:.1f} %"
        )
        logger.info(
            f"WARNING: {message}" + ("; stopped here, and that epoch is kept" if self.stop else "")
        )
        return message if self.stop else None


def collapsed(history: Sequence[Mapping[str, float]]) -> bool:
    """Whether accuracy under PGD fell below half of its best and under FGSM did not."""
    now, best = history[-1], max(record["val_robust_accuracy"] for record in history)
    return (
        best > 0.2
        and now["val_robust_accuracy"] < best / 2
        and now["val_fgsm_accuracy"] > 0.8 * best
    )
