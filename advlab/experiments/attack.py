"""``advlab attack METHOD``: find the victim, perturb, measure, draw, write."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from advlab import names
from advlab.config.commands import AttackOptions
from advlab.config.resolve import Config, Plan
from advlab.datasets._set import Images, ImageSet
from advlab.errors import UserError
from advlab.experiments import _photo
from advlab.experiments._attack_pictures import draw
from advlab.experiments._grid import run_plan
from advlab.experiments._victim import Subject, check_fits, data_for, image_number, is_pretrained, load_subject, norm_of, trained
from advlab.metrics import perturbation as visible
from advlab.metrics.classification import is_correct
from advlab.perturbation.geometry import check_radius
from advlab.perturbation.sweep import Point, Tasks, judge, sweep
from advlab.perturbation.victim import Victim
from advlab.runs.files import write_atomically
from advlab.runs.folder import RunFolder
from advlab.runs.machine import prepare
from advlab.runs.table import counted, percent, table


def main(plan: Plan) -> int:
    """Run every cell of the plan; exit status 0 where all of them finished."""
    return run_plan(plan, run, headline="robust_accuracy")


def run(config: Config, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Attack one network, unless the run is there already.

    Returns:
        The run's metrics, with its folder under ``folder``.
    """
    options = config.options
    assert isinstance(options, AttackOptions)
    check_radius(norm_of(options), max(options.eps), getattr(options, "step_size", None))
    if is_pretrained(options):
        return _photo.run(config, say)
    given = None if options.checkpoint is None else load_subject(options.checkpoint, "--checkpoint")
    surrogate = None if options.surrogate is None else load_subject(options.surrogate, "--surrogate")
    data = data_for(options, given)
    if surrogate is not None:
        check_fits(surrogate, data)
    tasks_of(options, data)  # an image or class that does not exist is refused before anything is made, a victim above all
    say(data.introduction())
    subject = given or trained(options, data, say)
    place = subject.file.parent if subject.file.name == "model.safetensors" else subject.file
    config = config.changed(dataset=data.name, checkpoint=str(place), model=subject.card.model)
    folder = RunFolder(config)
    folder.check_unchanged()
    if folder.finished and not options.overwrite:
        metrics = folder.metrics()
        if metrics["victim"]["sha256"] != subject.describe()["sha256"]:
            raise UserError(f"{folder.path} attacked an earlier network at {place}; --overwrite attacks the one there now")
        say(f"{folder.path} is finished already (--overwrite runs it again)")
        _report(metrics, folder.path, say)
        return {**metrics, "folder": str(folder.path)}
    with folder.claim():
        # Finished now, it was by another process while this one was getting here.
        metrics = folder.metrics() if folder.finished else _attack(config, subject, surrogate, data, folder, say)
    return {**metrics, "folder": str(folder.path)}


def tasks_of(options: AttackOptions, data: ImageSet) -> tuple[Images, str | int | None]:
    """The images that are meant, and the target: None, a class's number, ``each``, ``next`` or ``least-likely``.

    Raises:
        UserError: there is no image of that number, no class of that name, or nothing to be pushed to that class.
    """
    total = len(data.test)
    if options.image is not None:
        chosen = torch.tensor([image_number(options.image, data)])
    else:
        chosen = torch.arange(min(options.limit or total, total))
    images, target = data.test.select(chosen), _target(options.target, data)
    if isinstance(target, int) and bool((images.labels == target).all()):
        raise UserError(f"--target {options.target}: every image chosen is of that class already")
    return images, target


def _target(typed: str | None, data: ImageSet) -> str | int | None:
    """A class by its name or, where no name is so, by its number; the three words stay what they are."""
    if typed is None or typed in ("each", "next", "least-likely"):
        return typed
    return names.class_number(typed, data.classes, "--target", also=("each", "next", "least-likely"), of=f" of {data.name}")


def _tasks(images: Images, target: str | int | None, clean: Tensor) -> Tasks:
    """Pairs of image and goal. An image whose true class is the target is not a task: it is there already."""
    index, labels, classes = torch.arange(len(images)), images.labels, clean.shape[1]
    if target is None:
        return Tasks(images, index, labels, targeted=False)
    if target == "each":
        pairs = torch.cartesian_prod(index, torch.arange(classes))
        pairs = pairs[labels[pairs[:, 0]] != pairs[:, 1]]
        return Tasks(images, pairs[:, 0].contiguous(), pairs[:, 1].contiguous(), targeted=True)
    if target == "next":
        wanted = (labels + 1) % classes
    elif target == "least-likely":
        wanted = clean.scatter(1, labels[:, None], torch.inf).argmin(dim=1)
    else:
        wanted = torch.full_like(labels, int(target))
    keep = wanted != labels
    return Tasks(images, index[keep], wanted[keep], targeted=True)


