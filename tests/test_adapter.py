"""Networks as people write them: each is judged as the plain network that computes the same."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from attack_cases import CASES, EXPONENTS, RADII, Case
from torch import Tensor, nn

from advlab.components import load_component
from advlab.data.image_set import Images
from advlab.evaluation.checks import depends_on_batch, preflight
from advlab.networks.adapter import (
    Adapter,
    AmbiguousOutputError,
    NetworkError,
    copied,
    set_evaluation_mode,
    unwrapped,
)
from advlab.networks.layout import memory_format, place
from advlab.perturbation.geometry import norm
from advlab.perturbation.goal import Goal
from advlab.perturbation.precision import dependable
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.victim import Victim, _fold
from advlab.runs.machine import Machine


def plain() -> nn.Sequential:
    torch.manual_seed(5)
    layers = [nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 4)]
    network = nn.Sequential(*layers).eval()
    with torch.no_grad():
        network.get_parameter("3.weight").mul_(
            8
        )  # confident enough that attacks have something to do
    return network


class Around(nn.Module):
    """The plain network, called in some unusual way."""

    def __init__(self, call: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.call = plain(), call
        self.eval()

    def forward(self, x: Tensor) -> Any:
        return self.call(self.inner, x)


def changing_its_input(net: nn.Module, x: Tensor) -> Tensor:
    x.mul_(2).sub_(1)
    logits: Tensor = net(x.add(1).div(2))
    x.fill_(7)
    return logits


def one_at_a_time(net: nn.Module, x: Tensor) -> Tensor:
    assert len(x) == 1
    logits: Tensor = net(x)[0]
    return logits


def viewing(net: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(net, nn.Sequential)
    features = net[:2](x)
    logits: Tensor = net[3](features.view(x.size(0), -1))
    return logits


def with_hook() -> nn.Module:
    network = plain()
    network[0].register_forward_hook(lambda module, args, output: output + 0)
    return network


def weight_normalised() -> nn.Module:
    network = plain()
    nn.utils.weight_norm(network[3])
    network(torch.rand(2, 1, 8, 8))  # leaves a weight that was computed, which deepcopy refuses
    return network


def of_volumes() -> nn.Module:
    """A 5-D weight: the network sees each image as a volume of depth 1."""
    twin = plain()

    class Volumes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv3d(1, 4, (1, 3, 3), (1, 2, 2))
            weight = twin.get_parameter("0.weight").detach()
            bias = twin.get_parameter("0.bias").detach()
            self.conv.load_state_dict({"weight": weight[:, :, None], "bias": bias})
            self.rest = twin[1:]

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.rest(self.conv(x[:, :, None]).squeeze(2))
            return logits

    return Volumes().eval()


def exported() -> nn.Module:
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        plain(), (torch.rand(2, 1, 8, 8),), dynamic_shapes=({0: batch},)
    ).module()
    set_evaluation_mode(program)
    return program


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def scripted() -> nn.Module:
    script: nn.Module = torch.jit.script(plain())
    return script


def compiled(network: nn.Module) -> nn.Module:
    wrapped = torch.compile(network)
    assert isinstance(wrapped, nn.Module)
    return wrapped


SAME: dict[str, Callable[[], nn.Module]] = {
    "changes its input in place": lambda: Around(changing_its_input),
    "views its features": lambda: Around(viewing),
    "float64": lambda: plain().double(),
    "tuple": lambda: Around(lambda net, x: (net(x), x)),
    "list with a name first": lambda: Around(lambda net, x: ["features", net(x)]),
    "dictionary": lambda: Around(lambda net, x: {"features": x, "logits": net(x)}),
    "tuple in a tuple": lambda: Around(lambda net, x: ((net(x), x), x.flatten(2))),
    "dictionary in a list": lambda: Around(lambda net, x: [{"out": net(x)}, x.flatten(1), x]),
    "logits in a dictionary": lambda: Around(lambda net, x: (-net(x), {"logits": net(x)})),
    "one image at a time": lambda: Around(one_at_a_time),
    "squeezed": lambda: Around(lambda net, x: net(x).squeeze()),
    "dictionary without names": lambda: Around(lambda net, x: OrderedDict(out=net(x), aux=x)),
    "object": lambda: Around(lambda net, x: SimpleNamespace(logits=net(x))),
    "scripted": scripted,
    "exported": exported,
    "DataParallel": lambda: nn.DataParallel(plain()).eval(),
    "compiled": lambda: compiled(plain()),
    "hook": with_hook,
    "weight normalisation": weight_normalised,
    "volumes": of_volumes,
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")
@pytest.mark.filterwarnings("ignore:.*weight_norm.*")
@pytest.mark.parametrize("name", SAME)
def test_logits_and_gradients_are_those_of_the_plain_network(name: str) -> None:
    x, labels = torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 2, 3, 0, 1])
    given = x.clone()
    victim, reference = Victim(SAME[name]()), Victim(plain())
    torch.testing.assert_close(victim.logits(x), reference.logits(x))
    for ours, theirs in zip(
        victim.gradient(x, Goal(labels), "ce"),
        reference.gradient(x, Goal(labels), "ce"),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
        assert ours.dtype == torch.float32
    assert torch.equal(x, given)


def test_one_logit_is_two_classes() -> None:
    logits = Adapter(Around(lambda net, x: net(x)[:, :1]))(torch.rand(3, 1, 8, 8))
    alone = Adapter(Around(lambda net, x: net(x)[:, 0]))(torch.rand(3, 1, 8, 8))
    assert logits.shape == alone.shape == (3, 2)
    x = torch.rand(5, 1, 8, 8)
    z = plain()(x)[:, 0]
    found = Adapter(Around(lambda net, x: net(x)[:, 0]))(x).softmax(1)[:, 1]
    torch.testing.assert_close(found, z.sigmoid())


def test_sparse_logits_give_the_answers_and_gradients_of_dense_ones() -> None:
    images = torch.rand(4, 1, 2, 2, generator=torch.Generator().manual_seed(0))

    class Sparse(nn.Flatten):
        def forward(self, batch: Tensor) -> Tensor:
            return super().forward(batch).relu().to_sparse()

    ours, plain = images.clone().requires_grad_(), images.clone().requires_grad_()
    logits = Adapter(Sparse())(ours)
    assert torch.equal(logits, plain.flatten(1))
    logits.logsumexp(1).sum().backward()
    plain.flatten(1).logsumexp(1).sum().backward()
    assert ours.grad is not None
    assert plain.grad is not None
    assert torch.equal(ours.grad, plain.grad)


def test_masked_classes_keep_no_probability_and_the_losses_stay_finite() -> None:
    def masked(net: nn.Module, x: Tensor) -> Tensor:
        logits: Tensor = net(x)
        return logits.index_fill(1, torch.tensor([3]), -math.inf)

    x, labels = torch.rand(5, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1])
    victim = Victim(Around(masked))
    logits = victim.logits(x)
    assert bool(logits.isfinite().all())
    torch.testing.assert_close(logits[:, :3].softmax(1), logits.softmax(1)[:, :3])
    for loss in ("ce", "margin", "dlr"):
        gradient, _ = victim.gradient(x, Goal(labels), loss)
        assert bool((gradient != 0).any())
    assert victim.gradients.not_finite == 0


def test_groups_add_up_probabilities() -> None:
    x = torch.rand(5, 1, 8, 8)
    grouped = Adapter(plain(), groups=[[0, 3], [1, 2]])(x).softmax(1)
    each = plain()(x).softmax(1)
    torch.testing.assert_close(grouped[:, 0], each[:, 0] + each[:, 3])


def test_a_named_output_is_taken() -> None:
    two = Around(lambda net, x: {"first": net(x), "second": -net(x)})
    x = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(Adapter(two, output="second")(x), -plain()(x))
    pair = Around(lambda net, x: (net(x), -net(x)))
    torch.testing.assert_close(Adapter(pair, output="1")(x), -plain()(x))
    nested = Around(lambda net, x: ((net(x), {"second": -net(x)}), x.flatten(1)))
    torch.testing.assert_close(Adapter(nested, output="0.1.second")(x), -plain()(x))
    with pytest.raises(AmbiguousOutputError, match=r"0.0 \(.*0.1.second \(.*name them with"):
        Adapter(nested)(x)


@pytest.mark.parametrize(
    ("call", "output", "expected"),
    [
        (lambda net, x: None, None, "returns no logits, but a NoneType"),
        (lambda net, x: {"a": 1}, None, "a dict with the keys a"),
        (lambda net, x: {"a": x}, "b", "no tensor 'b', but a dict with the keys a"),
        (lambda net, x: (net(x),), "4", "no tensor '4', but a tuple of Tensor"),
        (lambda net, x: x, None, "of shape (N, classes), and this one returned (2, 1, 8, 8)"),
        (lambda net, x: net(x).argmax(1), None, "floating logits, not torch.int64"),
    ],
)
def test_what_is_no_row_of_logits_is_named(
    call: Callable[[nn.Module, Tensor], Any], output: str | None, expected: str
) -> None:
    with pytest.raises(ValueError, match="return") as error:
        Adapter(Around(call), output)(torch.rand(2, 1, 8, 8))
    assert expected in str(error.value)


def test_a_copy_shares_nothing() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = plain()
            self.seen: list[int] = []
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.seen.append(len(x))
            self.get_buffer("calls").add_(1)
            logits: Tensor = self.net(x)
            return logits

    network = Counting().eval()
    victim = Victim(network)
    victim.logits(torch.rand(3, 1, 8, 8))
    victim.gradient(torch.rand(3, 1, 8, 8), Goal(torch.tensor([0, 1, 2])), "ce")
    assert network.seen == []
    assert float(network.get_buffer("calls")) == 0
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(not parameter.requires_grad for parameter in copied(network).parameters())


def test_wrappers_are_taken_off() -> None:
    network = plain()
    assert unwrapped(compiled(nn.DataParallel(network))) is network


def test_logits_far_from_zero_keep_their_order() -> None:
    x = torch.rand(6, 1, 8, 8)
    far = Around(lambda net, x: net(x).double() - 1e9)  # float32 is coarser than a hundred there
    logits = plain()(x)
    torch.testing.assert_close(Adapter(far)(x).softmax(1), logits.softmax(1))
    assert torch.equal(Adapter(far)(x).argmax(1), logits.argmax(1))


def test_a_network_that_takes_few_images_is_not_called_for_each() -> None:
    def few(net: nn.Module, x: Tensor) -> Any:
        assert len(x) <= 3, "too many"
        return net(x)

    with pytest.raises(NetworkError, match=r"too many.*, on a batch of 4 .*smaller batches may do"):
        Adapter(Around(few))(torch.rand(4, 1, 8, 8))


def test_logits_of_a_single_image_may_be_squeezed() -> None:
    x = torch.rand(1, 1, 8, 8)
    network = Around(lambda net, x: net(x).squeeze())
    assert torch.equal(Adapter(network)(x), plain()(x))
    single = Around(lambda net, x: net(x)[:, 1].squeeze())
    z = plain()(x)[:, 1]
    assert torch.equal(Adapter(single)(x), torch.stack([torch.zeros_like(z), z], dim=1))


class Halved(nn.DataParallel[nn.Module]):
    """A wrapper with a ``forward`` of its own."""

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = super().forward(images / 2)
        return logits


def _halves(module: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    return inputs[0] / 2


def hooked() -> nn.Module:
    wrapper = nn.DataParallel(plain())
    wrapper.register_forward_pre_hook(_halves)
    return wrapper


def replaced() -> nn.Module:
    wrapper, network = nn.DataParallel(plain()), plain()

    def forward(images: Tensor) -> Tensor:
        logits: Tensor = network(images / 2)
        return logits

    wrapper.forward = forward  # type: ignore[method-assign]
    return wrapper


@pytest.mark.parametrize("wrapped", [lambda: Halved(plain()), hooked, replaced])
def test_a_wrapper_that_does_something_of_its_own_stays(wrapped: Callable[[], nn.Module]) -> None:
    network = wrapped().eval()
    images = torch.rand(4, 1, 8, 8)
    assert torch.equal(unwrapped(network)(images), network(images))
    # The copy has another layout in memory, which may change the last bits.
    torch.testing.assert_close(Victim(Adapter(network)).logits(images), network(images))


def test_weights_of_volumes_keep_their_layout() -> None:
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.Flatten(0, 1))
    assert memory_format(network) is torch.channels_last
    place(network, "cpu")  # raised: "required rank 4 tensor to use channels_last format"
    assert network.get_parameter("0.weight").is_contiguous()


# --- no network can make an attack leave its ball or its range ------------------------------------
def without_gradient(net: nn.Module, x: Tensor) -> Tensor:
    logits: Tensor = net((x.detach() * 15).round() / 15)
    return logits


def in_inference_mode(net: nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = net(x)
    return logits


class _NaNBackwards(torch.autograd.Function):
    """The identity, whose gradient is NaN at the brightest pixel of every second image."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].clone()
        gradient[::2, :, 0, 0] = torch.nan
        gradient[1::2, :, 1, 1] = torch.inf
        return gradient


