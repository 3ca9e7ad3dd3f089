"""Several radii in one line: each is an attack of its own, under its own name, however it was
written."""

from __future__ import annotations

import io
import json
import math
import random
import shlex
import struct
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from advlab.cli.main import main
from advlab.config.radii import eps_digits, eps_text
from advlab.perturbation.sweep import Point

# Too small for figures of note, large enough that some images break at each radius and others do
# not.
SMALL = "--limit 40 --dataset digits --precision fp32"

Attack = Callable[[str], Path]


@pytest.fixture
def attack(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Attack:
    """Runs ``attack`` on a small network, without pictures; the folder that it wrote."""
    monkeypatch.setattr("advlab.experiments.attack.run.draw", lambda *given: None)

    def run(line: str) -> Path:
        before = set(tmp_path.glob("attack/*"))
        victim = ["--checkpoint", str(runs / "train" / "small"), "--out", str(tmp_path)]
        assert main(["attack", *shlex.split(f"{line} {SMALL}"), *victim]) == 0
        (folder,) = set(tmp_path.glob("attack/*")) - before
        return folder

    return run


def tensors(file: Path) -> dict[str, Tensor]:
    """What a file of images holds, but for the time that it took."""
    return {key: value for key, value in load_file(file).items() if key != "seconds"}


def same(one: Path, other: Path) -> bool:
    mine, theirs = tensors(one), tensors(other)
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


def printed(line: str) -> dict[str, object]:
    """The values that a line amounts to, as ``--print-config`` writes them."""
    out = io.StringIO()
    with redirect_stdout(out):
        assert main([*shlex.split(line), "--print-config"]) == 0
    values: dict[str, object] = yaml.safe_load(out.getvalue())
    return values


# --- what is made -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("line", "radii"),
    [
        ("fgsm", "0.05 0.1 0.3"),
        ("fgsm --norm l2", "0.5 1.5"),
        ("fgsm --target next", "0.1 0.3"),
        ("pgd --steps 4 --restarts 2", "0.03 0.1"),
        ("pgd --steps 3 --norm l1 --target least-likely", "3 10"),
        ("pgd --steps 3 --target each --image 3", "0.1 0.2"),
        ("lp --p 3 --steps 4", "0.3 0.8"),
        ("noise --norm l2", "1 4"),
        ("square --queries 30", "0.05 0.2"),
    ],
)
def test_a_radius_in_a_sweep_gives_the_bits_that_it_gives_alone(
    attack: Attack, line: str, radii: str
) -> None:
    together = attack(f"{line} --eps {radii}")
    assert json.loads((together / "metrics.json").read_text())["images_made_at"] == "each eps"
    files = [f"images-eps{eps}.safetensors" for eps in radii.split()]
    assert sorted(file.name for file in together.glob("images-*")) == sorted(files)
    for eps, file in zip(radii.split(), files, strict=True):
        assert same(together / file, attack(f"{line} --eps {eps}") / file)


def test_images_made_on_another_network_are_made_at_each_radius_too(
    attack: Attack, runs: Path
) -> None:
    line = f"pgd --steps 3 --surrogate {runs / 'train' / 'other'}"
    together, alone = attack(f"{line} --eps 0.1 0.3"), attack(f"{line} --eps 0.3")
    assert same(together / "images-eps0.3.safetensors", alone / "images-eps0.3.safetensors")


def test_every_image_that_a_step_changes_moves_by_the_radius_of_its_row(attack: Attack) -> None:
    """One step of L∞ moves pixels by ε; an image carried over from a smaller ε would move by
    less."""
    folder = attack("fgsm --eps 0.05 0.1 0.3")
    clean = tensors(attack("fgsm --eps 0") / "images-eps0.safetensors")["perturbed"]
    for eps in (0.05, 0.1, 0.3):
        moved = (tensors(folder / f"images-eps{eps}.safetensors")["perturbed"] - clean).flatten(1)
        size = moved.abs().amax(1)
        assert (size > 0).sum() > 30
        assert size[size > 0].tolist() == pytest.approx([eps] * int((size > 0).sum()), abs=1e-6)


