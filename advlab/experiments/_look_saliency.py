"""``advlab inspect saliency``: what an answer hangs on, for an image and for the same image attacked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from advlab import names
from advlab.experiments._look import Look, write
from advlab.experiments._photo_report import listed
from advlab.inspection import _layers, saliency
from advlab.names import class_number
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.victim import Victim
from advlab.plots.saliency import Explained
from advlab.plots.saliency import saliency as drawn_rows
from advlab.plots.style import save
from advlab.runs.machine import derive


def look(at: Look, options: saliency.Options) -> dict[str, Any]:
    """Write the maps, draw them, and say what they are of; what ``metrics.json`` says of it."""
    shown = at.shown
    last = next(iter(_layers.convolutions(shown.body)[::-1]), None)
    name = options.layer or last
    layer = None if name is None else _layers.layer(shown.body, name, _layers.every(shown.body), "layer")
    if layer is None:
        at.say("the network has no convolution, so there is no Grad-CAM of it; --layer names another layer that gives a map")
    attacked = _attacked(at, options) if options.eps > 0 else None
    tensors: dict[str, Tensor] = {}
    rows: list[Explained] = []
    said: dict[str, Any] = {}
    for key, images in (("clean", at.images), ("attacked", attacked)):
        if images is None:
            continue
        with torch.no_grad():
            logits = shown.network(images).cpu()
        of = int(logits.argmax()) if options.explain is None else class_number(options.explain, shown.classes, "--explain")
        classes = torch.tensor([of], device=images.device)
        generator = torch.Generator().manual_seed(derive(options.seed, 3) % 2**63)  # the same noise for both images
        found = {
            "gradient": saliency.gradient(shown.network, images, classes),
            "smoothgrad": saliency.smoothgrad(shown.network, images, classes, options.samples, options.spread, generator),
        }
        if layer is not None:
            cam = saliency.grad_cam(shown.network, layer, images, classes)
            found["grad_cam"] = interpolate(cam[None], images.shape[2:], mode="bilinear", align_corners=False)[0]
        tensors |= {f"{key}_image": images[0].cpu().contiguous()}
        tensors |= {f"{key}_{what}": values[0].cpu().contiguous() for what, values in found.items()}
        rows.append(_row(key, at.said(logits), tensors, shown.classes[of]))
        said[key] = {"prediction": listed(logits, shown.classes), "explained": {"class": of, "name": shown.classes[of]}}
    write(at.folder / "maps.safetensors", tensors)
    result: dict[str, Any] = {"layer": name, **said}
    for key, entry in said.items():
        top = entry["prediction"][0]
        at.say(f"{key}: {top['name']} ({100 * top['probability']:.1f} %), explained: {entry['explained']['name']}")
    if attacked is not None:
        result["fooled"] = said["clean"]["prediction"][0]["class"] != said["attacked"]["prediction"][0]["class"]
        kinds = [key.removeprefix("clean_") for key in tensors if key.startswith("clean_") and key != "clean_image"]
        result["correlation"] = {kind: _correlation(_size(tensors[f"clean_{kind}"]), _size(tensors[f"attacked_{kind}"])) for kind in kinds}
    where = f", Grad-CAM at layer {name}" if layer is not None else ""
    what = f"PGD, ε = {options.eps:g} ({options.norm})" if attacked is not None else "no attack"
    title = f"{shown.label}: what its answer hangs on{where}; {what}"
    save(drawn_rows(rows, title, at.caption), at.folder / "saliency.png")
    return result


def _attacked(at: Look, options: saliency.Options) -> Tensor:
    """The image under PGD: away from what is predicted, or towards ``--target``."""
    classes, said = at.shown.classes, int(at.logits.argmax())
    wanted = said if options.target is None else class_number(options.target, classes, "--target")
    pgd = names.load("advlab.attacks", "pgd", "attack")
    settings = pgd.Options(norm=options.norm, eps=[options.eps], steps=options.steps)
    goal = Goal(torch.tensor([wanted], device=at.images.device), targeted=options.target is not None)
    random = ImageRandom(derive(options.seed, 2), torch.tensor([0]))
    perturbed: Tensor = pgd.perturb(Victim(at.shown.network, at.machine), at.images, goal, random, options.eps, settings)
    return perturbed.detach()


def _size(values: Tensor) -> Tensor:
    """A map (H, W) of sizes: over the channels the largest, as in the first paper on saliency (arXiv:1312.6034)."""
    return values.abs().amax(0) if values.ndim == 3 else values


def _correlation(one: Tensor, other: Tensor) -> float | None:
    """Pearson's, of two maps; None where one of them is the same everywhere."""
    value = float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]).double())[0, 1])
    return value if value == value else None


def _row(key: str, said: str, tensors: Mapping[str, Tensor], of: str) -> Explained:
    def drawn(kind: str) -> Any:
        return _size(tensors[f"{key}_{kind}"]).numpy()

    return Explained(
        tensors[f"{key}_image"].numpy(),
        f"{key}\nsaid to be {said}",
        {"gradient": drawn("gradient"), "SmoothGrad": drawn("smoothgrad")},
        {"Grad-CAM": drawn("grad_cam")} if f"{key}_grad_cam" in tensors else {},
        of,
    )