def with_nan_gradients(net: nn.Module, x: Tensor) -> Tensor:
    logits: Tensor = net(_NaNBackwards.apply(x))
    return logits


def undefined_for_bright_images(net: nn.Module, x: Tensor) -> Tensor:
    logits: Tensor = net(x)
    return torch.where(x.mean((1, 2, 3))[:, None] > 0.5, torch.nan, logits)


HOSTILE = {
    "changes its input in place": changing_its_input,
    "no gradient": without_gradient,
    "inference mode": in_inference_mode,
    "NaN gradients": with_nan_gradients,
    "NaN logits": undefined_for_bright_images,
    "all equal": lambda net, x: net(x) * 0,
    "huge logits": lambda net, x: net(x) * 1e30,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.attack}-{case.norm}")
def test_no_network_makes_an_attack_leave_its_ball_or_its_range(case: Case, name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(6, 1, 8, 8, generator=generator)
    given, eps = x.clone(), RADII[case.norm]
    victim = Victim(Around(HOSTILE[name]))
    perturbed = case.perturb(victim, x, Goal(torch.tensor([0, 1, 2, 3, 0, 1])), eps)
    assert torch.equal(x, given)
    assert bool(perturbed.isfinite().all())
    assert float(perturbed.min()) >= 0
    assert float(perturbed.max()) <= 1
    assert float(norm(perturbed - x, EXPONENTS[case.norm]).max()) <= eps * (1 + 1e-5)


def test_momentum_survives_a_gradient_that_is_not_finite() -> None:
    """One NaN would stay in the momentum, and the image would never move again."""
    x = torch.rand(6, 1, 8, 8)
    victim = Victim(Around(with_nan_gradients))
    goal = Goal(victim.logits(x).argmax(1))  # none of them has reached it already
    pgd = load_component("advlab.attacks", "pgd", "attack")
    options = pgd.Options(eps=[0.1], steps=5, step_momentum=0.9, random_start=False)
    perturbed = pgd.perturb(victim, x, goal, ImageRandom(0, torch.arange(6)), 0.1, options)
    assert victim.gradients.not_finite > 0
    moved = (perturbed != x).flatten(1).double().mean(1)
    assert float(moved.min()) > 0.5


# --- checks ---------------------------------------------------------------------------------------
def labelled(network: Callable[[Tensor], Tensor], count: int = 40) -> Images:
    """Images with the plain network's own answers as their labels."""
    x = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return Images(x, network(x).argmax(1))


@pytest.mark.parametrize(
    ("call", "check"),
    [
        (without_gradient, "missing gradients"),
        (in_inference_mode, "missing gradients"),
        (with_nan_gradients, "non-finite gradients"),
        (undefined_for_bright_images, "non-finite outputs"),
        (lambda net, x: net((x - x.mean(0)) / x.std(0, correction=0)), "batch-dependent outputs"),
        (lambda net, x: net(x) + torch.randn(()), "random outputs"),
    ],
)
def test_a_check_names_it(call: Callable[[nn.Module, Tensor], Tensor], check: str) -> None:
    assert check in preflight(Victim(Around(call)), labelled(plain()), "linf", 0.1, 0)


def test_rounding_is_no_dependence_on_the_batch() -> None:
    x = torch.rand(40, 1, 8, 8)
    for network in (plain(), plain().double(), plain().to(torch.bfloat16)):
        assert not depends_on_batch(Victim(network), x)
    normalised = nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), *plain()).eval()
    assert depends_on_batch(Victim(normalised), x)


