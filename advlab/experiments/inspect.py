"""``advlab inspect LOOK``: a network and one image; what it says, what its filters see, what its answer hangs on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from advlab.config.inspect import InspectOptions
from advlab.config.resolve import Config, Plan
from advlab.errors import UserError
from advlab.experiments import _look_saliency
from advlab.experiments._look import Look, Say, write
from advlab.experiments._photo_report import listed, ranking
from advlab.experiments._shown import Shown, load
from advlab.inspection import _layers, filters
from advlab.inspection import saliency as maps
from advlab.names import class_number
from advlab.perturbation.geometry import check_radius
from advlab.plots import filters as sheets
from advlab.plots.photo import predicted
from advlab.plots.style import save
from advlab.runs.folder import RunFolder, automatic_name
from advlab.runs.machine import prepare
from advlab.runs.table import table


def main(plan: Plan) -> int:
    """Look at every cell of the plan; exit status 0, since what fails is raised."""
    for cell in plan.cells:
        run(cell)
    return 0


def run(config: Config, say: Say = print) -> dict[str, Any]:
    """Look at one network and one image, unless that was done already.

    Returns:
        The run's metrics, with its folder under ``folder``.
    """
    options: InspectOptions = config.options
    if isinstance(options, maps.Options):
        check_radius(options.norm, options.eps)
    shown = load(options, say, lambda body, classes: _check(body, classes, config.component, options))
    say(f"image: {shown.origin}")
    if shown.place is not None:
        config = config.changed(checkpoint=str(shown.place), model=shown.victim["model"], **_set_of(shown))
    folder = RunFolder(config, automatic_name(config).replace("-auto", "", 1))
    folder.check_unchanged()
    if folder.finished and not options.overwrite:
        metrics = folder.metrics()
        if (metrics["victim"]["sha256"], metrics["data_sha256"]) != (shown.victim["sha256"], shown.data_sha256):
            raise UserError(f"{folder.path} shows another network or image of these names; --overwrite looks at those there now")
        say(f"{folder.path} is finished already (--overwrite looks again)")
        return {**metrics, "folder": str(folder.path)}
    started = time.perf_counter()
    machine = prepare(options.model_copy(update={"precision": "fp32"}))  # one image: there is nothing to be saved
    shown.network.requires_grad_(False).to(machine.device)
    images = shown.images.to(machine.device)
    with torch.no_grad():
        logits = shown.network(images).cpu()
    if not bool(logits.isfinite().all()):
        raise UserError(f"{shown.label}: its answers are not finite; are its weights damaged?")
    _check(shown.body, shown.classes, config.component, options)
    _check_target(shown, int(logits.argmax()), options)
    with folder.claim():
        look = Look(shown, images, logits, machine, folder.path, f"{shown.origin} · seed {options.seed}", say)
        metrics = {
            "command": "inspect",
            "look": config.component,
            "dataset": shown.dataset,
            "origin": shown.origin,
            "image": options.image,
            "truth": shown.truth,
            "prediction": listed(logits, shown.classes, getattr(options, "top", 5)),
            **_LOOKS[config.component](look, options),
            "classes": len(shown.classes),
            "seed": options.seed,
            "victim": shown.victim,
            "data_sha256": shown.data_sha256,
            "seconds": round(time.perf_counter() - started, 3),
            "machine": machine.describe(),
        }
        folder.finish(metrics)
    say(f"in {folder.path}: {', '.join(sorted(path.name for path in folder.path.iterdir() if path.is_file() and path.name[0] != '.'))}")
    return {**metrics, "folder": str(folder.path)}


def _set_of(shown: Shown) -> dict[str, str]:
    return {} if shown.dataset == "photo" else {"dataset": shown.dataset}


def _check(body: nn.Module, classes: Sequence[str], component: str, options: Any) -> None:
    """Refuse classes and layers that do not exist before anything is made."""
    values = options.model_dump()
    for option in ("explain", "target"):
        if values.get(option) is not None:
            class_number(values[option], classes, f"--{option}")
    if component == "filters":
        filters.chosen(body, options.layer)
    elif values.get("layer") is not None:
        _layers.layer(body, options.layer, _layers.every(body), "layer")


def _check_target(shown: Shown, said: int, options: Any) -> None:
    """Refuse a target that the network takes the image for already."""
    target = options.model_dump().get("target")
    if target is not None and class_number(target, shown.classes, "--target") == said:
        raise UserError(f"--target {target}: the network takes the image for {shown.classes[said]} already")


def _predict(look: Look, options: Any) -> dict[str, Any]:
    shown = look.shown
    found = ranking(look.logits, shown.classes, options.top)
    look.say(table(["class", "probability"], [[name, f"{100 * share:.2f} %"] for name, share in found]))
    truth = f", in truth {shown.truth}" if shown.truth else ""
    title = f"{shown.label}: {look.said(look.logits)}{truth}"
    save(predicted(shown.images[0].numpy(), found, title, look.caption), look.folder / "prediction.png")
    return {}


def _filters(look: Look, options: Any) -> dict[str, Any]:
    shown = look.shown
    layer, weights, responses = filters.look(shown.network, shown.body, look.images, options)
    weights, responses = weights.cpu(), responses[0].cpu()
    write(look.folder / "filters.safetensors", {"weights": weights, "responses": responses})
    count = min(options.count, len(weights))
    inputs, height, width = weights.shape[1:]
    which = f"{len(weights)} filters of {inputs} × {height} × {width}" + (f", the first {count} drawn" if count < len(weights) else "")
    look.say(f"{look.said(look.logits)}; layer {layer}: {which}, responses of {responses.shape[1]} × {responses.shape[2]}")
    title = f"{shown.label}, layer {layer}: {which}"
    save(sheets.weights(weights[:count].numpy(), title, look.caption), look.folder / "filters.png")
    title = f"{shown.label}, layer {layer}: responses to the image"
    save(sheets.responses(responses[:count].numpy(), title, look.caption), look.folder / "responses.png")
    return {
        "layer": layer,
        "filters": list(weights.shape),
        "responses": list(responses.shape),
        "weight_norms": torch.linalg.vector_norm(weights.double().flatten(1), dim=1).tolist(),
        "response_means": responses.double().mean((1, 2)).tolist(),
        "response_largest": responses.double().abs().amax((1, 2)).tolist(),
    }


_LOOKS: dict[str, Callable[[Look, Any], dict[str, Any]]] = {"predict": _predict, "filters": _filters, "saliency": _look_saliency.look}
