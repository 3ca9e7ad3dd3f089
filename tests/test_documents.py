"""Every command that the README and the pages of docs/ show, in the order of a reader, on a small
budget."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray

from advlab import __version__
from advlab.cli.main import main
from advlab.config.options.run import DataOptions
from advlab.config.registry import COMMANDS
from advlab.data import load_images
from advlab.data.image_set import ImageSet
from advlab.models import cnn, mlp

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"
LONGEST_README, WIDEST_LINE = 150, 120
NAV = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
PAGES = [README, *(DOCS / name for name in NAV)]


def _commands(page: Path) -> list[str]:
    """The lines of the page's ``sh`` blocks. What cannot run offline stands in a block without a
    language."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


# A line that stands on several pages runs once, where it comes first.
LINES = list(dict.fromkeys(line for page in PAGES for line in _commands(page)))
SMALLER = {
    "defend": ["--limit", "30", "--train-size", "150", "--channels", "4"],
    "defend augment": ["--seeds", "2"],
    "defend smooth": ["--certify", "3", "--samples", "20"],
    "gan --zdim": [
        "--width",
        "2",
        "--epochs",
        "1",
        "--samples",
        "60",
        "--evaluation-samples",
        "60",
        "--train-size",
        "200",
    ],
    "gan latent": ["--count", "40"],
    "memorize": ["--epochs", "2", "--train-size", "40", "--width", "16"],
    "memorize --random-labels": ["--seeds", "1"],
    "contrast": [
        "--epochs",
        "1",
        "--width",
        "2",
        "--train-size",
        "200",
        "--batch-size",
        "100",
        "--no-supervised",
    ],
    "poison": ["--seeds", "1", "--epochs", "1"],
    "poison --entity": ["--poison-rate", "1"],
    "poison cnn": ["--train-size", "200", "--channels", "4"],
    "poison --detect": ["--poison-rate", "1"],
    "scratch --lr": ["--epochs", "1"],
    "train cnn": ["--channels", "4"],
    "train mlp": ["--epochs", "1"],
    "train nbow": ["--epochs", "1", "--train-size", "100"],
    "evaluate": ["--limit", "20"],
    "evaluate certification": ["--samples", "50", "--select", "20"],
    "evaluate detection": ["--steps", "3", "--restarts", "1"],
    "evaluate quick": ["--steps", "3", "--queries", "10"],
    "evaluate --model": ["--steps", "3", "--queries", "10", "--decisions", "40"],
}
WATCHED = ("defend pgd", "defend trades", "defend adversarial")


def test_the_readme_is_short_and_shows_the_two_commands_that_set_up() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= LONGEST_README
    sets_up = [line for line in _commands(README) if line.startswith("python3 -m venv")]
    assert [line.split(" && ")[2] for line in sets_up] == [
        "pip install -e .",
        "pip install -e '.[dev]'",
    ]
    assert sets_up[0].endswith(" && advlab demo")
    assert sets_up[1].endswith(" && pytest")


def test_every_page_is_in_the_navigation() -> None:
    assert {DOCS / name for name in NAV} == set(DOCS.rglob("*.md"))


def test_every_experiment_has_an_example_in_the_readme_and_a_page_of_its_own() -> None:
    shown = {line.split()[1] for line in _commands(README) if line.startswith("advlab ")}
    assert set(COMMANDS) <= shown
    assert set(COMMANDS) <= {page.stem for page in (DOCS / "commands").glob("*.md")}


def test_every_recipe_is_described() -> None:
    described = re.findall(
        r"^\| `([\w-]+)`", (DOCS / "recipes.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert sorted(described) == sorted(
        path.stem for path in (ROOT / "advlab" / "recipes").glob("*.yaml")
    )


def test_every_option_that_a_page_explains_exists(capsys: pytest.CaptureFixture[str]) -> None:
    for name, command in COMMANDS.items():
        known = set()
        for component in command.components():
            assert main([name, component, "--help"]) == 0
            known |= set(re.findall(r"--[a-z][\w-]*", capsys.readouterr().out))
        page = (DOCS / "commands" / f"{name}.md").read_text(encoding="utf-8")
        rows = "\n".join(row.split("|")[1] for row in page.splitlines() if row.startswith("| `--"))
        assert set(re.findall(r"--[a-z][\w-]*", rows)) <= known, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere_and_lines_are_short(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)]+)\)", text):
        place, _, heading = link.partition("#")
        if "://" in place:
            continue
        there = page.parent / place if place else page
        assert there.exists(), link
        assert not heading or heading in _anchors(there), link
    assert not [line for line in text.splitlines() if len(line) > WIDEST_LINE]


