"""The training step of a DCGAN beside the loop that most scripts descend from: images per
CPU-second.

    pip install -e . && python -m benchmarks.gan --data-dir data

Both play with the same two networks, batches and images. The loop is that of PyTorch's own DCGAN
example: float32, a backward pass each for real and generated images, BCELoss on a sigmoid, the
losses read at every step. It is timed with its images ready in memory, and fed by a DataLoader as
the example feeds it. Writes ``benchmarks/gan.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from advlab.config.options.gan import GanOptions
from advlab.gan.networks import GanNetworks, metadata_of
from advlab.gan.steps import GanSteps
from advlab.runs.machine import prepare
from benchmarks import _timing, _victims

BATCH, ZDIM = 128, 100


class Singles(Dataset[Tensor]):
    """Images one by one, scaled and normalised as they are asked for."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        """Wrap images (N, H, W) or (N, H, W, 3)."""
        self._pixels = pixels
        half = [0.5] * (1 if pixels.ndim == 3 else 3)
        self._transform = transforms.Compose(
            [transforms.ToPILImage(), transforms.ToTensor(), transforms.Normalize(half, half)]
        )

    def __len__(self) -> int:
        """How many."""
        return len(self._pixels)

    def __getitem__(self, index: int) -> Tensor:
        """One image (C, H, W) in [-1, 1]."""
        image: Tensor = self._transform(self._pixels[index])
        return image


def options_of(width: int) -> GanOptions:
    """DCGAN, batch normalisation in both networks."""
    return GanOptions(
        zdim=ZDIM,
        width=width,
        ema_decay=0,
        batch_size=BATCH,
        loss="bce",
        critic_norm="batch",
        threads=1,
    )


def pair_of(shape: tuple[int, int, int], width: int) -> GanNetworks:
    """The same two networks for everybody."""
    torch.manual_seed(0)
    return GanNetworks(metadata_of(options_of(width), shape, ("a", "b"), "x"))


def ours(pixels: Tensor, width: int) -> int:
    """One epoch of the bench's steps; how many images went through."""
    channels, height, side = pixels.shape[1:]
    options = options_of(width)
    game = GanSteps(
        pair_of((channels, height, side), width).to(memory_format=torch.channels_last).train(),
        options,
        prepare(options),
    )
    order = torch.randperm(len(pixels))
    said = []
    for index in order.split(BATCH):
        real = (
            pixels[index].float().div_(127.5).sub_(1).contiguous(memory_format=torch.channels_last)
        )
        fake = game.generated(len(real))
        said += [game.discriminate(real, fake), game.generate(fake)]
    assert torch.cat(said).isfinite().all()
    return len(pixels)


def example(batches: Iterable[Tensor], shape: tuple[int, int, int], width: int) -> int:
    """One epoch of the example's loop; how many images went through."""
    pair = pair_of(shape, width).train()
    generator, discriminator = pair.generator, nn.Sequential(pair.discriminator, nn.Sigmoid())
    of_generator = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    of_discriminator = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    criterion, seen = nn.BCELoss(), 0
    for real in batches:
        discriminator.zero_grad()
        label = torch.full((len(real),), 1.0)
        output = discriminator(real).view(-1)
        loss_real = criterion(output, label)
        loss_real.backward()
        d_real = output.mean().item()
        fake = generator(torch.randn(len(real), ZDIM))
        label.fill_(0.0)
        output = discriminator(fake.detach()).view(-1)
        loss_fake = criterion(output, label)
        loss_fake.backward()
        d_fake = output.mean().item()
        of_discriminator.step()
        generator.zero_grad()
        label.fill_(1.0)
        output = discriminator(fake).view(-1)
        loss = criterion(output, label)
        loss.backward()
        of_generator.step()
        assert all(map(np.isfinite, (d_real, d_fake, loss.item(), (loss_real + loss_fake).item())))
        seen += len(real)
    return seen


def in_memory(pixels: Tensor) -> Iterator[Tensor]:
    """Batches of floats in [-1, 1]."""
    floats = pixels.float() / 127.5 - 1
    for index in torch.randperm(len(floats)).split(BATCH):
        yield floats[index]


def loaded(pixels: Tensor) -> DataLoader[Tensor]:
    """The same by way of a DataLoader."""
    shown = pixels[:, 0].numpy() if pixels.shape[1] == 1 else pixels.permute(0, 2, 3, 1).numpy()
    return DataLoader(Singles(shown), batch_size=BATCH, shuffle=True)


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--table", default="benchmarks/gan.md")
    given = parser.parse_args()
    data = _victims.images(given.data_dir)
    torch.set_num_threads(1)
    rows = []
    for side, width, count in ((28, 32, 3840), (28, 64, 1920), (64, 32, 768), (64, 64, 384)):
        pixels = data.train.pixels[:count]
        if side != 28:  # as the example does it: MNIST at its own size of 64
            pixels = (
                torch.nn.functional.interpolate(pixels.float(), side, mode="bilinear")
                .round()
                .to(torch.uint8)
            )
        timings = _timing.in_turns(
            {
                "ours": lambda pixels=pixels, width=width: ours(pixels, width),  # type: ignore[misc]
                "memory": lambda pixels=pixels, width=width: example(
                    in_memory(pixels), (1, *pixels.shape[2:]), width
                ),  # type: ignore[misc]
                "loader": lambda pixels=pixels, width=width: example(
                    loaded(pixels), (1, *pixels.shape[2:]), width
                ),  # type: ignore[misc]
            },
            given.turns,
            f"{side} pixels, width {width}",
        )
        speeds = {
            name: (
                f"{count / timing.median:,.0f} ({count / max(timing.seconds):,.0f} to "
                f"{count / min(timing.seconds):,.0f})"
            )
            for name, timing in timings.items()
        }
        ratios = [
            f"{_timing.ratio(timings['ours'], timings[peer]):.1f} ×"
            for peer in ("memory", "loader")
        ]
        rows.append(
            [
                f"{side} × {side}, width {width}",
                speeds["ours"],
                speeds["memory"],
                ratios[0],
                speeds["loader"],
                ratios[1],
            ]
        )
        print(" | ".join(rows[-1]), flush=True)
    text = [
        f"{data.origin}. DCGAN with batch normalisation in both networks, z of {ZDIM}, batches "
        f"of {BATCH}. {_timing.machine()}; "
        f"{_timing.versions(('torch', 'torchvision'))}. Images per CPU-second: median of "
        f"{given.turns} repetitions (lowest to highest).",
        "Written by `python -m benchmarks.gan`. The other loop is that of PyTorch's DCGAN example, "
        "once with its images in memory as floats and once with a DataLoader (without worker "
        "processes, so that all work is counted).",
    ]
    header = [
        "images",
        "advlab",
        "example's loop, in memory",
        "ratio",
        "example's loop, DataLoader",
        "ratio",
    ]
    _timing.write(
        Path(given.table),
        "DCGAN training steps compared with PyTorch's example",
        text,
        header,
        rows,
    )


if __name__ == "__main__":
    main()
