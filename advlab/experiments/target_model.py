"""The target model of a command: whatever ``--model`` names, as one object."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn
from torch.nn.parameter import is_lazy

from advlab.config.fields import image_models
from advlab.config.options.run import DataOptions, TargetOptions
from advlab.config.references import is_target, names_code, names_ensemble, names_library
from advlab.config.resolve import Config
from advlab.data.image_set import ImageSet
from advlab.errors import UsageError
from advlab.experiments import pretrained
from advlab.experiments.ensembles import load_ensemble
from advlab.experiments.titles import ensemble_title
from advlab.experiments.trained_classifier import (
    AUTO,
    TrainedClassifier,
    UnnamedNetwork,
    load_classifier,
    newest_or_trained,
)
from advlab.logs import logger
from advlab.networks import checkpoint, code, referenced
from advlab.networks.adapter import Adapter, unwrapped
from advlab.networks.class_names import ClassNames
from advlab.networks.code_hash import code_hash, refusing_unreadable
from advlab.networks.metadata import ImageClassifierMetadata
from advlab.networks.preprocessing import Framing, Preprocessing
from advlab.networks.weights import check_numbers, check_values, read_state
from advlab.perturbation.precision import COMPARED, dependable, weak_precision
from advlab.runs.machine import Machine
from advlab.runs.results import NetworkRecord


@dataclass(frozen=True)
class Description:
    """What the user says of a network that advlab did not train; None where nothing is said.

    Attributes:
        weights: the file of its weights.
        output: key or number of its logits, where it returns several tensors.
        mean, std: numbers that normalise its pixels, one or one for each channel.
        resize, crop: sides in pixels that images are scaled to and cropped to inside it.
    """

    weights: str | None = None
    output: str | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    resize: int | None = None
    crop: int | None = None

    @classmethod
    def of(cls, options: TargetOptions) -> Description:
        """What the options say."""
        return cls(
            options.weights,
            options.output,
            options.mean,
            options.std,
            options.resize,
            options.crop,
        )

    def refuse(self, besides: Sequence[str] = ()) -> None:
        """Refuse what a checkpoint of advlab says itself, ``besides`` some of it.

        Raises:
            UsageError: it is said here.
        """
        for name, value in vars(self).items():
            if value is not None and name not in besides:
                trained_at = "; 'advlab train NAME --resize N' trains one that scales its images"
                raise UsageError(
                    f"--{name}: goes with --model torchvision:NAME, another library's network or "
                    f"your own code; what advlab trained is used as it was trained"
                    f"{trained_at if name == 'resize' else ''}"
                )


@dataclass(frozen=True)
class NamedNetwork:
    """A network as the user names it.

    Attributes:
        option: what names it, such as ``--model``.
        text: as what.
        description: what else is said of it.
    """

    option: str
    text: str
    description: Description = Description()

    @property
    def foreign(self) -> bool:
        """Whether it is one of a library, or the user's own code."""
        by_its_place = self.option == "--checkpoint"
        return not by_its_place and (names_library(self.text) or names_code(self.text))

    @property
    def where(self) -> str:
        """What a refusal begins with."""
        return f"{self.option} {self.text}"


@dataclass(frozen=True)
class TargetModel:
    """A network with what a command must know of it, whoever trained it.

    Attributes:
        network: from images in [0, 1] to logits, in evaluation mode; preprocessing is part of it.
        body: the part of it whose layers have names.
        label: a short name for titles.
        place: what ``--model`` names it by.
        where: what a refusal begins with.
        record: what a result says of it.
        contents: sha256 of everything that makes it what it is, by what it is.
        classes: names of its classes; None where they are unknown.
        trained: the checkpoint, for a network that advlab trained; None for any other.
        preprocessing: what is done to images inside ``network``.
        runs_code: whether it is the user's own code.
    """

    network: nn.Module
    body: nn.Module
    label: str
    place: str
    where: str
    record: NetworkRecord
    contents: Mapping[str, str]
    classes: ClassNames | None
    trained: TrainedClassifier | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    runs_code: bool = False

    @property
    def framing(self) -> Framing | None:
        """What brings an image to the network's own size; None where it takes images as they
        are."""
        first = self.network[0] if isinstance(self.network, nn.Sequential) else None
        return first if isinstance(first, Framing) else None

    @property
    def filtered(self) -> bool:
        """Whether input filters stand in front of it."""
        return self.trained is not None and bool(self.trained.metadata.filters)

    def class_names(self, count: int) -> tuple[str, ...]:
        """Names of its ``count`` classes; numbers where they are unknown."""
        if self.classes is not None and len(self.classes) == count:
            return self.classes.names
        return tuple(f"class {number}" for number in range(count))

    def contents_as(self, role: str) -> dict[str, str]:
        """The contents of a network that is not the target, such as ``surrogate`` and ``surrogate
        code``."""
        return {key.replace("network", role, 1): value for key, value in self.contents.items()}

    def settled(self, config: Config) -> Config:
        """The configuration with the network's place and kind in it, for ``auto`` and aliases."""
        if names_ensemble(self.place):
            return config.changed(checkpoint=self.place, model=AUTO)
        if self.trained is not None and not self.runs_code:
            return config.changed(checkpoint=self.place, model=self.record.model)
        return config.changed(model=self.place, checkpoint=None, factory=None)

    @property
    def metadata(self) -> ImageClassifierMetadata | None:
        """What its checkpoint says, for a network that advlab trained."""
        return None if self.trained is None else self.trained.metadata

    def introduction(self) -> str:
        """A line about the network: where its weights are from, and its preprocessing."""
        source = f", weights {self.record.source}" if not self.runs_code else ""
        return f"network: {self.label}{source}; preprocessing: {self.preprocessing.describe()}"


