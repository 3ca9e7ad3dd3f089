"""``advlab inspect``: predictions, filters or saliency maps for one image."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from advlab.components import class_number
from advlab.config.options.inspect import (
    FiltersOptions,
    InspectOptions,
    PredictOptions,
    SaliencyOptions,
)
from advlab.config.resolve import Config, Plan
from advlab.errors import UsageError
from advlab.evaluation.checks import log_failed, unsteady
from advlab.experiments.inspect import saliency
from advlab.experiments.inspect.inputs import InspectedImage, load
from advlab.experiments.inspect.report import ViewInput, write
from advlab.experiments.places import check_places
from advlab.inspection import filters
from advlab.logs import logger
from advlab.networks import layers
from advlab.perturbation.geometry import check_radius
from advlab.perturbation.victim import Victim
from advlab.plots import filters as sheets
from advlab.plots.photo import predicted
from advlab.plots.style import save
from advlab.results.inspect import FiltersResult, PredictionsResult, SaliencyResult
from advlab.runs.folder import automatic_name
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.machine import prepare
from advlab.runs.results import Finished
from advlab.runs.table import table

R = TypeVar("R", PredictionsResult, FiltersResult, SaliencyResult)
Inspected = Finished[PredictionsResult] | Finished[FiltersResult] | Finished[SaliencyResult]


def main(plan: Plan) -> int:
    """Look at every cell of the plan; exit status 0, since what fails is raised."""
    check_places(plan.cells)
    for cell in plan.cells:
        run(cell)
    return 0


def run(config: Config) -> Inspected:
    """Look at one network and one image, unless that was done already.

    Raises:
        UsageError: there is no such network, image, class or layer.
    """
    options: InspectOptions = config.options
    if isinstance(options, SaliencyOptions):
        check_radius(options.norm, options.eps)
    inspected = load(
        options, lambda body, classes: _check(body, classes, config.component, options)
    )
    _check(inspected.body, inspected.classes, config.component, options)
    if inspected.introduction:
        logger.info(inspected.introduction)
    logger.info(f"image: {inspected.origin}")
    config = inspected.target.settled(config)
    if inspected.dataset != "photo":
        config = config.changed(dataset=inspected.dataset)
    if config.component == "filters":
        return _carried_out(_FILTERS, config, inspected)
    if config.component == "saliency":
        return _carried_out(_SALIENCY, config, inspected)
    return _carried_out(_PREDICTIONS, config, inspected)


@dataclass(frozen=True)
class _Way(Generic[R]):
    """One view: its result class, the function that computes it and the one that prints it."""

    result: type[R]
    measure: Callable[[ViewInput, Any], R]
    report: Callable[[R], None]


def _carried_out(way: _Way[R], config: Config, inspected: InspectedImage) -> Finished[R]:
    def report(result: R) -> None:
        way.report(result)
        log_failed(result.checks_failed)

    experiment = Experiment(
        config=config,
        contents={"data": inspected.data_sha256, **inspected.target.contents},
        result=way.result,
        measure=lambda folder: _measure(way, config, inspected, folder),
        report=report,
        name=automatic_name(config).replace("-auto", "", 1),
    )
    return carry_out(experiment)


def _measure(way: _Way[R], config: Config, inspected: InspectedImage, folder: Path) -> R:
    options: InspectOptions = config.options
    started = time.perf_counter()
    # One image: nothing is to be gained from anything shorter than float32.
    machine = prepare(options, "fp32")
    inspected.network.requires_grad_(False).to(machine.device)
    images = inspected.images.to(machine.device)
    with torch.no_grad():
        logits = inspected.network(images).cpu()
    if not bool(logits.isfinite().all()):
        raise UsageError(f"{inspected.label}: its answers are not finite; are its weights damaged?")
    target = getattr(options, "target", None)
    if target is not None:
        likeliest = int(logits.argmax())
        if class_number(target, inspected.classes, "--target") == likeliest:
            name = inspected.classes[likeliest]
            raise UsageError(f"--target {target}: the network takes the image for {name} already")
    view = ViewInput(
        component=config.component,
        inspected=inspected,
        images=images,
        logits=logits,
        machine=machine,
        image=options.image,
        seed=options.seed,
        folder=folder,
    )
    result = way.measure(view, options)
    failed = unsteady(Victim(inspected.network, machine), images, attacked=False)
    return result.model_copy(
        update={
            "checks_failed": {**failed, **result.checks_failed},
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


def _check(
    body: nn.Module, classes: Sequence[str], component: str, options: InspectOptions
) -> None:
    """Refuse classes and layers that do not exist before anything is made."""
    values = options.model_dump()
    for option in ("explain", "target"):
        if values.get(option) is not None:
            class_number(values[option], classes, f"--{option}")
    layer = values.get("layer")
    if component == "filters":
        filters.chosen(body, layer)
    elif layer is not None:
        layers.layer(body, layer, layers.every(body), "layer")


def _predict(view: ViewInput, options: PredictOptions) -> PredictionsResult:
    result = PredictionsResult(**view.common(options.top))
    truth = f"; true class {result.truth}" if result.truth else ""
    title = f"{view.inspected.title} predicts {result.predictions[0].text()}{truth}"
    bars = [(entry.name, entry.probability) for entry in result.predictions]
    drawn = predicted(view.inspected.images[0].numpy(), bars, title, view.caption)
    save(drawn, view.folder / "prediction.png")
    return result


def _report_predictions(result: PredictionsResult) -> None:
    rows = [[entry.name, f"{100 * entry.probability:.2f} %"] for entry in result.predictions]
    logger.info(table(["class", "probability"], rows))


def _filters(view: ViewInput, options: FiltersOptions) -> FiltersResult:
    inspected = view.inspected
    layer, weights, responses = filters.weights_and_responses(
        inspected.network, inspected.body, view.images, options.layer
    )
    weights, responses = weights.cpu(), responses[0].cpu()
    write(view.folder / "filters.safetensors", {"weights": weights, "responses": responses})
    count, inputs, height, width = weights.shape
    result = FiltersResult(
        **view.common(),
        layer=layer,
        weight_shape=(count, inputs, height, width),
        response_shape=(len(responses), responses.shape[1], responses.shape[2]),
        drawn=min(options.count, count),
        weight_norms=torch.linalg.vector_norm(weights.double().flatten(1), dim=1).tolist(),
        response_means=responses.double().mean((1, 2)).tolist(),
        response_largest=responses.double().abs().amax((1, 2)).tolist(),
    )
    title = f"Convolution filters of {inspected.title}, layer {layer}: {_which(result)}"
    drawn = sheets.weights(weights[: result.drawn].numpy(), title, view.caption)
    save(drawn, view.folder / "filters.png")
    title = f"Responses of {inspected.title}, layer {layer}, to the image; "
    title += ", ".join(view.answer(view.logits))
    drawn = sheets.responses(responses[: result.drawn].numpy(), title, view.caption)
    save(drawn, view.folder / "responses.png")
    return result


def _which(result: FiltersResult) -> str:
    count, inputs, height, width = result.weight_shape
    some = f", the first {result.drawn} drawn" if result.drawn < count else ""
    return f"{count} filters of {inputs} × {height} × {width}{some}"


def _report_filters(result: FiltersResult) -> None:
    _, height, width = result.response_shape
    responses = f"responses of {height} × {width}"
    logger.info(
        f"{result.predictions[0].text()}; layer {result.layer}: {_which(result)}, {responses}"
    )


_PREDICTIONS = _Way(PredictionsResult, _predict, _report_predictions)
_FILTERS = _Way(FiltersResult, _filters, _report_filters)
_SALIENCY = _Way(SaliencyResult, saliency.measure, saliency.report)
