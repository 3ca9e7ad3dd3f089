"""``advlab gan sample``, ``interpolate`` and ``latent``: from a generator's file, without the data that it was trained on."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from advlab import names
from advlab.config.gan import GeneratorOptions
from advlab.config.resolve import Config
from advlab.errors import UserError, WorldError
from advlab.experiments import _yardstick
from advlab.gan import _checkpoint
from advlab.gan._card import FILE, Card
from advlab.gan._pair import latents, pixels_of
from advlab.gan._yardstick import Yardstick
from advlab.gan.interpolate import way
from advlab.gan.latent import plane, spread_out
from advlab.gan.sample import drawn, drawn_of
from advlab.plots.gan import maps
from advlab.plots.mosaic import animation, grid, mosaic, png
from advlab.plots.style import save
from advlab.runs.files import write_atomically
from advlab.runs.folder import RunFolder, newest_finished
from advlab.runs.machine import prepare
from advlab.training import checkpoint

_MOST_SHOWN = 400  # images in one grid

Say = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """A trained generator.

    Attributes:
        yardstick: the classifier that lies beside it, and the names of its classes; None where there is none.
    """

    network: nn.Module
    card: Card
    file: Path
    sha256: str
    yardstick: tuple[Yardstick, tuple[str, ...]] | None

    @property
    def caption(self) -> str:
        """What a picture says of it."""
        card = self.card
        epoch = card.training.get("epoch")
        return f"{card.arch} trained on {card.dataset}, {card.loss}, z of {card.zdim}, epoch {epoch} · {self.sha256[:12]}"


def run(config: Config, say: Say = print) -> dict[str, Any]:
    """Make what is asked for, unless it is there already.

    Returns:
        The run's metrics, with its folder under ``folder``.

    Raises:
        UserError: no generator, or no classifier beside it where one is needed.
    """
    options: GeneratorOptions = config.options
    place = options.generator or newest_finished(Path(options.out), "gan", action="train")
    if place is None:
        raise UserError(f"no finished generator under {options.out}: 'advlab gan' trains one, and --generator names one elsewhere")
    pair, card, file = _checkpoint.load(Path(place))
    machine = prepare(options)
    network = pair.generator if options.weights == "last" else pair.average
    network.to(machine.device)
    source = Source(network, card, file, checkpoint.sha256(file), _yardstick.beside(file, machine))
    config = config.changed(generator=str(file.parent if file.name == FILE else file))
    folder = RunFolder(config)
    folder.check_unchanged()
    if folder.finished and not options.overwrite:
        metrics = folder.metrics()
        if metrics["generator_sha256"] != source.sha256:
            raise UserError(f"{folder.path} shows an earlier generator of {file.parent}; --overwrite shows the one there now")
        say(f"{folder.path} is finished already (--overwrite makes it again)")
        return {**metrics, "folder": str(folder.path)}
    started = time.perf_counter()
    with folder.claim():
        said = _ACTIONS[config.component](source, options, folder.path, say)
        metrics = {
            "command": "gan",
            "action": config.component,
            "dataset": card.dataset,
            "generator": str(file),
            "generator_sha256": source.sha256,
            **said,
            "seed": options.seed,
            "machine": machine.describe(),
            "seconds": round(time.perf_counter() - started, 4),
        }
        folder.finish(metrics)
    say(f"in {folder.path}: {_listed(folder.path)}")
    return {**metrics, "folder": str(folder.path)}


def _sample(source: Source, options: Any, folder: Path, say: Say) -> dict[str, Any]:
    """A grid of images, their pixels in one file, and each in its own where asked."""
    if options.of_class == "each":
        return _of_each(source, options, folder, say)
    name = None
    if options.of_class is None:
        images, made = drawn(source.network, source.card.zdim, options.count, options.seed), options.count
    else:
        yardstick, classes = _judge(source, "--of-class")
        number = names.class_number(options.of_class, classes, "--of-class", also=("each",))
        (images,), made = drawn_of(source.network, source.card.zdim, options.count, options.seed, yardstick, [number])
        name = classes[number]
    if not len(images):
        raise WorldError(f"--of-class {options.of_class}: by its classifier's word the generator makes none ({made:,} images tried)")
    if len(images) < options.count:
        say(f"only {len(images):,} of {made:,} images are taken for {name}; {options.count:,} were asked for")
    _write(images, folder, options.files)
    shown = images[:_MOST_SHOWN]
    what = "images" if name is None else f"images of {name}"
    title = f"{len(images):,} generated {what}" + (f", the first {_MOST_SHOWN}" if len(images) > _MOST_SHOWN else "")
    columns = max(1, min(20, round(len(shown) ** 0.5)))
    save(grid(shown.numpy(), title, source.caption + f" · seed {options.seed}", columns), folder / "grid.png")
    return {"count": len(images), "made": made, "of_class": name}


def _of_each(source: Source, options: Any, folder: Path, say: Say) -> dict[str, Any]:
    """A row of images for every class that the classifier tells apart."""
    yardstick, classes = _judge(source, "--of-class")
    if len(classes) > 40 or source.card.shape[0] != yardstick.shape[0]:
        raise UserError(f"--of-class each: one row for each of {len(source.card.classes):,} classes is no picture; name one")
    across = max(1, min(20, options.count))
    found, _ = drawn_of(source.network, source.card.zdim, across, options.seed, yardstick, range(len(classes)))
    missing = [name for name, images in zip(classes, found, strict=True) if not len(images)]
    # White where there are too few.
    filled = [torch.cat([part, torch.full((across - len(part), *source.card.shape), 255, dtype=torch.uint8)]) for part in found]
    everything = torch.cat(filled)
    _write(everything, folder, options.files)
    title = f"Generated images of each class, {across} of each, as the frozen classifier takes them"
    save(grid(everything.numpy(), title, source.caption + f" · seed {options.seed}", across, classes), folder / "grid.png")
    if missing:
        say(f"the generator makes no images of {', '.join(missing)}")
    return {"count": len(everything), "of_class": "each", "missing": missing}


def _interpolate(source: Source, options: Any, folder: Path, say: Say) -> dict[str, Any]:
    """A strip and an animation for each path."""
    ends = torch.cat([latents(seed, 1, source.card.zdim) for seed in options.ends])
    paths = ["lerp", "slerp"] if options.path == "both" else [options.path]
    names_of = {"lerp": "straight (lerp)", "slerp": "along the sphere (slerp)"}
    strips, words = [], []
    for path in paths:
        legs = [way(start, end, options.frames, path) for start, end in itertools.pairwise(ends)]
        for number, leg in enumerate(legs):
            strips.append(pixels_of(source.network, leg))
            words.append(f"{options.ends[number]} → {options.ends[number + 1]}\n{path}")
        frames = pixels_of(source.network, torch.cat(legs))
        animation([mosaic(frame[None].numpy(), 1) for frame in frames], folder / f"{path}.gif", 0.12)
    title = f"From one z to another: {' and '.join(names_of[path] for path in paths)}"
    shown = torch.cat(strips)
    save(grid(shown.numpy(), title, source.caption + " · z by their seeds", options.frames, words), folder / "strip.png")
    return {"ends": options.ends, "frames": options.frames, "paths": paths}


def _latent(source: Source, options: Any, folder: Path, say: Say) -> dict[str, Any]:
    """Two maps of the same images: by z, and by what the classifier's last hidden layer says of them."""
    z = latents(options.seed, options.count, source.card.zdim)
    images = pixels_of(source.network, z)
    judge = source.yardstick
    measured = judge[0](images) if judge else None
    single = measured is not None and judge is not None and source.card.shape[0] == judge[0].shape[0]
    labels = measured.labels.numpy() if measured is not None and single else None
    panels, explained = [], {}
    for key, words, points in (
        ("z", "z itself", z),
        ("features", "what the frozen classifier sees", None if measured is None else measured.features),
    ):
        if points is None:
            continue
        places, shares = plane(points)
        explained[key] = list(shares)
        by = f"{100 * sum(shares):.1f} % of the variance in these two directions"
        panels.append((f"{words}: {by}", places.numpy(), spread_out(places, options.drawn).tolist(), labels))
    title = f"{options.count:,} z and the images that they become"
    save(maps(panels, images.numpy(), title, source.caption + f" · seed {options.seed}"), folder / "latent.png")
    tensors = {"z": z, "pixels": images}
    write_atomically(folder / "latent.safetensors", lambda file: file.write(to_bytes(tensors)))
    return {"count": options.count, "explained_variance": explained}


_ACTIONS: dict[str, Callable[[Source, Any, Path, Say], dict[str, Any]]] = {
    "sample": _sample,
    "interpolate": _interpolate,
    "latent": _latent,
}


def _judge(source: Source, option: str) -> tuple[Yardstick, tuple[str, ...]]:
    if source.yardstick is None:
        raise UserError(f"{option}: no classifier lies beside {source.file} ({_yardstick.FILE}), so nothing tells its classes apart")
    yardstick, classes = source.yardstick
    return yardstick, source.card.classes if yardstick.stacked(source.card.shape[0]) > 1 else classes


def _write(images: Tensor, folder: Path, files: bool) -> None:
    write_atomically(folder / "images.safetensors", lambda file: file.write(to_bytes({"pixels": images.contiguous()})))
    if files:
        digits = len(str(len(images) - 1))
        for number, image in enumerate(images.numpy()):
            png(image, folder / f"image_{number:0{digits}d}.png")


def _listed(folder: Path) -> str:
    found = sorted(path.name for path in folder.iterdir() if path.suffix in (".png", ".gif", ".safetensors"))
    return ", ".join(found[:8]) + (f" and {len(found) - 8:,} more" if len(found) > 8 else "")
