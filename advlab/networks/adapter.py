"""Networks as people write them, as one function: images in [0, 1] to logits.

A network from elsewhere may change its input in place, compute in float64, return a tuple or a
dictionary, or give one logit for two classes. ``Adapter`` puts all of that behind one contract, and
``copied`` makes a copy that shares nothing with the original.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain

import torch
from torch import Tensor, nn

from advlab.errors import AdvlabError, EnvironmentFailure, UsageError
from advlab.logs import logger
from advlab.networks.classifier import Normalize
from advlab.networks.defaults import default_dtype, made_under, remember
from advlab.networks.filters import InputFilter

# Below the smallest finite logit of a row: no softmax in float32 gives such a class any probability
_FAR_BELOW = 1000.0
_FAR_FROM_ZERO = 1000.0  # where neighbours in float32 lie 6e-5 apart
_USUAL_NAMES = ("out", "output")
"""What the logits are called beside ``logits``, of several tensors of one shape."""


# How torch begins to say that nothing led to what ``backward`` was called on.
_NEEDS_GRADIENT = "does not require grad"


class NetworkError(UsageError):
    """The network that was named raised an error, which is the cause of this one."""


class PassedOnError(Exception):
    """Raised by advlab within a network that it was hung on to; it is no error of the network."""


class AmbiguousOutputError(UsageError, ValueError):
    """A network returns several tensors, and nothing tells which of them are the logits."""


class Adapter(nn.Module):
    """A network behind a fixed contract: images (N, C, H, W) to logits (N, classes).

    - The network gets a copy of the images, so that it may change them in place: in their own dtype
      where it takes that, else in the dtype of its parameters. The logits are returned in the dtype
      of the images.
    - Of several tensors the logits are the entry ``logits``; else the only one of shape (N,
      ``classes``); else, among those of shape (N, k), ``out`` or ``output``, or the only one.
      ``output`` names another entry. The first choice is kept, and a line says it.
    - Sparse logits are taken as the dense tensor with the same values.
    - A network that takes one image at a time is called for each.
    - One logit z is taken as the logits (0, z) of two classes, whose softmax is z's sigmoid.
    - A logit of −∞, by which networks mask classes that they do not use, becomes a finite one far
      below all others, since attacks take differences of logits.
    - ``groups`` adds up the probabilities of classes that count as one.
    """

    def __init__(
        self,
        network: nn.Module,
        output: str | None = None,
        groups: Sequence[Sequence[int]] | None = None,
        classes: int | None = None,
    ) -> None:
        """Wrap ``network``.

        Args:
            network: in evaluation mode.
            output: the key, index or attribute of the logits in what the network returns.
            groups: for each class of the result, the numbers of the network's classes that it is
                made of.
            classes: how many classes the data have, where that is known.
        """
        super().__init__()
        self.network = network
        self.output = output
        self.classes = classes
        self._taken: str | None = None
        self._alone = False
        self._takes: dict[torch.dtype, torch.dtype] = {}
        self._made_under = made_under(network)
        self.groups = None if groups is None else [list(group) for group in groups]
        self.eval()

    def train(self, mode: bool = True) -> Adapter:
        """Stay in evaluation mode; the network inside is left in the mode that it has."""
        self.training = False
        return self

    def around(self, network: nn.Module) -> Adapter:
        """The same contract around another network, such as a copy."""
        twin = Adapter(network, self.output, self.groups, self.classes)
        twin._taken, twin._made_under = self._taken, self._made_under
        twin._alone = self._alone
        return twin

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the network computes in: that of its first floating parameter or
        buffer."""
        # Not listed first: every pass asks for it, and the first parameter mostly answers.
        tensors = chain(self.network.parameters(), self.network.buffers())
        return next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)

    @property
    def coarsest(self) -> torch.dtype:
        """Of the dtypes of its floating parameters and buffers, the one with the fewest digits."""
        tensors = chain(self.network.parameters(), self.network.buffers())
        kinds = {t.dtype for t in tensors if t.is_floating_point()}
        return max(kinds, key=lambda kind: torch.finfo(kind).eps, default=torch.float32)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] to logits (N, classes).

        Raises:
            ValueError: the network returns something else than a row of logits for each image.
            AmbiguousOutputError: nothing tells which of its tensors are the logits.
            NetworkError: the network raises an error of its own.
        """
        inputs = images.to(self._dtype_for(images))
        if inputs is images and not _leaves_inputs_alone(self.network):
            inputs = images.clone()
        logits = self._logits_of(inputs)
        if logits.is_inference():  # forward ran in inference mode, whose tensors autograd refuses
            logits = logits.clone()
        if logits.layout != torch.strided:
            logits = logits.to_dense()
        if len(images) == 1:
            logits = _row(logits)
        elif logits.dim() == 1 and len(logits) == len(images):
            logits = logits[:, None]
        if logits.dim() != 2 or len(logits) != len(images):
            raise ValueError(
                f"a network must return logits of shape (N, classes), and this one returned "
                f"{tuple(logits.shape)} for N = {len(images)}"
            )
        if not logits.is_floating_point():
            raise ValueError(f"a network must return floating logits, not {logits.dtype}")
        logits = _without_minus_infinity(_rounded(logits, images.dtype))
        if logits.shape[1] == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        if self.groups is not None:
            logits = torch.stack([logits[:, group].logsumexp(1) for group in self.groups], dim=1)
        return logits

    def _dtype_for(self, images: Tensor) -> torch.dtype:
        """The dtype in which the network takes images: theirs, unless that fails.

        Parameters may have another dtype than the arithmetic, as in a network that casts within
        ``forward``; whoever calls it gives it float32, and it is that call which counts.
        """
        if images.dtype not in self._takes:
            tensors = chain(self.network.parameters(), self.network.buffers())
            alike = all(t.dtype == images.dtype for t in tensors if t.is_floating_point())
            taken = alike or self._accepts(images)
            self._takes[images.dtype] = images.dtype if taken else self.dtype
        return self._takes[images.dtype]

    def _accepts(self, images: Tensor) -> bool:
        """Whether the network runs on images as they are."""
        devices = [images.device] if images.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad(), default_dtype(self._made_under):
            try:
                self.network(images.clone())
            except Exception:  # of a kind of its own, where types do not match
                return False
        return True

    def _logits_of(self, inputs: Tensor) -> Tensor:
        """The logits on a batch, or on each of its images where the network takes one at a time, as
        a program does that was exported with one."""
        if not self._alone:
            try:
                return self._logits_in(self._called(inputs))
            except NetworkError:
                with default_dtype(self._made_under):
                    few = [count for count in (1, 2) if _runs(self.network, inputs[:count])]
                if few != [1]:
                    raise
            self._alone = True
            logger.info("the network takes one image at a time, and is called for each")
        each = [self._logits_in(self._called(one)) for one in inputs.split(1)]
        return torch.cat([_row(logits) for logits in each])

    def _called(self, inputs: Tensor) -> object:
        """What the network returns."""
        with naming_the_network(self.network, inputs), default_dtype(self._made_under):
            return self.network(inputs)

    def _logits_in(self, returned: object) -> Tensor:
        """The logits in what the network returned.

        Raises:
            ValueError: there are none.
            AmbiguousOutputError: nothing tells which they are.
        """
        if isinstance(returned, Tensor):
            return returned
        if self.output is not None:
            selected = _entry(returned, self.output)
            if not isinstance(selected, Tensor):
                raise ValueError(
                    f"it returns no tensor {self.output!r}, but {_described(returned)}"
                )
            return selected
        entries = _tensors(returned)
        if not entries:
            raise ValueError(f"it returns no logits, but {_described(returned)}")
        if self._taken not in entries:
            self._taken = _chosen(entries, self.classes)
            if len(entries) > 1:
                others = {name: one for name, one in entries.items() if name != self._taken}
                logger.info(
                    f"of the tensors that the network returns, {self._taken} "
                    f"({_shape(entries[self._taken])}) holds the logits; --output names another: "
                    f"{_listed(others)}"
                )
        return entries[self._taken]


_CHANNELS = (1, 3, 4)


@contextmanager
def naming_the_network(network: nn.Module, inputs: Tensor) -> Iterator[None]:
    """Within it, an error that the code of a network raises is named as the network's own.

    Args:
        inputs: what it was given.

    Raises:
        NetworkError: an error other than advlab's own was raised; it is the cause.
        EnvironmentFailure: the device has too little memory.
        MemoryError: as it was raised.
    """
    try:
        yield
    except (AdvlabError, MemoryError, PassedOnError):
        raise
    except (Exception, SystemExit) as error:  # sys.exit() within forward
        text = " ".join(str(error).split())[:200]
        count, hint = len(inputs), ""
        batch = f"{count} image{'' if count == 1 else 's'} of {_shape(inputs[0])}"
        if inputs.dim() == 4 and inputs.shape[-1] in _CHANNELS and inputs.shape[1] > max(_CHANNELS):
            hint = "; the last dimension looks like channels, which come first here"
        elif _NEEDS_GRADIENT in text and not any(p.requires_grad for p in network.parameters()):
            hint = "; parameters of the copy that is judged take no gradient, which it may need"
        elif count != 1 and _runs(network, inputs[:1]):
            hint = "; smaller batches may do: --batch-size N"
        if isinstance(error, torch.OutOfMemoryError):
            raise EnvironmentFailure(
                f"out of memory on a batch of {batch}{hint}: {text}"
            ) from error
        raise NetworkError(
            f"the network ({type(network).__name__}) raises {type(error).__name__}: {text}, on a "
            f"batch of {batch}{hint}"
        ) from error


def _runs(network: nn.Module, inputs: Tensor) -> bool:
    """Whether a network takes these inputs, with a gradient where they have one."""
    devices = [inputs.device] if inputs.device.type == "cuda" else []
    with torch.random.fork_rng(devices), suppress(Exception, SystemExit):
        network(inputs.detach().clone().requires_grad_(inputs.requires_grad))
        return True
    return False


def _tensors(returned: object) -> dict[str, Tensor]:
    """The tensors in what a network returned, by key, number or attribute; those of a tuple, list
    or mapping within it by both names, as in ``0.1``."""
    named: Iterable[tuple[object, object]] = ()
    if isinstance(returned, Mapping):
        named = returned.items()
    elif isinstance(returned, tuple) and hasattr(returned, "_fields"):
        named = zip(returned._fields, returned, strict=True)
    elif isinstance(returned, (tuple, list)):
        named = enumerate(returned)
    elif hasattr(returned, "__dict__"):
        named = vars(returned).items()
    entries: dict[str, Tensor] = {}
    for name, one in named:
        if isinstance(one, Tensor):
            entries[str(name)] = one
        elif isinstance(one, (Mapping, tuple, list)):
            entries |= {f"{name}.{inner}": tensor for inner, tensor in _tensors(one).items()}
    if "logits" not in entries and isinstance(one := getattr(returned, "logits", None), Tensor):
        entries["logits"] = one
    return entries


def _chosen(entries: Mapping[str, Tensor], classes: int | None) -> str:
    """The name of the logits among several tensors.

    Raises:
        AmbiguousOutputError: nothing tells which they are.
    """
    named = [name for name in entries if _last(name) == "logits"]
    if "logits" in entries or len(entries) == 1 or len(named) == 1:
        return "logits" if "logits" in entries else next(iter(named or entries))
    rows = {
        name: one.shape[1]
        for name, one in entries.items()
        if one.dim() == 2 and one.shape[1] > 1 and one.is_floating_point()
    }
    # Where the data have two classes, one logit does.
    alone = [name for name, one in entries.items() if one.dim() == 2 and one.shape[1] == 1]
    fitting = [name for name, count in rows.items() if count == classes]
    for candidates in (fitting, list(rows), alone if classes in (None, 2) else []):
        if len(candidates) == 1:
            return candidates[0]
        usual = [name for own in _USUAL_NAMES for name in candidates if _last(name) == own]
        if len(usual) == 1:
            return usual[0]
        if candidates:
            break
    raise AmbiguousOutputError(
        f"it returns several tensors, and nothing tells which are the logits: {_listed(entries)}; "
        "name them with --output (output= in Python)"
    )


def _row(logits: Tensor) -> Tensor:
    """The logits of a single image as a row, where its network has squeezed them."""
    return logits.reshape(1, -1) if logits.dim() < 2 else logits


def _last(name: str) -> str:
    """What an entry is called in the tuple or mapping that holds it."""
    return name.rpartition(".")[2]


def _listed(entries: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} ({_shape(one)})" for name, one in entries.items())


def _shape(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "a number"


def _entry(returned: object, name: str) -> object:
    """What stands in ``returned`` under a key, number or attribute; ``0.1`` is the second entry of
    the first."""
    if isinstance(returned, Mapping) and name in returned:
        return returned[name]
    if isinstance(returned, (tuple, list)) and name.lstrip("-").isdecimal():
        number = int(name)
        return returned[number] if -len(returned) <= number < len(returned) else None
    first, dot, rest = name.partition(".")
    return _entry(_entry(returned, first), rest) if dot else getattr(returned, name, None)


def _described(returned: object) -> str:
    kind = type(returned).__name__
    if isinstance(returned, Mapping):
        return f"a {kind} with the keys {', '.join(map(str, returned))}"
    if isinstance(returned, (tuple, list)):
        return f"a {kind} of {', '.join(type(entry).__name__ for entry in returned)}"
    return f"a {kind}"


def _leaves_inputs_alone(network: nn.Module) -> bool:
    """Whether a network certainly does not change its input in place: its first layer is one that
    returns new tensors."""
    return (
        type(network) is nn.Sequential
        and len(network) > 0
        and isinstance(network[0], (Normalize, InputFilter))
    )


def _rounded(logits: Tensor, dtype: torch.dtype) -> Tensor:
    """Logits in another dtype.

    Where they lie so far from 0 that it would make ties of them, as log likelihoods may, they are
    taken relative to the largest of their row, which changes no softmax.
    """
    if torch.finfo(dtype).eps <= torch.finfo(logits.dtype).eps:
        return logits.to(dtype)
    largest = logits.detach().nan_to_num().amax(dim=1, keepdim=True)
    far = largest.abs() > _FAR_FROM_ZERO
    return torch.where(far, logits - largest, logits).to(dtype)


def _without_minus_infinity(logits: Tensor) -> Tensor:
    masked = logits == -torch.inf
    if not bool(masked.any()):
        return logits
    least = logits.detach().masked_fill(masked, torch.inf).amin(dim=1, keepdim=True)
    return torch.where(masked, least - _FAR_BELOW, logits)


def unwrapped(network: nn.Module) -> nn.Module:
    """The network inside ``DataParallel``, ``DistributedDataParallel`` or ``torch.compile``.

    Those wrappers spread the work or speed it up; the function is that of the network inside, which
    can be copied and moved to another device. A wrapper that does something of its own stays: one
    of a class derived from these with another ``forward``, or one with hooks.
    """
    inner: object = network
    while True:
        assert isinstance(inner, nn.Module)
        within = _within(inner)
        if within is None or _has_hooks(inner):
            return inner
        inner = within


def _within(wrapper: nn.Module) -> nn.Module | None:
    """The network in a wrapper that passes everything on to it; None for any other module."""
    kind = type(wrapper)
    if kind.__module__.partition(".")[0] == "torch" and hasattr(wrapper, "_orig_mod"):
        compiled: nn.Module = wrapper._orig_mod  # type: ignore[assignment]
        return compiled
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    usual = next((one for one in parallel if isinstance(wrapper, one)), None)
    if usual is None or "forward" in vars(wrapper):
        return None
    if any(getattr(kind, name) is not getattr(usual, name) for name in ("forward", "__call__")):
        return None
    inner: nn.Module = wrapper.module  # type: ignore[assignment]
    return inner


def _has_hooks(module: nn.Module) -> bool:
    hooks = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
    return any(vars(module).get(name) for name in hooks)


def set_evaluation_mode(network: nn.Module) -> None:
    """Call ``network.eval()``, also where parts of it are programs of ``torch.export``.

    Such a program was exported in one mode and cannot change it.
    """
    if is_exported(network):
        return
    try:
        network.eval()
    except NotImplementedError:
        for part in network.children():
            set_evaluation_mode(part)
        network.training = False


def is_exported(network: nn.Module) -> bool:
    """Whether a module is a program of ``torch.export``, whose mode is fixed: its own ``eval`` is
    replaced by a function that refuses."""
    return isinstance(network, torch.fx.GraphModule) and "eval" in vars(network)


def part_in_training_mode(network: nn.Module, name: str = "") -> str | None:
    """Name of the first part of a network that is in training mode; None where none is."""
    if is_exported(network):
        return None
    if getattr(network, "training", False):  # frozen TorchScript has no mode
        return name or type(network).__name__
    for child, part in network.named_children():
        inner = part_in_training_mode(part, f"{name}.{child}" if name else child)
        if inner is not None:
            return inner
    return None


def copied(network: nn.Module) -> nn.Module:
    """A deep copy of a network whose parameters require no gradient.

    Weight and spectral normalisation leave computed tensors in a module, which ``deepcopy``
    refuses; the copy gets their values, and computes them anew when it is called.

    Raises:
        RuntimeError, TypeError: some part of the network cannot be copied, such as a lock or an
            open file.
    """
    computed = {
        id(value): value.detach().clone()
        for module in network.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    with torch.no_grad():  # scripted modules clone their parameters within the graph otherwise
        twin = copy.deepcopy(network, computed)
    for parameter in twin.parameters():
        parameter.requires_grad_(False)
    remember(twin, made_under(network))
    return twin