class Casting(nn.Module):
    """Its first parameter has another dtype than its arithmetic, float32."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.scale = nn.Parameter(torch.ones((), dtype=dtype))
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x) * self.scale.float()
        return logits


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_images_are_not_rounded_to_the_dtype_of_any_parameter(dtype: torch.dtype) -> None:
    network = Casting(dtype).eval()
    x = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Adapter(network)(x), network(x))
    victim = Victim(network)
    assert torch.equal(victim.logits(x), network(x))
    assert not depends_on_batch(victim, x)


def test_a_network_that_takes_its_own_dtype_alone_gets_it() -> None:
    x = torch.rand(6, 1, 8, 8)
    for dtype in (torch.float64, torch.bfloat16):
        network = plain().to(dtype)
        assert torch.equal(Adapter(network)(x), network(x.to(dtype)).float())


# --- gradients in faster arithmetic are those of the same function --------------------------------
def normalised() -> nn.Sequential:
    """A convolution and batch normalisation in a Sequential of their own."""
    torch.manual_seed(6)
    norm_layer = nn.BatchNorm2d(4)
    with torch.no_grad():
        norm_layer.get_buffer("running_var").mul_(0.25)
    block = nn.Sequential(nn.Conv2d(1, 4, 3, 2), norm_layer)
    return nn.Sequential(block, nn.ReLU(), nn.Flatten(), nn.Linear(36, 4)).eval()


class TwiceNormalised(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(super().forward(x))


def _with(change: Callable[[nn.Sequential], object]) -> Callable[[], nn.Module]:
    def made() -> nn.Module:
        network = normalised()
        block = network[0]
        assert isinstance(block, nn.Sequential)
        change(block)
        return network

    return made


def _replaced_forward(block: nn.Sequential) -> None:
    layer = block[1]
    inner = layer.forward
    layer.forward = lambda x: inner(x.square())


CHANGED: dict[str, Callable[[nn.Sequential], object]] = {
    "before the block": lambda b: b.register_forward_pre_hook(lambda m, x: (x[0] ** 3,)),
    "after the block": lambda b: b.register_forward_hook(lambda m, x, out: out.square()),
    "after the convolution": lambda b: b[0].register_forward_hook(lambda m, x, out: out.abs()),
    "before the normalisation": lambda b: b[1].register_forward_pre_hook(
        lambda m, x: (x[0].abs(),)
    ),
    "on the way back": lambda b: b[1].register_full_backward_hook(
        lambda m, into, out: (into[0] * (into[0] > 0),)  # type: ignore[index]
    ),
    "another forward": _replaced_forward,
    "a derived class": lambda b: b.__setitem__(1, TwiceNormalised(4).eval()),
    "no running statistics": lambda b: b.__setitem__(
        1, nn.BatchNorm2d(4, track_running_stats=False)
    ),
    "nothing": lambda b: None,
}


@pytest.mark.parametrize("what", CHANGED)
def test_the_fast_network_is_the_same_function(what: str) -> None:
    network = _with(CHANGED[what])()
    network.eval()
    x = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    exact, folded = Victim(network), Victim(_fold(copied(network)))
    goal = Goal(exact.logits(x).argmax(1))
    pairs = zip(folded.gradient(x, goal, "ce"), exact.gradient(x, goal, "ce"), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs)


def test_batch_normalisation_is_folded_into_the_layer_before_it() -> None:
    assert not any(isinstance(part, nn.BatchNorm2d) for part in _fold(normalised()).modules())


def test_a_network_that_is_another_function_in_fast_arithmetic_gets_float32() -> None:
    x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(2))

    def other(net: nn.Module, x: Tensor) -> Tensor:
        logits: Tensor = net(x)
        return logits + (0 if x.dtype == torch.float32 else torch.arange(4).to(logits))

    machine, reason = dependable(Around(other), x, Machine(torch.device("cpu"), "bf16"))
    assert machine.precision == "fp32"
    assert "the network answers otherwise in bf16" in reason
    fast = Machine(torch.device("cpu"), "bf16")
    assert dependable(plain(), x, fast) == (fast, "")


def test_a_network_that_adapts_itself_is_told_why_it_cannot() -> None:
    def adapting(net: nn.Module, x: Tensor) -> Any:
        with torch.enable_grad():
            net(x).softmax(1).amax(1).sum().backward()
        return net(x)

    network = Around(adapting)
    network(torch.rand(2, 1, 8, 8))  # as its author calls it
    with pytest.raises(NetworkError, match=r"does not require grad.* the copy that is judged"):
        Victim(Adapter(network)).logits(torch.rand(2, 1, 8, 8))
