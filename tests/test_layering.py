"""Which part of the package may import which, and which other packages may be imported at all."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

import advlab

ROOT = Path(advlab.__file__).parent

# From top to bottom. A part may import the parts in the lines below its own, and itself.
LAYERS = (
    ("__main__",),
    ("api",),
    ("cli",),
    ("experiments",),
    ("defenses", "evaluation", "gan", "contrastive", "poisoning", "inspection"),
    ("robust_training",),
    ("attacks",),
    ("perturbation",),
    ("training",),
    ("data", "models", "augmentation", "scratch"),
    ("networks",),
    ("metrics", "plots"),
    ("results",),
    ("runs",),
    ("config",),
    ("components", "input_files", "logs", "progress"),
    ("errors",),
    ("__init__",),
)
LEVEL = {part: -number for number, parts in enumerate(LAYERS) for part in parts}

# Import name to the distribution in pyproject.toml that brings it, where the two are called
# differently.
BROUGHT_BY = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "scipy": "scikit-learn",
    "yaml": "pyyaml",
    "pydantic_core": "pydantic",
    "numpy": "scikit-learn",
    "threadpoolctl": "scikit-learn",
}


class Sources(Mapping[str, ast.Module]):
    """Module name to syntax tree, for every file of the package; a file is parsed when it is asked
    for, as the tests are collected by several processes."""

    def __init__(self) -> None:
        self._files: dict[str, Path] = {}
        self._trees: dict[str, ast.Module] = {}
        for file in sorted(ROOT.rglob("*.py")):
            parts = file.relative_to(ROOT.parent).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)
            self._files[name] = file

    def __getitem__(self, name: str) -> ast.Module:
        if name not in self._trees:
            self._trees[name] = ast.parse(self._files[name].read_text(encoding="utf-8"))
        return self._trees[name]

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


SOURCES = Sources()


def imported(name: str, tree: ast.AST) -> set[str]:
    """What a tree imports anywhere in it, as full dotted names; ``from a import b`` is ``a`` and,
    where it is a file, ``a.b``."""
    found: set[str] = set()
    nodes: Iterable[ast.AST] = ast.walk(tree)
    if name == "advlab.__init__" and isinstance(tree, ast.Module):
        # What it imports for type checkers alone is the public interface, which lies at the top.
        nodes = (node for part in tree.body if not isinstance(part, ast.If) for node in [part])
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = name.split(".")[: -node.level] if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            found |= {base} | {
                f"{base}.{alias.name}" for alias in node.names if f"{base}.{alias.name}" in SOURCES
            }
    return found


def part_of(module: str) -> str:
    pieces = module.split(".")
    return pieces[1] if len(pieces) > 1 else "__init__"


def parent(module: str) -> str:
    return module.rsplit(".", 1)[0]


def child(package: str, module: str) -> str:
    """The file or sub-package of ``package`` that ``module`` is or lies in."""
    return module.removeprefix(f"{package}.").split(".")[0]


def test_every_part_has_its_layer() -> None:
    assert {part_of(name) for name in SOURCES} == set(LEVEL)


def test_the_contributors_guide_lists_the_layers() -> None:
    guide = (ROOT.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.+?) \|", guide, flags=re.MULTILINE)
    listed: dict[int, set[str]] = {}
    for level, names in rows:
        listed.setdefault(int(level), set()).update(re.findall(r"`(\w+)/?`", names))
    assert list(listed.values()) == [set(parts) for parts in LAYERS[1:-1]]


@pytest.mark.parametrize("part", LEVEL)
def test_imports_go_down_only(part: str) -> None:
    wrong = [
        f"{name} imports {module}"
        for name, tree in SOURCES.items()
        if part_of(name) == part
        for module in imported(name, tree)
        if module.split(".")[0] == "advlab"
        and part_of(module) != part
        and LEVEL[part_of(module)] >= LEVEL[part]
    ]
    assert not wrong, wrong


def test_an_import_that_goes_up_would_be_seen() -> None:
    """The walk must know every spelling of an import, also inside a function and relative ones."""
    for text, module in (
        ("import advlab.cli.main", "advlab.cli.main"),
        ("from advlab.cli import main", "advlab.cli.main"),
        ("def f():\n    from advlab.cli.main import main", "advlab.cli.main"),
        ("from advlab import cli", "advlab.cli"),
        ("from ..cli import main", "advlab.cli.main"),
        ("from . import folder", "advlab.runs.folder"),
    ):
        assert module in imported("advlab.runs.files", ast.parse(text)), text


def test_no_two_files_need_each_other() -> None:
    """A cycle is an order of import that works by chance. Imports in functions count: they are
    cycles all the same."""
    needs = {
        name: {
            module
            for module in imported(name, tree)
            if module in SOURCES and len(module.split(".")) > 2 and module != name
        }
        for name, tree in SOURCES.items()
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " → ".join([*path[path.index(name) :], name])
        if name not in done:
            for other in sorted(needs[name]):
                visit(other, (*path, name))
            done.add(name)

    for name in sorted(needs):
        visit(name, ())


def test_no_module_imports_a_private_module_of_another_package() -> None:
    """A leading underscore means: for this package only."""
    wrong = [
        f"{name} imports {module}"
        for name, tree in SOURCES.items()
        for module in imported(name, tree)
        if module in SOURCES
        and any(piece.startswith("_") for piece in module.split(".")[1:])
        and parent(module) != parent(name)
    ]
    assert not wrong, wrong


PACKAGES = sorted({parent(name) for name in SOURCES if name.count(".") > 1})


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_down_inside_a_package_as_well(package: str) -> None:
    """Its files and sub-packages, taken as wholes, have an order in which each imports only those
    after it."""
    needs: dict[str, set[str]] = {}
    for name, tree in SOURCES.items():
        if name.startswith(f"{package}."):
            part = child(package, name)
            needs.setdefault(part, set())
            needs[part] |= {
                child(package, module)
                for module in imported(name, tree)
                if module.startswith(f"{package}.")
            } - {part}
    order: list[str] = []
    while len(order) < len(needs):
        free = [
            part for part, wanted in needs.items() if part not in order and wanted <= set(order)
        ]
        assert free, f"these import each other: {sorted(set(needs) - set(order))}"
        order += free


COMMANDS_IMPORTED = {"train", "evaluate"}
"""Commands whose experiment others carry out: a network that is missing is trained, and a defended
one gets the verdict of a suite."""


def test_commands_do_not_import_each_other() -> None:
    wrong = [
        f"{name} imports {module}"
        for name, tree in SOURCES.items()
        if name.startswith("advlab.experiments.")
        for module in imported(name, tree)
        if module.count(".") > 2
        and module.startswith("advlab.experiments.")
        and parent(module) != parent(name)
        if child("advlab.experiments", module) not in COMMANDS_IMPORTED
    ]
    assert not wrong, wrong


def test_the_tests_and_the_benchmarks_are_not_imported() -> None:
    modules = {
        module.split(".")[0] for name, tree in SOURCES.items() for module in imported(name, tree)
    }
    assert not modules & {"tests", "benchmarks"}


def dependencies() -> tuple[set[str], set[str]]:
    """The distributions that pyproject.toml asks for, and those that the package's imports need."""
    text = (ROOT.parent / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    assert block is not None
    asked = {re.split(r"[><=~!\[ ]", line)[0] for line in re.findall(r'"([^"]+)"', block.group(1))}
    outside = {
        module.split(".")[0] for name, tree in SOURCES.items() for module in imported(name, tree)
    } - {"advlab"}
    return asked, {
        BROUGHT_BY.get(name, name) for name in outside if name not in sys.stdlib_module_names
    }


def test_nothing_is_imported_that_only_this_machine_happens_to_have() -> None:
    asked, used = dependencies()
    assert len(used) > 8
    assert used <= asked


def test_nothing_is_installed_for_nothing() -> None:
    asked, used = dependencies()
    assert asked <= used


RUNS_WHAT_IT_READS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "pickle.load",
    "pickle.loads",
    "yaml.unsafe_load",
    "marshal.loads",
}


