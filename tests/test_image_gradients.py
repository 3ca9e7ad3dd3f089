"""The faster gradient of convolutions of few channels, compared with the library's own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from advlab.models import cnn
from advlab.networks.image_gradients import FewChannels, quicken
from advlab.perturbation.victim import Victim

SLOW = {
    "3×3": nn.Conv2d(1, 5, 3, padding=1),
    "4×4, stride 2": nn.Conv2d(1, 5, 4, 2, 1),
    "without bias": nn.Conv2d(1, 5, 3, bias=False),
    "stride that leaves pixels over": nn.Conv2d(1, 5, 3, 2),
    "not square": nn.Conv2d(1, 5, (2, 4), (1, 3), (1, 0)),
    "patches": nn.Conv2d(3, 5, 4, 4),
}
OTHERS = {
    "three channels": nn.Conv2d(3, 5, 3, padding=1),
    "large": nn.Conv2d(1, 5, 5),
    "dilated": nn.Conv2d(1, 5, 3, dilation=2),
    "circular": nn.Conv2d(1, 5, 3, padding=1, padding_mode="circular"),
    "in groups": nn.Conv2d(4, 4, 2, 2, groups=4),
    "same": nn.Conv2d(1, 5, 3, padding="same"),
    "patches of many channels": nn.Conv2d(32, 5, 2, 2),
}


class Own(nn.Conv2d):
    """A class of the user's."""


def gradient(network: nn.Module, images: Tensor, weight: Tensor) -> Tensor:
    images = images.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad((network(images) * weight).sum(), images)
    return slope


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_function_and_gradient_are_those_of_the_library(
    name: str, layout: torch.memory_format
) -> None:
    plain: nn.Conv2d = (
        copy.deepcopy(SLOW[name]).double().requires_grad_(False).to(memory_format=layout)
    )
    quick = quicken(copy.deepcopy(plain))
    assert type(quick) is FewChannels
    images = torch.rand((3, plain.in_channels, 13, 14), dtype=torch.float64)
    images = images.to(memory_format=layout)
    weight = torch.randn_like(plain(images))
    assert torch.equal(quick(images), plain(images))
    expected = gradient(plain, images, weight)
    torch.testing.assert_close(gradient(quick, images, weight), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["3×3", "stride that leaves pixels over", "patches"])
def test_derivatives_of_both_orders_are_finite_differences(name: str) -> None:
    plain: nn.Conv2d = copy.deepcopy(SLOW[name]).double().requires_grad_(False)
    quick = quicken(plain)
    images = torch.rand((1, plain.in_channels, 5, 6), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(quick, images)
    assert torch.autograd.gradgradcheck(lambda x: quick(x).tanh(), images)


def test_bf16_costs_one_rounding_more() -> None:
    """That of the products; their sum is not rounded at each term."""
    torch.manual_seed(0)
    plain = nn.Conv2d(1, 64, 3, padding=1).requires_grad_(False).bfloat16()
    images = torch.rand(4, 1, 12, 12).bfloat16()
    weight = torch.randn_like(plain(images))
    exact = gradient(copy.deepcopy(plain).double(), images.double(), weight.double())
    theirs = (gradient(plain, images, weight) - exact).abs().mean()
    ours = (gradient(quicken(copy.deepcopy(plain)), images, weight) - exact).abs().mean()
    assert gradient(quicken(copy.deepcopy(plain)), images, weight).dtype == torch.bfloat16
    assert ours <= 2 * theirs


@pytest.mark.parametrize("name", OTHERS)
def test_other_convolutions_stay(name: str) -> None:
    assert type(quicken(copy.deepcopy(OTHERS[name]))) is nn.Conv2d


def test_what_users_changed_stays() -> None:
    hooked = nn.Conv2d(1, 5, 3)
    hooked.register_forward_hook(lambda *_: None)
    replaced = nn.Conv2d(1, 5, 3)
    replaced.forward = lambda images: images  # type: ignore[method-assign, assignment]
    for module in (hooked, replaced, Own(1, 5, 3)):
        assert type(quicken(module)) is not FewChannels


def test_weights_that_are_trained_get_their_gradients() -> None:
    plain = nn.Conv2d(1, 5, 3)
    quick = quicken(copy.deepcopy(plain))
    images = torch.rand(2, 1, 6, 6, requires_grad=True)
    for layer in (plain, quick):
        layer(images).square().sum().backward()
    assert torch.equal(plain.weight.grad, quick.weight.grad)  # type: ignore[arg-type]


def test_an_attack_uses_it_and_leaves_the_network_as_it_was() -> None:
    torch.manual_seed(0)
    network = cnn.build(cnn.Architecture(channels=4, hidden=8), (1, 12, 12), 3).eval()
    kinds = [type(module) for module in network.modules()]
    victim = Victim(network)
    assert [type(module) for module in network.modules()] == kinds
    assert sum(isinstance(module, FewChannels) for module in victim.exact.modules()) == 1
    images = torch.rand(4, 1, 12, 12)
    torch.testing.assert_close(victim.logits(images), network(images))
