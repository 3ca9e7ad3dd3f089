"""The commands that carry out runs, and their components or actions."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import create_model

from advlab.components import check_known, component_names, listed, load_component, suggestion
from advlab.config.base import Options
from advlab.config.fields import image_models
from advlab.config.model_modules import PACKAGE as MODELS
from advlab.config.model_modules import is_referenced, model_module
from advlab.config.options.compare import CompareOptions
from advlab.config.options.contrast import METHODS as CONTRASTIVE_METHODS
from advlab.config.options.export import ExportOptions
from advlab.config.options.gan import ACTIONS as GAN_ACTIONS
from advlab.config.options.inspect import VIEWS
from advlab.config.options.listing import ListCommandOptions, RemoveOptions, ReportOptions
from advlab.config.options.memorize import MemorizeOptions
from advlab.config.options.plot import PlotOptions
from advlab.config.options.poison import ImagePoisonOptions, PoisonOptions
from advlab.config.options.run import (
    DataCommandOptions,
    DemoOptions,
    TrainImagesOptions,
    TrainTextsOptions,
)
from advlab.config.options.scratch import ACTIONS as SCRATCH_ACTIONS
from advlab.config.references import LIBRARIES, checkpoint_model, names_code, names_file
from advlab.errors import UsageError


@dataclass(frozen=True)
class Command:
    """A command whose first word after it is a component.

    Attributes:
        summary: one line for the help.
        kind: what a component is called, in help and as a key of a YAML file.
        example: a line that works as typed.
        package: the package whose files are the components; empty where ``actions`` lists them.
        actions: the options of each component, where components are words of this command alone.
        usual: the component that is meant where none is named; empty where one must be.
        adds: options that join those of every component, and whose defaults win: by what a
            component takes, images or texts.
        trains: whether a component's options are joined by those of the network that ``model``
            names.
        shares_batches: whether several processes, started by ``torchrun``, train together.
    """

    name: str
    summary: str
    kind: str
    example: str
    package: str = ""
    actions: Mapping[str, type[Options]] = field(default_factory=dict)
    usual: str = ""
    adds: Mapping[str, type[Options]] | None = None
    trains: bool = False
    shares_batches: bool = False

    @property
    def experiment(self) -> str:
        """The module that carries out a plan."""
        return f"advlab.experiments.{self.name}.run"

    def components(self) -> list[str]:
        """Names of the components, sorted; without those that take what this command has no options
        for."""
        return [name for name in self._all() if not self.adds or self.takes(name) in self.adds]

    def _all(self) -> list[str]:
        return sorted(self.actions) or component_names(self.package)

    def takes(self, component: str) -> str:
        """Return the data that a component takes: images, or texts if its module says so."""
        if not self.package:
            return "images"
        taken: str = getattr(load_component(self.package, component, self.kind), "TAKES", "images")
        return taken

    def options(self, component: str, network: str | None = None) -> type[Options]:
        """The options class of a component; importing it does not import torch.

        Args:
            network: whose options join in, where the command trains one; the component's default
                where not given.

        Raises:
            UsageError: there is no such component. One that another command has is pointed out.
        """
        if self.package == MODELS:
            component = network_in(component)
            if is_referenced(component):
                assert self.adds is not None
                return _added(self.adds["images"], model_module(component).Options)
        if component not in self.components():
            if self.adds and component in self._all():
                fitting = ", ".join(self.components())
                raise UsageError(
                    f"{component} takes {self.takes(component)}, and 'advlab {self.name}' "
                    f"{' or '.join(self.adds)}: {fitting}"
                )
            for other in COMMANDS.values():
                if component in other.components():
                    raise UsageError(
                        f"{component} is no {self.kind}; it goes with 'advlab {other.name} "
                        f"{component}'"
                    )
        check_known(component, self._all(), self.kind)
        kind = (
            self.actions.get(component)
            or load_component(self.package, component, self.kind).Options
        )
        if self.adds:
            return _added(self.adds[self.takes(component)], kind)
        return _joined(kind, network or kind.model_fields["model"].default) if self.trains else kind

    def every(self, component: str, network: str | None = None) -> list[type[Options]]:
        """The options classes of a component with each network that it may train, that of
        ``network`` last."""
        if not self.trains:
            return [self.options(component)]
        last = (
            network
            if network in image_models() or is_referenced(network)
            else self.options(component).model_fields["model"].default
        )
        return [
            self.options(component, name)
            for name in [*(name for name in (*image_models(), LIBRARIES[0]) if name != last), last]
        ]


def network_in(component: str) -> str:
    """The network that a checkpoint or the folder of a run holds; any other text as it is.

    Raises:
        UsageError: it holds no classifier of images, or one that is made by code.
    """
    known = component in component_names(MODELS) or is_referenced(component)
    if known or not names_file(component):
        return component
    if component.endswith(".py"):
        raise UsageError(
            f"{component}: names a file of Python code; add the function that makes the network, "
            f"as in {component}:FUNCTION"
        )
    stored = checkpoint_model(component)
    if stored is None:
        raise UsageError(
            f"{component}: neither a model nor a checkpoint of a classifier of images; "
            "'advlab list models' shows the models"
        )
    model, _ = stored
    if names_code(model):
        raise UsageError(
            f"{component}: its network is made by code, which only the command line may name; type "
            f"{model} in its place, with --weights {component}"
        )
    return model


@functools.cache
def _joined(kind: type[Options], network: str) -> type[Options]:
    """The component's own options, then those of the network and its training; the component's
    defaults win."""
    trained = model_module(network).Options
    return create_model(
        "Options", __base__=(kind, trained), __doc__=kind.__doc__, __module__=kind.__module__
    )


@functools.cache
def _added(options: type[Options], kind: type[Options]) -> type[Options]:
    """The command's own options before those of a component."""
    return create_model(
        "Options", __base__=(options, kind), __doc__=kind.__doc__, __module__=kind.__module__
    )


