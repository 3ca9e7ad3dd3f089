"""Anti-backdoor learning: isolate the training images that are learned first, and unlearn them.

Li et al. 2021, arXiv:2110.11571. Training starts anew, on the poisoned training set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advlab.poisoning.backdoored import BackdooredNetwork, Repaired

_EARLY = 5  # a training of so many epochs isolates after one
_SLOWER = 100  # the learning rate of unlearning is that of the training over this


def repair(backdoored: BackdooredNetwork) -> Repaired:
    """A network trained with local gradient ascent, which holds the loss of clean images up; then
    on all images but the isolated ones, those of smallest loss; and then with gradient ascent on
    the isolated ones. No clean images are needed.

    A fifth of the epochs of a training go to the first part and the others to the second; the third
    takes as many as a repair.
    """
    from advlab.poisoning.backdoored import Repaired
    from advlab.poisoning.unlearning import GlobalAscent, LocalAscent, isolated_rows

    train, epochs = backdoored.train, backdoored.options.epochs
    assert epochs is not None
    early = max(1, round(epochs / _EARLY))
    learned = backdoored.retrained(backdoored.fresh(), train, early, 0, LocalAscent())
    isolated, remaining = isolated_rows(
        backdoored.logits(learned, train), train.labels, backdoored.settings.isolated_fraction
    )
    others = train.select(remaining)
    tuned = backdoored.retrained(learned, others, max(1, epochs - early), 1)
    unlearn = GlobalAscent(train.select(isolated), backdoored.options.label_smoothing)
    network = backdoored.retrained(
        tuned, others, backdoored.settings.epochs, 2, unlearn, slower=_SLOWER
    )
    return Repaired(network, f"{len(isolated)} training images isolated", isolated=isolated)