def _attack(
    config: Config, subject: Subject, surrogate: Subject | None, data: ImageSet, folder: RunFolder, say: Callable[[str], None]
) -> dict[str, Any]:
    options = config.options
    assert isinstance(options, AttackOptions)
    started = time.perf_counter()
    machine = prepare(options)
    victim = Victim(subject.network, machine)
    source = None if surrogate is None else Victim(surrogate.network, machine)
    images, target = tasks_of(options, data)
    clean_logits = judge(victim, images.inputs(slice(None), "cpu"))
    tasks = _tasks(images, target, clean_logits)
    what = f"{len(tasks):,} pairs of image and target" if target == "each" else counted(len(tasks), "image")
    made = f", made on {surrogate.label}" if surrogate is not None else ""
    say(f"{config.component} on {subject.label}, {what} of {data.name}{made}, gradients in {machine.precision} on {machine.device}")

    def stored(eps: float) -> tuple[Tensor, float] | None:
        file = folder.path / images_file(eps)
        if not file.is_file():
            return None
        content = load_file(file)
        return content["perturbed"], float(content["seconds"])

    attack = names.load("advlab.attacks", config.component, "attack").perturb
    curve, points = [], []
    first = tasks.clean(torch.arange(len(tasks)), torch.device("cpu"))
    for point in sweep(attack, victim, tasks, options, surrogate=source, stored=stored):
        _save_images(folder.path, point, tasks)
        curve.append(_measure(point, tasks, first, clean_logits))
        points.append(point)
    norm = norm_of(options)
    eps = [point.eps for point in points]
    metrics = {
        "command": "attack",
        "attack": config.component,
        "dataset": data.name,
        "origin": data.origin,
        "norm": norm,
        "eps": eps[0] if len(eps) == 1 else eps,
        "target": options.target,
        "clean_accuracy": int(is_correct(clean_logits, images.labels).sum()) / len(images),
        "robust_accuracy": curve[-1]["robust_accuracy"],
        "success_rate": curve[-1]["success_rate"],
        "curve": curve,
        "images": len(images),
        "classes": len(data.classes),
        "tasks": len(tasks),
        "seed": options.seed,
        "victim": subject.describe(),
        "surrogate": None if surrogate is None else surrogate.describe(),
        "data_sha256": data.sha256(),
        "seconds": round(sum(point.seconds for point in points), 3),
        "total_seconds": round(time.perf_counter() - started, 3),
        "machine": machine.describe(),
    }
    draw(folder.path, metrics, points, tasks, first, clean_logits, data.classes, options.image)
    folder.finish(metrics)
    _report(metrics, folder.path, say)
    return metrics


def images_file(eps: float) -> str:
    """Name of the file that holds the perturbed images of an eps."""
    return f"images-eps{eps:g}.safetensors"


def _save_images(folder: Path, point: Point, tasks: Tasks) -> None:
    content = to_bytes(
        {
            "perturbed": point.perturbed,
            "index": tasks.index,
            "labels": tasks.images.labels[tasks.index],
            "goal": tasks.classes,
            "predicted": point.logits.argmax(1),
            "seconds": torch.tensor(point.seconds, dtype=torch.float64),
        }
    )
    write_atomically(folder / images_file(point.eps), lambda file: file.write(content))


def _measure(point: Point, tasks: Tasks, clean: Tensor, clean_logits: Tensor) -> dict[str, Any]:
    """The figures of one eps. Sizes and visibility are over the images that were changed."""
    labels = tasks.images.labels
    right = is_correct(point.logits, labels[tasks.index])
    # With several targets an image is robust when it withstood all of them; one that is no task keeps its clean answer.
    robust = is_correct(clean_logits, labels)
    robust[tasks.index[~right]] = False
    was_right = is_correct(clean_logits, labels)[tasks.index]
    eligible = torch.ones_like(was_right) if tasks.targeted else was_right
    result: dict[str, Any] = {
        "eps": point.eps,
        "robust_accuracy": int(robust.sum()) / len(labels),
        "success_rate": int((point.reached & eligible).sum()) / max(1, int(eligible.sum())),
    }
    sizes = visible.norms(point.perturbed, clean)
    changed = sizes["linf"] > 0
    result["changed"] = int(changed.sum())
    if result["changed"]:
        for name, size in sizes.items():
            result[f"{name}_mean"], result[f"{name}_max"] = float(size[changed].mean()), float(size.max())
        result["psnr_mean"] = float(visible.psnr(point.perturbed[changed], clean[changed]).mean())
        if min(clean.shape[2:]) >= 11:
            parts = zip(point.perturbed[changed].split(1000), clean[changed].split(1000), strict=True)
            result["ssim_mean"] = float(torch.cat([visible.ssim(*part) for part in parts]).mean())
    result["attacked"] = point.attacked
    result["seconds"] = round(point.seconds, 4)
    result["images_per_second"] = round(point.attacked / point.seconds, 1) if point.attacked and point.seconds > 0 else None
    return result


def _report(metrics: dict[str, Any], folder: Path, say: Callable[[str], None]) -> None:
    rows = []
    for point in metrics["curve"]:
        sizes = [f"{point[key]:.3g}" if key in point else "–" for key in ("linf_max", "l2_mean", "l1_mean", "psnr_mean", "ssim_mean")]
        speed = f"{point['images_per_second']:.0f}" if point["images_per_second"] else "–"
        rows.append([f"{point['eps']:g}", percent(point["robust_accuracy"]), percent(point["success_rate"]), *sizes, speed])
    say(f"clean accuracy {percent(metrics['clean_accuracy'])} on {counted(metrics['images'], 'image')} of {metrics['dataset']}")
    say(
        table([f"ε ({metrics['norm']})", "robust accuracy", "success", "max L∞", "mean L2", "mean L1", "PSNR dB", "SSIM", "images/s"], rows)
    )
    pictures = ", ".join(sorted(path.name for path in folder.glob("*.png")))
    say(f"in {folder}: metrics.json, config.yaml, the images (images-eps*.safetensors), {pictures}")