def test_a_curve_that_rises_is_measured_reported_and_drawn(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An attack that goes too far at the largest radius: everything breaks at 0.1, and nothing at
    0.2."""

    def too_far(
        victim: object, images: Tensor, goal: object, rand: object, eps: float, options: object
    ) -> Tensor:
        made = images.clone()
        if eps < 0.15:
            made[:] = 1.0  # a white image, whatever it showed
        return made

    monkeypatch.setattr("advlab.attacks.fgsm.perturb", too_far)
    line = (
        f"attack fgsm --eps 0.1 0.2 {SMALL} --checkpoint {runs / 'train' / 'small'} --out "
        f"{tmp_path}"
    )
    assert main(shlex.split(line)) == 0
    (folder,) = tmp_path.glob("attack/*")
    rows = [
        row for row in capsys.readouterr().out.splitlines() if row.lstrip("| ").startswith("0.")
    ]
    shares = [float(row.split("%")[0].split()[-1]) for row in rows]
    assert shares[0] < 50 < shares[1]
    assert json.loads((folder / "metrics.json").read_text())["robust_accuracy"] == pytest.approx(
        shares[1] / 100
    )
    for picture in ("attacked.png", "flipped.png", "confusion.png", "curve.png"):
        assert (folder / picture).is_file(), "what broke at a smaller radius is shown"


# --- the option that keeps what broke -----------------------------------------------------------
def test_what_broke_is_kept_where_it_is_asked_for_and_everything_says_so(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[bool, list[str]]] = []

    def drawn(*given: object, within: bool = False, **options: object) -> object:
        seen.append((within, [text for text in given if isinstance(text, str)]))
        return None

    monkeypatch.setattr("advlab.experiments.attack.figures.accuracy_against_eps", drawn)
    monkeypatch.setattr("advlab.experiments.attack.figures.perceptibility", drawn)
    monkeypatch.setattr("advlab.experiments.attack.figures.save", lambda figure, path: None)
    line = (
        f"attack fgsm --eps 0.05 0.1 0.3 {SMALL} --checkpoint {runs / 'train' / 'small'} "
        f"--device cpu --out {tmp_path}"
    )
    assert main(shlex.split(line)) == 0
    plain = capsys.readouterr().out
    assert "broken at ε or less" not in plain
    assert "smallest" not in plain
    assert seen
    assert all(not within for within, _ in seen)
    seen.clear()
    assert main(shlex.split(f"{line} --keep-broken")) == 0
    kept = capsys.readouterr().out
    assert "broken at ε or less (L∞)" in kept
    assert "of the smallest ε that breaks each image" in kept
    assert all(within for within, _ in seen)
    assert any("smallest ε that breaks each image" in str(words) for words in seen)
    folders = {
        file.parent.name: json.loads(file.read_text())
        for file in tmp_path.glob("attack/*/metrics.json")
    }
    assert len(folders) == 2, "they are two runs"
    by_kind = {metrics["images_made_at"]: name for name, metrics in folders.items()}
    assert set(by_kind) == {"each eps", "the smallest eps that breaks"}
    each, smallest = (
        tmp_path / "attack" / by_kind[kind] for kind in ("each eps", "the smallest eps that breaks")
    )
    assert same(each / "images-eps0.05.safetensors", smallest / "images-eps0.05.safetensors")
    before, after = (tensors(smallest / f"images-eps{eps}.safetensors") for eps in ("0.1", "0.3"))
    fell = before["predicted"] != before["labels"]
    assert 0 < fell.sum() < len(fell)
    assert torch.equal(before["perturbed"][fell], after["perturbed"][fell])
    alone = tensors(each / "images-eps0.3.safetensors")
    assert not torch.equal(alone["perturbed"][fell], after["perturbed"][fell])
    assert torch.equal(alone["perturbed"][~fell], after["perturbed"][~fell])


def test_a_verdict_says_that_it_counts_what_broke_at_its_radius_or_a_smaller_one(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn: list[tuple[bool, dict[str, list[tuple[float, float]]]]] = []

    def curve(
        lines: dict[str, list[tuple[float, float]]],
        *given: object,
        within: bool,
        intervals: dict[str, list[tuple[float, float]]],
    ) -> object:
        drawn.append((within, lines))
        assert lines.keys() == intervals.keys()
        for name, points in lines.items():
            for (_, accuracy), (low, high) in zip(points, intervals[name], strict=True):
                assert low <= accuracy <= high
        return None

    monkeypatch.setattr("advlab.experiments.evaluate.verdict.accuracy_against_eps", curve)
    monkeypatch.setattr("advlab.experiments.evaluate.verdict.save", lambda figure, path: None)
    line = (
        f"evaluate quick --attacks noise FGSM --limit 30 --checkpoint {runs / 'train' / 'small'} "
        f"--out {tmp_path}"
    )
    assert main(shlex.split(f"{line} --eps 0.1 0.1000001")) == 0
    said = capsys.readouterr().out
    assert "not broken at ε or less" in said
    assert "ε 0.1000001, FGSM" in said
    assert "at ε = 0.1000001 (L∞)" in said
    (folder,) = tmp_path.glob("evaluate/*")
    result = json.loads((folder / "metrics.json").read_text())
    points = [(point["eps"], point["robust_accuracy"]) for point in result["points"]]
    assert drawn == [(True, {"after all attacks": [(0.0, result["clean_accuracy"]), *points]})]
    for file in ("metrics.json", "verdict.json"):
        assert json.loads((folder / file).read_text())["broken_at"] == "eps or less"
    with safe_open(folder / "images.safetensors", framework="pt") as content:
        assert (
            "smallest radius"
            in json.loads(content.metadata()["advlab-seal"])["values"]["broken_at"]
        )
    assert main(shlex.split(f"{line} --eps 0.05")) == 0
    assert "or less" not in capsys.readouterr().out, "one radius needs no such word"


# --- names and texts ----------------------------------------------------------------------------
def test_neighbouring_radii_have_files_rows_and_folders_of_their_own(
    attack: Attack, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = attack("fgsm --eps 0.1 0.1000001")
    assert {file.name for file in folder.glob("images-*")} == {
        "images-eps0.1.safetensors",
        "images-eps0.1000001.safetensors",
    }
    rows = [
        row.split()[0 if row[0] != "|" else 1]
        for row in capsys.readouterr().out.splitlines()
        if "0.1" in row and "%" in row
    ]
    assert {"0.1", "0.1000001"} <= set(rows)
    assert attack("fgsm --eps 0.1").name != attack("fgsm --eps 0.1000001").name
    assert "0.1000001" in folder.name


def test_an_epsilon_is_written_so_that_the_same_float_is_read_back() -> None:
    draw = random.Random(0)
    floats = [
        0.0,
        -0.0,
        1.0,
        0.1,
        1e-300,
        5e-324,
        1e6,
        math.nextafter(0.1, 1),
        8 / 255,
        math.nextafter(8 / 255, 1),
    ]
    floats += [level / 255 for level in (1, 2, *range(600))]
    floats += [abs(struct.unpack("<d", draw.randbytes(8))[0]) for _ in range(500)]
    for eps in [eps for eps in floats if eps <= 1e6]:
        top, _, bottom = eps_text(eps).partition("/")
        assert float(top) / float(bottom or 1) == eps
        assert float(eps_digits(eps)) == eps
        assert "/" not in eps_digits(eps)
    texts = " ".join(eps_text(eps) for eps in floats[2:12])
    assert printed(f"attack fgsm --eps {texts}")["eps"] == floats[2:12]
    assert [eps_text(eps) for eps in (0.0, -0.0, 1.0, 0.1, 0.2, 8 / 255)] == [
        "0",
        "0",
        "1",
        "0.1",
        "0.2",
        "8/255",
    ]
    assert eps_text(math.nextafter(8 / 255, 1)) != "8/255"


# --- fractions ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("attack fgsm --eps 2/255 8/255", "eps", [2 / 255, 8 / 255]),
        ("attack fgsm --eps ' 8 / 255 '", "eps", [8 / 255]),
        ("attack fgsm --eps 0/255", "eps", [0.0]),
        ("attack pgd --eps 1/2 --step-size 2.5/255", "step_size", 2.5 / 255),
        ("attack pgd --step-size 1/255 2/255", "step_size", [1 / 255, 2 / 255]),
        ("attack lp --step-size 1/3", "step_size", 1 / 3),
        ("evaluate --eps 8/255 16/255", "eps", [8 / 255, 16 / 255]),
        ("defend pgd --eps 8/255", "eps", 8 / 255),
        ("defend adversarial --attack pgd --eps 8/255 --step-size 2/255", "step_size", 2 / 255),
        ("defend trades --step-size 2/255", "step_size", 2 / 255),
        ("defend smooth --sigma 1/4 --eps 1/2", "sigma", 0.25),
        ("defend augment --noise 12/255", "noise", 12 / 255),
        ("train cnn --noise 12/255", "noise", 12 / 255),
        ("inspect saliency --eps 4/255", "eps", 4 / 255),
    ],
)
def test_fractions_are_lengths_too(
    line: str, key: str, value: float | list[float], tmp_path: Path
) -> None:
    values = printed(line)
    assert values[key] == value
    file = tmp_path / "again.yaml"
    file.write_text(yaml.safe_dump(values))
    assert printed(f"--config {file}") == values


@pytest.mark.parametrize("written", ["8/255", "[8/255]", "[2/255, 8/255]", "['2/255', 0.5]"])
def test_fractions_in_a_file_are_those_on_the_line(written: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"command: attack\nattack: pgd\neps: {written}\nstep_size: 1/255\n")
    typed = written.strip("[]").replace(",", "").replace("'", "")
    assert printed(f"--config {file}") == printed(f"attack pgd --eps {typed} --step-size 1/255")


def test_a_run_of_a_fraction_is_that_of_its_float(
    attack: Attack, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = attack("fgsm --eps 8/255")
    assert (folder / f"images-eps{8 / 255!r}.safetensors").is_file()
    assert yaml.safe_load((folder / "config.yaml").read_text())["eps"] == [8 / 255]
    rows = [row.lstrip("| ") for row in capsys.readouterr().out.splitlines()]
    assert any(row.startswith("8/255 ") for row in rows)
    with pytest.raises(ValueError, match="not enough values"):
        attack("fgsm --eps 0.03137254901960784")  # finds its run, and writes no folder
    assert "finished already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "flags"),
    [
        ("attack pgd", ("--eps", "--step-size")),
        ("evaluate quick", ("--eps",)),
        ("defend pgd", ("--eps", "--step-size")),
        ("defend smooth", ("--eps", "--sigma")),
        ("inspect saliency", ("--eps",)),
        ("train cnn", ("--noise",)),
    ],
)
def test_the_help_says_where_fractions_are_accepted(
    line: str, flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line.split(), "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for flag in flags:
        about = told.split(f" {flag} {flag.rsplit('-', 1)[-1].upper()} ")[-1].split(" --")[0]
        assert "fractions such as 8/255 are accepted" in about
    if line in ("attack pgd", "evaluate quick"):
        assert "several values give a curve" in told


def test_points_are_named_by_their_radius_in_pictures() -> None:
    from advlab.experiments.attack.figures import _radius

    point = Point(8 / 255, torch.zeros(1), torch.zeros(1), torch.zeros(1, dtype=torch.bool), 0.0, 1)
    assert _radius(point) == "ε = 8/255"
    assert _radius(point, within=True) == "ε ≤ 8/255"


@pytest.mark.parametrize(
    "line",
    [
        "pgd --steps 6",
        "pgd --steps 6 --restarts 3",
        "apgd --steps 8 --target next",
        "lp --p 3 --steps 6",
        "square --queries 60",
    ],
)
def test_confidence_never_costs_a_success(attack: Attack, line: str) -> None:
    eps = "1.5" if line.startswith("lp") else "0.15"
    first = tensors(attack(f"{line} --eps {eps}") / f"images-eps{eps}.safetensors")
    confident = attack(f"{line} --eps {eps} --confidence 0.999")
    second = tensors(confident / f"images-eps{eps}.safetensors")
    targeted = "--target" in line
    before, after = (
        (one["predicted"] == one["goal"]) if targeted else (one["predicted"] != one["labels"])
        for one in (first, second)
    )
    assert bool(before.any())
    assert bool((after | ~before).all())
    assert not torch.equal(first["perturbed"], second["perturbed"])