def test_nothing_that_runs_what_it_reads_is_used() -> None:
    """No unpickling, no eval, no YAML tags: what is loaded is data."""
    found = []
    for name, tree in SOURCES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if called in RUNS_WHAT_IT_READS:
                found.append(f"{name}: {called}")
            if called == "torch.load" and keywords.get("weights_only") != "True":
                found.append(f"{name}: torch.load without weights_only=True")
            if (
                called in ("np.load", "numpy.load")
                and keywords.get("allow_pickle", "False") != "False"
            ):
                found.append(f"{name}: np.load of pickles")
            if called == "yaml.load" and "Safe" not in ast.unparse(node):
                found.append(f"{name}: yaml.load without a safe loader")
            if called.startswith("subprocess.") and keywords.get("shell", "False") != "False":
                found.append(f"{name}: a shell")
    assert not found, found


VAGUE = {"made", "found", "kept", "shown", "said", "fell"}
# These names are keys in files that earlier versions wrote: states of trainings, records of
# figures.
VAGUE_KEYS = {
    "advlab.gan.trainer: kept",
    "advlab.plots.gan: kept",
    "advlab.plots.sheets: said",
}


def vague_names(name: str, tree: ast.AST) -> set[str]:
    """The variables and arguments, also attributes that are set, whose name does not say what they
    are."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
    return {f"{name}: {vague}" for vague in names & VAGUE}


def test_variables_are_named_for_what_they_are() -> None:
    vague = set()
    for name, tree in SOURCES.items():
        vague |= vague_names(name, tree)
    assert vague == VAGUE_KEYS


def test_every_kind_of_vague_name_would_be_seen() -> None:
    for text, vague in (
        ("found = []", "found"),
        ("for kept in range(3): pass", "kept"),
        ("[said for said in words]", "said"),
        ("if (shown := 1): pass", "shown"),
        ("def f(*, made): pass", "made"),
        ("made: int = 0", "made"),
        ("a, (fell, b) = c", "fell"),
        ("lambda found: found", "found"),
        ("self.found = 1", "found"),
    ):
        assert vague_names("module", ast.parse(text)) == {f"module: {vague}"}, text
    assert not vague_names("module", ast.parse('def found_words(kept_rows): "said"'))
