"""Training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from advlab.plots.style import COLOURS, GREY, axes, drawing, figure, log_scale

_RUNNING = "training: averages over each epoch, while the network changes"


@drawing
def curves(
    history: Sequence[Mapping[str, float]],
    best_epoch: int,
    title: str,
    caption: str,
    smoothed: bool,
    weighted: bool = False,
    objective: str = "",
) -> Figure:
    """Loss and accuracy on training and validation data by epoch, the kept epoch marked.

    A training loss that is another than the validation loss has a panel of its own, and so has a
    certified radius.

    Args:
        history: the lines of ``history.jsonl``: epoch, loss, accuracy, val_loss, val_accuracy, and
            where robustness was watched, val_fgsm_accuracy and val_robust_accuracy,
            val_verified_accuracy, or val_mean_radius.
        smoothed: whether the training loss was taken with smoothed labels; the validation loss
            never is.
        weighted: whether the training loss was taken with weighted classes; the validation loss
            never is.
        objective: what the training loss is, where it is not the cross-entropy of the validation
            loss, such as that of a defence. The training accuracy is then of the images as they
            were trained on, perturbed for example.
    """
    radius = "val_mean_radius" in history[0]
    count = 2 + bool(objective) + radius
    width = 4.5 * count if count < 3 else 4 * count
    drawn = figure(width, 4.2, title, caption, _RUNNING)
    panels = list(axes(drawn, 1, count)[0])
    losses, accuracy = panels[: 1 + bool(objective)], panels[1 + bool(objective)]
    epochs = [record["epoch"] for record in history]
    marker = "o" if len(epochs) <= 30 else None
    notes = ["smoothed labels"] * smoothed + ["weighted classes"] * weighted
    note = f" ({', '.join(notes)})" if notes else ""
    training, validation = ("", COLOURS[0], "-"), ("val_", COLOURS[1], "--")
    drawn_losses = [[training], [validation]] if objective else [[training, validation]]
    of_panel = [*drawn_losses, [training, validation], [validation]]
    for panel, lines in zip(panels, of_panel, strict=False):
        key, factor = ("accuracy", 100) if panel is accuracy else ("loss", 1)
        if panel not in (*losses, accuracy):
            key = "mean_radius"
        for prefix, colour, dash in lines:
            name = "validation" if prefix else "training" + note * (key == "loss")
            if objective and not prefix and panel is accuracy:
                name = "training, as transformed"
            values = [factor * record[prefix + key] for record in history]
            panel.plot(epochs, values, dash, color=colour, marker=marker, label=name)
        if key == "accuracy":
            for name, under, colour, dash in (
                ("FGSM", "val_fgsm_accuracy", COLOURS[2], "-."),
                ("PGD", "val_robust_accuracy", COLOURS[3], ":"),
                ("verified", "val_verified_accuracy", COLOURS[3], ":"),
            ):
                if under in history[0]:
                    values = [100 * record[under] for record in history]
                    panel.plot(
                        epochs,
                        values,
                        dash,
                        color=colour,
                        marker=marker,
                        label=f"validation, {name}",
                    )
        chosen_by = "on validation"
        if "val_robust_accuracy" in history[0]:
            chosen_by = "under PGD"
        elif "val_verified_accuracy" in history[0]:
            chosen_by = "verified"
        elif radius:
            chosen_by = "average radius"
        label = f"epoch {best_epoch}, best {chosen_by}"
        panel.axvline(best_epoch, color=GREY, linewidth=1, linestyle=":", label=label)
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.legend(loc="lower center", bbox_to_anchor=(0.5, 0.99), ncols=2, fontsize=8.5)
    for panel, words in zip(losses, (objective or "loss", "cross-entropy"), strict=False):
        panel.set_ylabel(words)
        log_scale(panel)
    accuracy.set_ylabel("accuracy (%)")
    if radius:
        panels[-1].set_ylabel("estimated average L2 radius")
    return drawn
