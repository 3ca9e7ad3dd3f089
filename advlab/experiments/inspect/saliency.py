"""``advlab inspect saliency``: saliency maps of an image before and after an attack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from advlab.components import class_number, load_component
from advlab.config.options.inspect import SaliencyOptions
from advlab.config.radii import eps_text, norm_name
from advlab.config.references import dataset_title
from advlab.experiments.inspect.report import ViewInput, write
from advlab.experiments.photo_report import listed
from advlab.inspection import saliency
from advlab.logs import logger
from advlab.networks import layers
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.victim import Victim
from advlab.plots.saliency import Explained
from advlab.plots.saliency import saliency as drawn_rows
from advlab.plots.style import save
from advlab.results.inspect import ClassName, ExplainedImage, MapCorrelations, SaliencyResult
from advlab.runs.machine import derive


def measure(at: ViewInput, options: SaliencyOptions) -> SaliencyResult:
    """Write the maps and draw them."""
    inspected = at.inspected
    name, layer = _layer(at, options.layer)
    attacked = _attacked(at, options) if options.eps > 0 else None
    tensors: dict[str, Tensor] = {}
    rows: list[Explained] = []
    explained: dict[str, ExplainedImage] = {}
    for key, images in (("clean", at.images), ("attacked", attacked)):
        if images is None:
            continue
        with torch.no_grad():
            logits = inspected.network(images).cpu()
        of = (
            int(logits.argmax())
            if options.explain is None
            else class_number(options.explain, inspected.classes, "--explain")
        )
        classes = torch.tensor([of], device=images.device)
        generator = torch.Generator().manual_seed(
            derive(options.seed, 3) % 2**63
        )  # the same noise for both images
        maps = {
            "gradient": saliency.gradient(inspected.network, images, classes),
            "smoothgrad": saliency.smoothgrad(
                inspected.network, images, classes, options.samples, options.spread, generator
            ),
        }
        if layer is not None:
            cam = saliency.grad_cam(inspected.network, layer, images, classes)
            maps["grad_cam"] = interpolate(
                cam[None], images.shape[2:], mode="bilinear", align_corners=False
            )[0]
        tensors |= {f"{key}_image": images[0].cpu().contiguous()}
        tensors |= {f"{key}_{what}": values[0].cpu().contiguous() for what, values in maps.items()}
        words = "image, unattacked" if key == "clean" else f"under {_attack(options)}"
        rows.append(_row(key, words, at.answer(logits), tensors, inspected.classes[of]))
        explained[key] = ExplainedImage(
            predictions=listed(logits, inspected.classes),
            explained=ClassName(number=of, name=inspected.classes[of]),
        )
    write(at.folder / "maps.safetensors", tensors)
    title = f"Saliency maps of {inspected.title} on {dataset_title(inspected.dataset)}: "
    title += "gradient, SmoothGrad"
    if layer is not None:
        title += f", Grad-CAM (layer {name})"
    if attacked is not None:
        title += f"; without attack and under {_attack(options)}"
    save(drawn_rows(rows, title, at.caption), at.folder / "saliency.png")
    before, after = explained["clean"], explained.get("attacked")
    return SaliencyResult(
        **at.common(),
        layer=name,
        norm=options.norm,
        eps=[options.eps] if options.eps > 0 else [],
        target=options.target,
        clean=before,
        attacked=after,
        fooled=None if after is None else _top(after) != _top(before),
        correlation=None if after is None else _correlations(tensors),
        checks_failed=_checks(tensors),
    )


def _layer(at: ViewInput, name: str | None) -> tuple[str | None, nn.Module | None]:
    """The layer for Grad-CAM and its name: the one of that name, or else the last convolution that
    the logits depend on; None where there is none."""
    body = at.inspected.body
    every = layers.every(body)
    if name is not None:
        return name, layers.layer(body, name, every, "layer")
    for last in layers.convolutions(body)[::-1]:
        layer = layers.layer(body, last, every, "layer")
        if saliency.depends_on(at.inspected.network, layer, at.images):
            return last, layer
    return None, None


def _checks(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """The checks of the maps that fail, a sentence by the name of each."""
    failed = {}
    maps = {key: values for key, values in tensors.items() if not key.endswith("_image")}
    broken = {key: int((~values.isfinite()).sum()) for key, values in maps.items()}
    if any(broken.values()):
        counts = ", ".join(
            f"{_words(key)} {count:,} of {maps[key].numel():,}"
            for key, count in broken.items()
            if count
        )
        failed["non-finite gradients"] = (
            f"entries of maps that are NaN or infinite, drawn as zero: {counts}"
        )
    # Grad-CAM is zero also where nothing speaks for the class.
    flat = [
        _words(key)
        for key, values in maps.items()
        if not key.endswith("grad_cam") and not bool(values.any())
    ]
    if flat:
        failed["zero gradients"] = (
            f"{', '.join(flat)}: zero everywhere; the class score does not change with the image, "
            "as where a softmax is sure"
        )
    return failed


def _words(key: str) -> str:
    """A map of ``maps.safetensors`` in words: ``gradient (attacked)``."""
    image, _, kind = key.partition("_")
    names = {"smoothgrad": "SmoothGrad", "grad_cam": "Grad-CAM"}
    return f"{names.get(kind, kind)} ({image})"


def report(result: SaliencyResult) -> None:
    """Print the predicted and the explained classes."""
    if result.layer is None:
        logger.info(
            "the network has no convolution, so there is no Grad-CAM of it; --layer names "
            "another layer that gives a map"
        )
    for key, image in (("clean", result.clean), ("attacked", result.attacked)):
        if image is not None:
            logger.info(f"{key}: {image.predictions[0].text()}, explained: {image.explained.name}")
    for check, sentence in result.checks_failed.items():
        logger.info(f"CHECK FAILED: {check}: {sentence}")


def _top(image: ExplainedImage) -> int:
    """The number of the likeliest class."""
    return image.predictions[0].number


def _attacked(at: ViewInput, options: SaliencyOptions) -> Tensor:
    """The image under PGD: away from what is predicted, or towards ``--target``."""
    classes, likeliest = at.inspected.classes, int(at.logits.argmax())
    number = (
        likeliest if options.target is None else class_number(options.target, classes, "--target")
    )
    pgd = load_component("advlab.attacks", "pgd", "attack")
    settings = pgd.Options(norm=options.norm, eps=[options.eps], steps=options.steps)
    goal = Goal(
        torch.tensor([number], device=at.images.device), targeted=options.target is not None
    )
    random = ImageRandom(derive(options.seed, 2), torch.tensor([0]))
    perturbed: Tensor = pgd.perturb(
        Victim(at.inspected.network, at.machine), at.images, goal, random, options.eps, settings
    )
    return perturbed.detach()


def _size(values: Tensor) -> Tensor:
    """A map (H, W) of sizes: over the channels the largest, as in the first paper on saliency
    (arXiv:1312.6034)."""
    return values.abs().amax(0) if values.ndim == 3 else values


def _correlations(tensors: Mapping[str, Tensor]) -> MapCorrelations:
    """Of each map of the image with that of the attacked one."""

    def of(kind: str) -> float | None:
        if f"clean_{kind}" not in tensors:
            return None
        return _correlation(_size(tensors[f"clean_{kind}"]), _size(tensors[f"attacked_{kind}"]))

    return MapCorrelations(
        gradient=of("gradient"),
        smoothgrad=of("smoothgrad"),
        grad_cam=of("grad_cam"),
    )


def _correlation(one: Tensor, other: Tensor) -> float | None:
    """Pearson's, of two maps; None where one of them is the same everywhere."""
    value = float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]).double())[0, 1])
    return value if value == value else None


def _attack(options: SaliencyOptions) -> str:
    """The attack with its radius and norm."""
    return f"PGD, ε = {eps_text(options.eps)} ({norm_name(options.norm)})"


def _row(
    key: str, words: str, classes: list[str], tensors: Mapping[str, Tensor], of: str
) -> Explained:
    def drawn(kind: str) -> Any:
        return _size(tensors[f"{key}_{kind}"].nan_to_num(0, 0, 0)).numpy()

    return Explained(
        tensors[f"{key}_image"].numpy(),
        words,
        classes,
        {"gradient": drawn("gradient"), "SmoothGrad": drawn("smoothgrad")},
        {"Grad-CAM": drawn("grad_cam")} if f"{key}_grad_cam" in tensors else {},
        of,
    )