def _anchors(page: Path) -> set[str]:
    """What links can name: headings in small letters, their words joined by hyphens."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {
        re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())
        for heading in headings
    }


PYTHON = [
    (page, code)
    for page in PAGES
    for code in re.findall(
        r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
]


@pytest.mark.parametrize(
    ("page", "code"),
    PYTHON,
    ids=[f"{page.stem}-{number}" for number, (page, _) in enumerate(PYTHON)],
)
def test_every_python_example_runs(
    page: Path, code: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a program of its own; the network that it loads is one that was trained before."""
    monkeypatch.chdir(tmp_path)
    for place in re.findall(r'load_model\("([^"]+)"\)', code):
        shutil.copytree(runs / "train" / "small", place)
    exec(compile(code, page.name, "exec"), {})


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__


def test_every_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one folder, one after the other, as a reader would type them; networks and sets are small
    so that it is quick."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADVLAB_OFFLINE", "1")
    for kind in (cnn.Options, mlp.Options):
        monkeypatch.setattr(kind, "usual_epochs", 1)
        monkeypatch.setattr(kind, "least_steps", 1)
    monkeypatch.setattr("advlab.metrics.probe._ITERATIONS", 10)
    monkeypatch.setattr("advlab.contrastive.baselines._SETTLING", 2)
    monkeypatch.setattr("advlab.experiments.contrast.figures._MAPPED", 40)
    monkeypatch.setattr(load_images, "load", _fewer(load_images.load))
    for name in (
        "_MOST",
        "_MOST_EACH",
    ):  # images drawn of a generator that has not learnt to make every class
        monkeypatch.setattr(f"advlab.gan.sample.{name}", 30)
    monkeypatch.setattr(
        "advlab.data.download.mirrors.fetch_set",
        lambda name, info, data_dir, *_: _small_mnist(data_dir),
    )
    done = set()
    for line in LINES:
        for command in line.split(" && "):
            words = shlex.split(command.removeprefix('eval "$(').removesuffix(')"'))
            if (
                words[0] != "advlab" or command in done or command == "advlab demo"
            ):  # which has a test of its own
                continue
            done.add(command)
            if "mnist-four" in command:
                words += ["--seeds", "1", "--epochs", "1"]
            words += SMALLER.get(words[1], []) + SMALLER.get(" ".join(words[1:3]), [])
            if "--workers" in words:  # several processes have tests of their own
                words[words.index("--workers") + 1] = "1"
            if "--seeds" in words:
                place = words.index("--seeds") + 1
                words[place] = str(min(2, int(words[place])))
            if words[1] == "attack" and not {"--limit", "--image"} & set(words):
                words += ["--limit", "60"]
            if "--repair" in words:
                words += ["--repair-epochs", "1"]
            if " ".join(words[1:3]) in WATCHED:
                words += ["--check-images", "40"]
            assert main(words[1:]) == 0, command
            output = capsys.readouterr().out
            assert output, command
            # The network of an unfinished run is one that the user names, not the run's own.
            assert "this run is not finished" not in output, command
    assert len(done) >= 15
    assert len(list(Path("samples").glob("*/*/metrics.json"))) >= 14


def _fewer(load: Callable[..., ImageSet]) -> Callable[..., ImageSet]:
    """A loader of a third of the images."""

    def loaded(options: DataOptions) -> ImageSet:
        data = load(options)
        parts = {"train": 400, "val": 60, "test": 120}
        return replace(
            data,
            **{
                name: getattr(data, name).select(torch.arange(min(count, len(getattr(data, name)))))
                for name, count in parts.items()
            },
        )

    return loaded


def _small_mnist(data_dir: Path) -> None:
    """A few of scikit-learn's digits in MNIST's own files, for the lines that need MNIST by
    name."""
    images = load_images.load(DataOptions(dataset="digits"))
    folder = data_dir / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, split, count in (("train", images.train, 240), ("t10k", images.test, 60)):
        pixels = split.pixels[:count, 0].numpy()
        labels = split.labels[:count].numpy().astype(np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(_idx(pixels))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(_idx(labels))


def _idx(array: NDArray[np.uint8]) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return head + array.tobytes()


def test_the_notebook_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its code cells, in one namespace, as a notebook runs them; they write no files."""
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((DOCS / "first-steps.ipynb").read_text(encoding="utf-8"))
    namespace: dict[str, Any] = {"__name__": "notebook"}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "outputs are left out, so that they cannot grow old"
            exec(compile("".join(cell["source"]), cell["id"], "exec"), namespace)
    assert namespace["result"].clean_accuracy > 0.8
    assert namespace["result"].robust_accuracy < namespace["result"].clean_accuracy
    assert namespace["verdict"].robust_accuracy <= namespace["result"].robust_accuracy + 0.02
    assert not list(tmp_path.iterdir())
