"""The commands that carry out runs. Each has components (its models, its attacks), which are the files of a package."""

from __future__ import annotations

from dataclasses import dataclass

from advlab import names
from advlab.config.base import Options
from advlab.config.commands import DataCommandOptions, ListCommandOptions
from advlab.errors import UserError


@dataclass(frozen=True)
class Command:
    """A command whose first word after it is a component.

    Attributes:
        summary: one line for the help.
        package: where its components' files lie.
        kind: what a component is called.
        key: what a component is called in a YAML file.
        experiment: the module that carries a plan out.
        example: a line that works as typed.
    """

    name: str
    summary: str
    package: str
    kind: str
    key: str
    experiment: str
    example: str

    def components(self) -> list[str]:
        """Names of the components, sorted."""
        return names.modules_in(self.package)

    def options(self, component: str) -> type[Options]:
        """The options class of a component; importing it does not import torch.

        Raises:
            UserError: there is no such component. One that another command has is pointed out.
        """
        if component not in self.components():
            for other in COMMANDS.values():
                if component in other.components():
                    raise UserError(f"{component} is no {self.kind}; it goes with 'advlab {other.name} {component}'")
        kind: type[Options] = names.load(self.package, component, self.kind).Options
        return kind


COMMANDS = {
    command.name: command
    for command in (
        Command(
            "train",
            "train a network and measure it on the test images",
            "advlab.models",
            "model",
            "model",
            "advlab.experiments.train",
            "advlab train cnn --dropout",
        ),
        Command(
            "attack",
            "perturb test images so that a network gets them wrong",
            "advlab.attacks",
            "attack",
            "attack",
            "advlab.experiments.attack",
            "advlab attack fgsm --eps 0.1",
        ),
    )
}

SIDE_COMMANDS: dict[str, type[Options]] = {"data": DataCommandOptions, "list": ListCommandOptions}
"""Commands that carry out no runs, have no components and take no configuration."""


def command_named(name: str) -> Command:
    """The command of that name.

    Raises:
        UserError: there is none.
    """
    if name in SIDE_COMMANDS:
        raise UserError(f"'advlab {name}' takes no configuration; these do: {', '.join(COMMANDS)}")
    if name not in COMMANDS:
        raise UserError(
            f"unknown command {name!r}{names.suggestion(name, COMMANDS)}; those that take a configuration: {', '.join(COMMANDS)}"
        )
    return COMMANDS[name]


def owner_of(key: str) -> str | None:
    """The first command, as it is typed, that has an option of that name; None where there is none."""
    for command in COMMANDS.values():
        if key == command.key or any(key in command.options(name).model_fields for name in command.components()):
            return f"advlab {command.name}"
    return next((f"advlab {name}" for name, kind in SIDE_COMMANDS.items() if key in kind.model_fields), None)