COMMANDS = {
    command.name: command
    for command in (
        Command(
            "train",
            summary="train a classifier of images or texts and measure it on the test set",
            kind="model",
            example="advlab train cnn --dropout",
            package=MODELS,
            adds={"images": TrainImagesOptions, "texts": TrainTextsOptions},
            shares_batches=True,
        ),
        Command(
            "attack",
            summary="perturb test images, a photo or texts so that a network misclassifies them",
            kind="attack",
            example="advlab attack fgsm --eps 0.1",
            package="advlab.attacks",
        ),
        Command(
            "inspect",
            summary="show a network's predictions, its convolution filters and saliency maps",
            kind="view",
            example="advlab inspect saliency --image 7",
            actions=VIEWS,
            usual="predict",
        ),
        Command(
            "defend",
            summary="train a robust network and compare it with the same network undefended",
            kind="defence",
            example="advlab defend pgd --eps 0.1",
            package="advlab.defenses",
            trains=True,
            shares_batches=True,
        ),
        Command(
            "evaluate",
            summary="run a suite of attacks, or measure corruptions, detectors or certified radii",
            kind="suite",
            example="advlab evaluate --eps 0.1",
            package="advlab.evaluation.suites",
            usual="standard",
        ),
        Command(
            "gan",
            summary="train a generator and a discriminator; sample, interpolate and compare",
            kind="action",
            example="advlab gan --zdim 100",
            actions=GAN_ACTIONS,
            usual="train",
        ),
        Command(
            "contrast",
            summary="learn features without labels (SimCLR, MoCo); linear probe, k-NN evaluation",
            kind="method",
            example="advlab contrast --temperature 0.5",
            actions=CONTRASTIVE_METHODS,
            usual="simclr",
            shares_batches=True,
        ),
        Command(
            "poison",
            summary="poison training data, measure the effect, and detect the poisoned rows",
            kind="model",
            example='advlab poison --entity "UC Berkeley"',
            package=MODELS,
            usual="bow",
            adds={"images": ImagePoisonOptions, "texts": PoisonOptions},
        ),
        Command(
            "scratch",
            summary="train a network written in NumPy, or check its derivatives",
            kind="action",
            example="advlab scratch --lr 1e-4 1e-3 1e-2 .1 1",
            actions=SCRATCH_ACTIONS,
            usual="train",
        ),
        Command(
            "memorize",
            summary="train on random labels and compare with training on true labels",
            kind="model",
            example="advlab memorize --random-labels 0 .25 .5 .75 1",
            package=MODELS,
            usual="mlp",
            adds={"images": MemorizeOptions},
        ),
    )
}

SIDE_COMMANDS: dict[str, type[Options]] = {
    "demo": DemoOptions,
    "data": DataCommandOptions,
    "list": ListCommandOptions,
    "report": ReportOptions,
    "compare": CompareOptions,
    "plot": PlotOptions,
    "export": ExportOptions,
    "remove": RemoveOptions,
}
"""Commands that carry out no runs, have no components and take no configuration."""


def command_named(name: str) -> Command:
    """The command of that name.

    Raises:
        UsageError: there is none.
    """
    if name in SIDE_COMMANDS:
        raise UsageError(f"'advlab {name}' takes no configuration; these do: {', '.join(COMMANDS)}")
    if name not in COMMANDS:
        raise UsageError(
            f"unknown command {name!r}{suggestion(name, COMMANDS)}; those that take a "
            f"configuration: {', '.join(COMMANDS)}"
        )
    return COMMANDS[name]


def owners_of(key: str) -> str:
    """The commands, as they are typed, that have an option of that name, the first three of many;
    empty where there are none."""
    owners = [
        name
        for name, command in COMMANDS.items()
        if key == command.kind
        or any(key in command.options(one).model_fields for one in command.components())
    ]
    owners += [name for name, kind in SIDE_COMMANDS.items() if key in kind.model_fields]
    typed = [f"'advlab {name}'" for name in owners]
    return listed([*typed[:3], "others"] if len(typed) > 5 else typed)