def named(options: TargetOptions) -> TargetModel | None:
    """The network that ``--model``, ``--checkpoint`` or ``--factory`` names; None where the newest
    one of a component is meant.

    Raises:
        UsageError: there is no such network, several are named, or an option is given that it has
            no use for.
        EnvironmentFailure: weights cannot be downloaded, or the library is not installed.
    """
    check_describing(options)
    given = _given(options)
    if given is None:
        return None
    option, text = given
    network = NamedNetwork(option, text, Description.of(options))
    return _load(network)


def check_describing(options: TargetOptions) -> None:
    """Refuse options that describe a network which describes itself. No network is loaded.

    Raises:
        UsageError: such an option is given, or several networks are named.
    """
    given, description = _given(options), Description.of(options)
    if given is None or not NamedNetwork(*given).foreign:
        description.refuse()
    elif names_code(given[1]) and _is_checkpoint(description.weights):
        description.refuse(besides=("weights",))


def _given(options: TargetOptions) -> tuple[str, str] | None:
    """The option that names the network, and its value; None where the newest one of a component
    is meant.

    Raises:
        UsageError: several options name one.
    """
    typed = {"--checkpoint": options.checkpoint, "--factory": options.factory}
    if names_network(options.model):
        typed["--model"] = options.model
    chosen = [(flag, text) for flag, text in typed.items() if text is not None]
    if len(chosen) > 1:
        raise UsageError(
            f"{' and '.join(flag for flag, _ in chosen)} each name a network; leave one of them out"
        )
    return chosen[0] if chosen else None


def _is_checkpoint(weights: str | None) -> bool:
    """Whether ``--weights`` names a network that advlab trained."""
    return weights is not None and checkpoint.is_image_classifier(Path(weights))


def named_by(text: str, option: str) -> TargetModel:
    """The network that ``option`` names by ``text``, without further options.

    Raises:
        UsageError: there is no such network.
    """
    network = NamedNetwork(option, text)
    return _load(network)


def newest(
    options: TargetOptions,
    data: ImageSet,
    check: Callable[[nn.Module], None] | None = None,
) -> TargetModel:
    """The newest network of ``--model`` on the data set; trained first where there is none."""
    wanted = UnnamedNetwork(
        options.model,
        options.out,
        options.part(DataOptions),
        options.device,
        options.threads,
        options.seed,
    )
    return _of_trained(newest_or_trained(wanted, data, check))


def names_network(text: str) -> bool:
    """Whether a value of ``--model`` names one network, and is no component and not ``auto``."""
    return text != AUTO and text not in image_models() and is_target(text)


def _of_trained(trained: TrainedClassifier) -> TargetModel:
    network = trained.network
    return TargetModel(
        network,
        network[-1] if isinstance(network, nn.Sequential) else network,
        trained.label,
        str(trained.place),
        str(trained.file),
        trained.describe(),
        {"network": trained.sha256},
        ClassNames(tuple(trained.metadata.classes)),
        trained,
    )


def _load(named: NamedNetwork) -> TargetModel:
    """The network that was named, as it is loaded by its kind."""
    weights = named.description.weights
    if names_ensemble(named.text):
        return _of_ensemble(named)
    if not named.foreign:
        return _of_trained(load_classifier(named.text, named.option))
    if names_library(named.text):
        return _of_library(named)
    if weights is not None and _is_checkpoint(weights):
        return _of_trained_code(named.text, weights, named.where)
    return _of_code(named)


