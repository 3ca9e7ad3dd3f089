"""The networks that the benchmarks attack: the bench's own CNN, and the network of Madry et al.
trained to withstand PGD."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from advlab.config.options.run import DataOptions, TrainOptions
from advlab.data import load_images as datasets
from advlab.data.image_set import ImageSet
from advlab.defenses import pgd
from advlab.models import cnn
from advlab.networks.classifier import assemble
from advlab.runs.machine import prepare
from advlab.training.fit import fit

DEFENCE = pgd.Options(eps=0.3, steps=8, step_size=0.08, warmup=0.25)


def images(data_dir: str) -> ImageSet:
    """MNIST where it lies, else the embedded digits."""
    return datasets.load(DataOptions(data_dir=data_dir))


def weak(data: ImageSet, cache: Path) -> nn.Module:
    """The bench's ``cnn``, plainly trained for three epochs."""
    model = assemble("cnn", cnn.Architecture(), data.shape, len(data.classes), [0.1307], [0.3081])
    return _trained(
        model, cache / f"weak-{data.name}.safetensors", data, cnn.Options(epochs=3), attack=False
    )


def robust(data: ImageSet, cache: Path) -> nn.Module:
    """The small network of Madry et al. 2018 (arXiv:1706.06083), trained on PGD images of L∞ radius
    .3."""
    model = nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(7 * 7 * 64, 1024),
        nn.ReLU(),
        nn.Linear(1024, 10),
    )
    options = TrainOptions(epochs=6, lr=1e-3, batch_size=128)
    return _trained(model, cache / f"robust-{data.name}.safetensors", data, options, attack=True)


def _trained(
    model: nn.Module, file: Path, data: ImageSet, options: TrainOptions, *, attack: bool
) -> nn.Module:
    """``model`` with the weights of ``file``; where there is none it is trained first, and its
    weights are kept there."""
    machine = prepare(options)
    model = model.to(memory_format=torch.channels_last)
    if not file.is_file():
        torch.manual_seed(0)
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.reset_parameters()
        file.parent.mkdir(parents=True, exist_ok=True)

        with tempfile.TemporaryDirectory() as folder:
            objective = pgd.objective(DEFENCE, 0.0, machine) if attack else None
            fit(
                model,
                data.train,
                data.val,
                options,
                machine,
                Path(folder),
                keep=lambda network, progress: None,
                objective=objective,
            )
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, file)
    model.load_state_dict(load_file(file))
    return model.eval()
