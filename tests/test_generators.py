"""Every pair of generator and discriminator that there is: shapes, ranges, what they refuse."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from advlab.components import component_names
from advlab.config.options.gan import GanOptions
from advlab.errors import UsageError
from advlab.gan.generators import dcgan
from advlab.gan.networks import GanNetworks, check_size, metadata_of, needed, pixels_of
from advlab.gan.steps import GanSteps
from advlab.networks.metadata import GeneratorMetadata
from advlab.runs.machine import Machine

ARCHITECTURES = component_names("advlab.gan.generators")
NORMS = ("batch", "layer", "spectral", "none")


def card(
    arch: str = "dcgan", shape: tuple[int, int, int] = (1, 28, 28), **options: object
) -> GeneratorMetadata:
    given = {"arch": arch, "zdim": 7, "width": 8, **options}
    return metadata_of(GanOptions(**given), shape, ("a", "b"), "digits")


def test_there_are_two() -> None:
    assert ARCHITECTURES == ["dcgan", "mlp"]


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 64, 64), (1, 16, 16), (3, 40, 30)])
def test_shapes_and_ranges(arch: str, shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    pair = GanNetworks(card(arch, shape))
    images = pair.generator(torch.randn(6, 7))
    assert images.shape == (6, *shape)
    assert images.min() >= -1
    assert images.max() <= 1
    assert images.std() > 0
    assert pair.score(images).shape == (6,)
    pixels = pixels_of(pair.average, torch.randn(6, 7))
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (6, *shape)
    assert pixels.is_contiguous()


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("norm", NORMS)
def test_scores_depend_on_the_others_in_the_batch_only_with_batch_normalisation(
    arch: str, norm: str
) -> None:
    torch.manual_seed(0)
    pair = GanNetworks(card(arch, critic_norm=norm, loss="bce")).train()
    images = torch.rand(8, 1, 28, 28) * 2 - 1
    pair.score(
        images
    )  # a spectral norm is a running estimate, which moves with every look while it trains
    pair.discriminator.train(norm == "batch")
    whole, half = pair.score(images)[:4], pair.score(images[:4])
    assert torch.allclose(whole, half, atol=1e-5) == (norm != "batch")


def test_spectral_normalisation_is_there() -> None:
    torch.manual_seed(0)
    pair = GanNetworks(card(critic_norm="spectral")).train()
    for _ in range(60):
        pair.score(torch.rand(4, 1, 28, 28))
    for module in pair.discriminator.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            assert float(
                torch.linalg.matrix_norm(module.weight.detach().flatten(1), 2)
            ) == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_packs_are_one_score_each(arch: str) -> None:
    pair = GanNetworks(card(arch, packing=4, batch_size=8)).eval()
    images = torch.rand(8, 1, 28, 28)
    scores = pair.score(images)
    assert scores.shape == (2,)
    assert torch.allclose(scores[:1], pair.score(images[:4]), atol=1e-5)


@pytest.mark.parametrize("side", [*range(8, 34), 40, 48, 64, 100, 127, 128])
def test_dcgan_makes_any_side_and_looks_at_all_of_it(side: int) -> None:
    for shape in ((1, side, side), (3, side, 28)):
        pair = GanNetworks(card("dcgan", shape, width=1)).eval()
        images = pair.generator(torch.randn(2, 7))
        assert images.shape == (2, *shape)
        maps = [module for module in pair.discriminator if isinstance(module, nn.Conv2d)]  # type: ignore[attr-defined]
        assert pair.score(images).shape == (2,)
        assert max(pair.discriminator[:-2](images).shape[2:]) <= 4  # type: ignore[index]
        assert [layer.out_channels for layer in maps] == [
            min(2**stage, 8) for stage in range(len(maps))
        ]


def test_the_papers_sizes() -> None:
    assert dcgan._stages((3, 64, 64)) == [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]
    assert dcgan._stages((1, 28, 28)) == [(28, 28), (14, 14), (7, 7), (4, 4)]
    held = {
        width: sum(p.numel() for p in dcgan.generator((3, 64, 64), 100, width).parameters())
        for width in (64,)
    }
    # 100·512·4·4 + 512·256·16 + 256·128·16 + 128·64·16 + 64·3·16 + 3, and two numbers for each
    # normalised channel.
    assert held[64] == 819_200 + 2_097_152 + 524_288 + 131_072 + 3_072 + 3 + 2 * (
        512 + 256 + 128 + 64
    )


@pytest.mark.parametrize("shape", [(1, 7, 28), (3, 600, 600), (1, 28, 4)])
def test_sizes_that_cannot_be_made_are_said_with_those_that_can(
    shape: tuple[int, int, int],
) -> None:
    with pytest.raises(UsageError, match="sides from 8 to 512 pixels"):
        needed(card("dcgan", shape), 1)
    needed(card("mlp", shape), 1)


def test_what_does_not_fit_is_said_before_it_is_taken() -> None:
    with pytest.raises(
        UsageError,
        match=r"--zdim 1000000000 with --width 64: .* would hold 4.1e\+12 numbers and take .* GB",
    ):
        check_size(card(zdim=10**9, width=64), 128, "cpu")


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("norm", NORMS)
def test_what_is_needed_is_counted_without_making_it(arch: str, norm: str) -> None:
    one = card(arch, critic_norm=norm)
    pair = GanNetworks(one)
    held = sum(
        p.numel() for part in (pair.generator, pair.discriminator) for p in part.parameters()
    )
    assert needed(one, 1)[1] == pytest.approx(held, rel=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "wgan-gp", "critic_norm": "batch"}, "a gradient penalty is of one image"),
        ({"penalty": 1.0}, "a gradient penalty is of one image"),
        ({"packing": 3, "batch_size": 32}, "must hold two packs or more"),
        ({"packing": 16, "batch_size": 16}, "must hold two packs or more"),
        ({"arch": "dcgam"}, "did you mean 'dcgan'"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        card(**{"loss": "bce", **options})  # type: ignore[arg-type]


def test_the_norm_follows_the_loss() -> None:
    assert card(loss="hinge").critic_norm == "spectral"
    assert card(loss="wgan-gp").critic_norm == "layer"
    assert card(loss="bce").critic_norm == "batch"
    assert card("mlp", loss="bce").critic_norm == "none"


def test_a_step_of_wgan_is_rmsprop_and_clips_every_weight() -> None:
    """Algorithm 1 of arXiv:1701.07875, written out."""
    options = GanOptions(arch="mlp", zdim=7, width=8, loss="wgan", weight_clip=0.03)
    assert (options.lr, options.lr_critic, options.critic_steps) == (5e-5, 5e-5, 5)
    torch.manual_seed(0)
    pair = GanNetworks(metadata_of(options, (1, 6, 6), ("a", "b"), "digits"))
    expected = copy.deepcopy(pair.discriminator)
    squares = [torch.zeros_like(parameter) for parameter in expected.parameters()]
    steps = GanSteps(pair, options, Machine(torch.device("cpu"), "fp32"))
    images = torch.rand(4, 8, 1, 6, 6) * 2 - 1
    for real, fake in images.split(2):
        steps.discriminate(real, fake)
        loss = expected(fake).mean() - expected(real).mean()
        slopes = torch.autograd.grad(loss, list(expected.parameters()))
        with torch.no_grad():
            for parameter, slope, square in zip(
                expected.parameters(), slopes, squares, strict=True
            ):
                square.mul_(0.99).add_(0.01 * slope.square())
                parameter.sub_(options.lr * slope / (square.sqrt() + 1e-8)).clamp_(-0.03, 0.03)
    for one, other in zip(pair.discriminator.parameters(), expected.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    largest = [float(one.detach().abs().max()) for one in pair.discriminator.parameters()]
    assert 0.03 - 1e-7 <= max(largest) <= 0.03


def test_what_is_given_beats_the_defaults_of_a_loss() -> None:
    assert GanOptions(loss="wgan", lr=1e-3, critic_steps=2).lr == 1e-3
    assert GanOptions(loss="wgan", lr=1e-3, critic_steps=2).critic_steps == 2
    assert GanOptions(loss="wgan-gp").lr == 1e-3
