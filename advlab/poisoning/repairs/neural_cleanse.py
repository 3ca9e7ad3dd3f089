"""Neural Cleanse: look for a class with an abnormally small trigger, and unlearn that trigger.

Wang et al. 2019, "Neural Cleanse: Identifying and Mitigating Backdoor Attacks in Neural Networks",
IEEE Symposium on Security and Privacy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advlab.poisoning.backdoored import BackdooredNetwork, Repaired

_TRIGGERED = 0.2  # fraction of the clean images that get the trigger and keep their labels
_MOST_IMAGES = 64  # at each step of the search for a trigger


NEEDS = "three classes"


def repair(backdoored: BackdooredNetwork) -> Repaired:
    """Recover a trigger for every class from clean images of the others. Where the smallest is an
    outlier, train on the clean images with that trigger in a fifth of them and with true labels.

    A network in which no class is flagged is left as it is.
    """
    from advlab.poisoning.backdoored import Repaired, with_trigger
    from advlab.poisoning.recovery import recovered_triggers
    from advlab.runs.machine import derive

    triggers = recovered_triggers(
        backdoored.network,
        backdoored.clean,
        len(backdoored.classes),
        backdoored.machine.device,
        _MOST_IMAGES,
        derive(backdoored.seed, 0),
    )
    flagged = [number for number, trigger in enumerate(triggers) if trigger.flagged]
    clean = len(backdoored.clean)
    if not flagged:
        finding = "no class flagged, network unchanged"
        return Repaired(backdoored.network, finding, clean, triggers=triggers)
    target = min(flagged, key=lambda number: triggers[number].norm)
    images, _ = with_trigger(
        backdoored.clean, triggers[target], _TRIGGERED, derive(backdoored.seed, 1)
    )
    unlearned = backdoored.retrained(backdoored.network, images, backdoored.settings.epochs, 2)
    index = triggers[target].anomaly_index
    finding = f"class {backdoored.classes[target]} flagged, anomaly index {index:.2f}"
    return Repaired(unlearned, finding, clean, triggers=triggers)
