"""The undefended and the defended network on the same images, image by image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from advlab.experiments.defend.robustness import Answers, strongest
from advlab.experiments.paired import paired_test
from advlab.results.comparison import PairedTest
from advlab.results.defend import DefendResult
from advlab.runs import sealed
from advlab.runs.results import Finished

FILE = "correct.safetensors"
STRONGEST = "strongest attack"


def compared(
    before: Sequence[Answers], after: Sequence[Answers], labels: Tensor
) -> dict[str, PairedTest]:
    """McNemar's test in each situation of both networks, and under the strongest attack on each."""
    undefended = {one.situation: one.correct(labels) for one in before}
    tests = {
        one.situation: paired_test(undefended[one.situation], one.correct(labels))
        for one in after
        if one.situation in undefended
    }
    worst = [strongest(answers, labels).correct(labels) for answers in (before, after)]
    return {**tests, STRONGEST: paired_test(*worst)}


def store(
    folder: Path, before: Sequence[Answers], after: Sequence[Answers], labels: Tensor
) -> None:
    """Write which images each network has right: bool (situations, N), and the situations."""
    sealed.write_tensors(
        folder / FILE,
        {
            "undefended": torch.stack([one.correct(labels) for one in before]),
            "defended": torch.stack([one.correct(labels) for one in after]),
        },
        {
            "undefended": json.dumps([one.situation for one in before]),
            "defended": json.dumps([one.situation for one in after]),
        },
    )


def paired(first: Finished[DefendResult], second: Finished[DefendResult]) -> PairedTest | None:
    """Which of two defended networks has more of the same images right under the strongest attack
    on each.

    Returns:
        None where the two runs compare one network, other images or another ball, or where one of
        them was finished by a version that did not write which images are right.
    """
    one, other = first.result, second.result
    if one.checkpoint_sha256 == other.checkpoint_sha256 or _conditions(one) != _conditions(other):
        return None
    right = [_right(run.folder) for run in (first, second)]
    return None if right[0] is None or right[1] is None else paired_test(right[0], right[1])


def _conditions(result: DefendResult) -> tuple[object, ...]:
    """What two runs must share for a comparison of their images."""
    return result.data_sha256, result.images, result.norm, result.eps


def _right(folder: Path) -> Tensor | None:
    """Which images the defended network has right under the strongest attack, bool (N,)."""
    stored = sealed.read_tensors(folder / FILE)
    if stored is None:
        return None
    tensors, values = stored
    attacked = [name != "clean" for name in json.loads(values["defended"])]
    under_attack = tensors["defended"][torch.tensor(attacked)]
    return under_attack[int(under_attack.sum(1).argmin())]
