"""Fine-pruning: remove units that are idle on clean images, then train on clean images.

Liu, Dolan-Gavitt & Garg 2018, arXiv:1805.12185.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advlab.poisoning.backdoored import BackdooredNetwork, Repaired

NEEDS = "convolution"
_ROUNDS = 64  # at most so many accuracies are measured on the way


def repair(backdoored: BackdooredNetwork) -> Repaired:
    """Prune the units of the last convolution in the order of their mean activation on the clean
    images, the least active first, as long as the accuracy on these images falls by no more than
    the limit; then train on the clean images. Pruned units stay pruned."""
    from advlab.poisoning.backdoored import Repaired
    from advlab.poisoning.pruning import mean_activations, prunable, pruned

    network, clean = backdoored.network, backdoored.clean
    name = prunable(network, clean.inputs(slice(0, 1), backdoored.machine.device))
    activations = mean_activations(network, name, clean, backdoored.machine)
    order = activations.argsort(stable=True)
    least = backdoored.clean_accuracy(network) - backdoored.settings.prune_limit
    units, count = len(order), 0
    step = max(1, units // _ROUNDS)
    for more in range(step, units, step):
        if backdoored.clean_accuracy(pruned(network, name, order[:more], units)) < least:
            break
        count = more
    tuned = backdoored.retrained(
        pruned(network, name, order[:count], units), clean, backdoored.settings.epochs, 0
    )
    return Repaired(
        tuned,
        f"{count} of {units} units pruned",
        clean_images=len(clean),
        pruned_units=count,
        units=units,
    )