def _of_ensemble(named: NamedNetwork) -> TargetModel:
    """Several networks that advlab trained, as one."""
    ensemble = load_ensemble(named.text, named.option)
    trained = ensemble.classifier
    return TargetModel(
        trained.network,
        trained.network,
        ensemble_title(named.text),
        named.text,
        named.where,
        ensemble.record,
        {"network": trained.sha256},
        ClassNames(tuple(trained.metadata.classes)),
        trained,
    )


def _of_library(named: NamedNetwork) -> TargetModel:
    """A network of a library."""
    library = pretrained.load(named.text, named.description.weights)
    return _described(
        named,
        library.network,
        library.record,
        {"network": library.record.sha256},
        library.preprocessing,
        library.classes,
    )


def _of_code(named: NamedNetwork) -> TargetModel:
    """The user's own network."""
    where, weights = named.where, named.description.weights
    referenced.trust(named.text)
    module = unwrapped(code.load(named.text, where))
    _check_initialised(module, where)
    _load_weights(module, weights, where)
    with refusing_unreadable(where):
        sha256, code_sha256 = checkpoint.sha256_of(module), code_hash(module)
    # The function, and not the class of what it returns: two of one class may differ in all else.
    name = named.text.rsplit("/", 1)[-1]
    record = NetworkRecord(model=name, sha256=sha256, path=weights, source=named.text)
    contents = {"network": sha256, "network code": code_sha256}
    return _described(named, module, record, contents, Preprocessing(), None, runs_code=True)


def _described(
    named: NamedNetwork,
    module: nn.Module,
    record: NetworkRecord,
    contents: Mapping[str, str],
    preprocessing: Preprocessing,
    classes: ClassNames | None,
    runs_code: bool = False,
) -> TargetModel:
    """A network that advlab did not train, with the preprocessing and output of its description."""
    description = named.description
    preprocessing = preprocessing.changed(
        description.resize, description.crop, description.mean, description.std
    )
    layers, adapter = preprocessing.layers(), Adapter(module, description.output)
    return TargetModel(
        nn.Sequential(*layers, adapter).eval() if layers else adapter,
        module,
        named.text,
        named.text,
        named.where,
        record,
        contents,
        classes,
        preprocessing=preprocessing,
        runs_code=runs_code,
    )


def _of_trained_code(text: str, weights: str, where: str) -> TargetModel:
    """The user's own network with the weights that advlab trained it to, from a checkpoint.

    Raises:
        UsageError: the checkpoint holds another network.
    """
    referenced.trust(text)
    try:
        network, metadata = checkpoint.load(Path(weights), text)
    except UsageError as error:
        raise UsageError(f"--weights: {error}") from error
    file = checkpoint.locate(Path(weights))
    checkpoint.warn_of_unfinished(file)
    trained = TrainedClassifier(network, metadata, file, checkpoint.sha256(file))
    target = _of_trained(trained)
    with refusing_unreadable(where):
        body = code_hash(referenced.trainable(network).network)
    return replace(
        target,
        place=text,
        where=where,
        contents={**target.contents, "network code": body},
        runs_code=True,
    )


def _check_initialised(module: nn.Module, where: str) -> None:
    """Refuse lazy layers that have not seen an image yet: they have no weights."""
    for name, parameter in module.named_parameters():
        if is_lazy(parameter):
            raise UsageError(
                f"{where}: {name} belongs to a lazy layer that has no weights yet; call the "
                "network on an image once before it is returned"
            )


def _load_weights(module: nn.Module, weights: str | None, where: str) -> None:
    """Load the state dict that ``--weights`` names into the user's own network."""
    if weights is None:
        return
    expected = module.state_dict()
    state = read_state(Path(weights), lambda: expected)
    check_values(state, f"--weights: {weights}")
    check_numbers(state, expected, f"--weights: {weights}")
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[1:2]) or str(error)
        raise UsageError(
            f"--weights: {weights} does not hold weights of {where}: {reason[:200]}"
        ) from error


def usable_machine(
    target: TargetModel,
    data: ImageSet,
    machine: Machine,
    precision: str,
) -> Machine:
    """The machine with a precision of gradients in which attacks on the network are not weaker.

    Where the precision is ``auto``, a network gets gradients in float32 if it needs them; see
    ``advlab.perturbation.precision``.
    """
    if precision != "auto":
        return machine
    images = data.test.inputs(slice(0, COMPARED), machine.device)
    usable, reason = dependable(target.network, images, machine)
    if reason:
        logger.info(f"gradients in fp32: {reason}")
    return usable


def weak_precision_of(
    target: TargetModel, data: ImageSet, machine: Machine, precision: str
) -> dict[str, str]:
    """The check whether the precision that was asked for weakens attacks on the network."""
    images = data.test.inputs(slice(0, COMPARED), machine.device)
    return weak_precision(target.network, images, machine, precision)
