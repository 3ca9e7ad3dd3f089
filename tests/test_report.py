"""``advlab report``: what the page holds, how seeds are summed up, and what is refused."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from browser import CHROMIUM, Page, chromium
from made_results import MACHINE, TEXTS, network, train_result

from advlab.cli.main import main
from advlab.config import yamlfile
from advlab.config.registry import COMMANDS
from advlab.config.resolve import resolve, to_mapping
from advlab.config.yamlfile import Document, dump_text
from advlab.experiments.report import board, tables, typed
from advlab.experiments.report import page as report_page
from advlab.experiments.report.run import _PAGE
from advlab.plots.comparison import comparison as comparison_figure
from advlab.plots.style import save
from advlab.results.attack import AttackResult, TextAttackResult
from advlab.results.comparison import ComparisonResult
from advlab.results.defend import DefendResult
from advlab.results.evaluate import EvaluateResult
from advlab.results.scratch import ScratchCheckResult
from advlab.runs import identity, results
from advlab.runs.identity import Identity
from advlab.runs.results import Result, result_classes

PAGE = Path("samples") / _PAGE


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Reader(HTMLParser):
    """What a reader finds in a page: links, pictures, targets, the rows of tables and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.images: dict[str, dict[str, str | None]] = {}
        self.ids: list[str] = []
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.words = ""
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.ids += [given["id"] or ""] if "id" in given else []
        if tag == "a":
            self.links.append(given["href"] or "")
        if tag == "img":
            self.images[given["src"] or ""] = given
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "td":
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        self.words += data
        if self._in_cell:
            self.rows[-1][-1] = " ".join(f"{self.rows[-1][-1]} {data}".split())

    def row(self, *words: str) -> list[str]:
        """The only row of a table that holds all these words."""
        (found,) = [row for row in self.rows if all(word in " ".join(row) for word in words)]
        return found


def type_in(line: str, status: int = 0) -> None:
    assert main(line.split()) == status


def reported() -> Reader:
    type_in("report")
    return Reader(PAGE.read_text(encoding="utf-8"))


def put(place: str, result: Result, contents: dict[str, str] | None = None, **options: Any) -> Path:
    """A finished run; with ``contents`` it has an identity, of these options and its seed."""
    folder = Path("samples") / place
    folder.mkdir(parents=True)
    results.write(folder, result)
    if contents is not None:
        made_of = {"seed": result.seed, **options}
        identity.write(folder, Identity(result.command, result.component, made_of, contents))
    return folder


def common(command: str, component: str, seed: int = 0) -> dict[str, Any]:
    return {
        "command": command,
        "component": component,
        "dataset": "digits",
        "origin": "the digits",
        "data_sha256": "d" * 64,
        "model": "cnn",
        "seed": seed,
        "seconds": 1.0,
        "date": "2026-01-02T03:04:05+00:00",
        "machine": MACHINE,
    }


def attack_result(
    component: str = "pgd",
    robust: float = 0.25,
    seed: int = 0,
    sha256: str = "a" * 64,
    eps: tuple[float, ...] = (0.1,),
    **changes: Any,
) -> AttackResult:
    point = {
        "robust_accuracy": robust,
        "success_rate": 0.5,
        "changed": 3,
        "attacked": 3,
        "seconds": 0.1,
        "images_per_second": None,
    }
    values = {
        **common("attack", component, seed),
        "norm": "linf",
        "eps": list(eps),
        "images_made_at": "each eps",
        "target": None,
        "clean_accuracy": 0.75,
        "robust_accuracy": robust,
        "success_rate": 0.5,
        "points": [{"eps": one, **point} for one in eps],
        "images": 100,
        "classes": 10,
        "tasks": 100,
        "network": network(sha256),
        "surrogate": None,
    }
    return AttackResult.model_validate({**values, **changes})


def evaluate_result(robust: float, failed: dict[str, str], sha256: str) -> EvaluateResult:
    return EvaluateResult.model_validate(
        {
            **common("evaluate", "standard"),
            "norm": "linf",
            "eps": [0.1],
            "images": 50,
            "classes": 10,
            "clean_accuracy": 0.9,
            "robust_accuracy": robust,
            "points": [{"eps": 0.1, "robust_accuracy": robust}],
            "checks_failed": failed,
            "believable": not failed,
            "attacks": [],
            "left_out": {"FAB": "it takes too long"},
            "bpda": False,
            "network": network(sha256),
            "surrogate": None,
        }
    )


def defend_result(robust: float, seed: int) -> DefendResult:
    return DefendResult.model_validate(
        {
            **common("defend", "trades", seed),
            "norm": "linf",
            "eps": [0.1],
            "clean_accuracy": 0.8,
            "robust_accuracy": robust,
            "accuracies": {
                "undefended": {"clean": 0.95, "FGSM": 0.2, "PGD": 0.05},
                "defended": {"clean": 0.8, "FGSM": 0.7, "PGD": robust},
            },
            "images": 60,
            "classes": 10,
            "undefended": network(f"{seed}" * 64),
            "checkpoint": "model.safetensors",
            "checkpoint_sha256": f"d{seed}" * 32,
        }
    )


def damage(place: str) -> None:
    (put(place, train_result()) / "metrics.json").write_text('{"a')


# --- what the page holds --------------------------------------------------------------------------


def test_every_run_is_on_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    put("train/one", train_result(checkpoint_sha256="a" * 64))
    put("attack/two", attack_result())
    put("evaluate/three", evaluate_result(0.5, {}, "b" * 64))
    put("defend/four", defend_result(0.6, 1))
    old = Path("samples/attack/old")
    old.mkdir()
    (old / "metrics.json").write_text('{"command": "attack", "dataset": "digits", "model": null}')
    damage("train/broken")
    found = reported()
    assert capsys.readouterr().out == f"6 runs in {PAGE}\n"
    for name in ("train/one", "attack/two", "evaluate/three", "defend/four", "attack/old"):
        row = next(row for row in found.rows if row and name in row[-1])
        assert row, name
    assert "train/broken: is damaged (Unterminated string" in " ".join(found.words.split())
    assert "6 finished runs, of which 1 cannot be read" in " ".join(found.words.split())
    assert found.tags.count("details") == 5


def test_links_lead_somewhere() -> None:
    folder = put("train/a b#1", train_result())
    (folder / "notes ?.txt").write_text("x")
    damage("train/broken")
    found = reported()
    assert any(link.endswith("notes%20%3F.txt") for link in found.links)
    for link in found.links:
        if link.startswith("#"):
            assert link[1:] in found.ids
        else:
            assert not re.match(r"\w+:|/", link)
            assert (PAGE.parent / unquote(link)).exists(), link
    assert len(set(found.ids)) == len(found.ids)


def test_each_threat_model_has_a_table_with_a_row_for_each_radius() -> None:
    put("attack/sweep", attack_result("fgsm", eps=(0.0, 0.1, 8 / 255)))
    put("attack/round", attack_result("pgd", norm="l2", eps=(1.0,)))
    found = reported()
    headings = re.findall(r'<h3 id="board-\d+">(.*?)</h3>', PAGE.read_text(encoding="utf-8"))
    assert headings == ["digits, L2, ε = 1", "digits, L∞, ε = 8/255", "digits, L∞, ε = 0.1"]
    assert [row[3] for row in found.rows if row] == ["pgd", "fgsm", "fgsm"]
    assert found.rows[1][1:3] == ["75.00 %", "25.00 %"]


def test_other_data_of_the_same_name_are_another_table() -> None:
    put("attack/one", attack_result())
    put("attack/two", attack_result(data_sha256="e" * 64))
    text = reported().words
    assert "digits (dddddddddddd), L∞, ε = 0.1" in text
    assert "digits (eeeeeeeeeeee), L∞, ε = 0.1" in text


def test_the_most_robust_network_with_the_best_evidence_comes_first() -> None:
    put("evaluate/weak", evaluate_result(0.2, {}, "b" * 64))
    put("evaluate/strong", evaluate_result(0.6, {}, "c" * 64))
    put("evaluate/wrong", evaluate_result(0.9, {"noise": "noise broke images"}, "e" * 64))
    put("attack/weak-fgsm", attack_result("fgsm", 0.8, sha256="b" * 64, images=50))
    put("attack/alone", attack_result("noise", 0.99, sha256="f" * 64))
    found = reported()
    order = [row[-1].split()[0] for row in found.rows if row]
    assert order == [
        "evaluate/strong",
        "evaluate/weak",
        "attack/weak-fgsm",
        "attack/alone",
        "evaluate/wrong",
    ]
    assert "lower under suite standard: 20.00 % of 50 images" in found.row("weak-fgsm")[2]


def test_only_rows_on_the_same_images_are_ranked_against_each_other() -> None:
    """A single image that is broken says nothing of the figures of a whole run."""
    put("attack/whole-pgd", attack_result("pgd", 0.25))
    put("attack/whole-fgsm", attack_result("fgsm", 0.5))
    put("attack/fgsm3", attack_result("fgsm", 0.0, images=1, first_image=3))
    put("attack/pgd3", attack_result("pgd", 1.0, images=1, first_image=3))
    put("attack/pgd7", attack_result("pgd", 1.0, images=1, first_image=7))
    put("attack/earlier", attack_result("noise", 1.0, images=1))
    put("attack/other", attack_result("pgd", 0.2, sha256="b" * 64))
    found = reported()
    order = [row[-1].split()[0] for row in found.rows if row]
    assert order[:2] == ["attack/whole-pgd", "attack/whole-fgsm"]
    assert order[-1] == "attack/other"
    names = [name.removeprefix("attack/") for name in order]
    lower = {name: found.row(f"attack/{name}")[2].partition(" lower under ")[2] for name in names}
    assert {name: words for name, words in lower.items() if words} == {
        "whole-fgsm": "pgd: 25.00 % of 100 images",
        "pgd3": "fgsm: 0.00 % of 1 image",
    }
    assert found.row("attack/pgd7")[4] == "1 image 7"


def test_failed_checks_are_in_plain_sight() -> None:
    put("evaluate/wrong", evaluate_result(0.9, {"noise": "noise broke images"}, "e" * 64))
    put("attack/stuck", attack_result())
    stuck = attack_result("fgsm").model_dump()
    stuck["points"][0]["unusable_gradients"] = 1200
    put("attack/nan", AttackResult.model_validate(stuck))
    check = ScratchCheckResult(
        **common("scratch", "check"), largest_difference=0.5, limit=1e-8, derivatives=[]
    )
    put("scratch/check", check)
    doubted = {"trained on the test set": "the network was trained on 19 of the 25 test texts"}
    values = {**TEXTS, **common("attack", "hotflip"), "checks_failed": doubted}
    put("attack/texts", TextAttackResult.model_validate(values))
    found = reported()
    (cell,) = [cell for row in found.rows for cell in row if "noise broke images" in cell]
    assert cell.startswith("90.00 % NOT TO BE BELIEVED noise: noise broke images")
    assert "NOT TO BE BELIEVED unusable gradients: 1,200 times" in found.row("attack/nan")[2]
    assert "NOT TO" not in found.row("attack/stuck")[2]
    assert "0.5 CHECK FAILED" in found.row("scratch/check")[2]
    row = found.row("attack/texts")
    assert "NOT TO BE BELIEVED trained on the test set: the network was trained on 19" in row[2]
    assert " ".join(row).count("NOT TO BE BELIEVED") == 1
    head = found.words[: found.words.index("Show only")]
    assert "evaluate/wrong" in head
    assert "attack/texts" in head
    assert "attack/nan" in head
    assert "attack/stuck" not in head


def test_a_defence_stands_beside_the_undefended_network() -> None:
    put("defend/a", defend_result(0.6, 1))
    found = reported()
    assert found.row("defended by trades")[1:4] == ["80.00 %", "60.00 %", "FGSM, PGD"]
    assert found.row("undefended")[1:4] == ["95.00 %", "5.00 %", "FGSM, PGD"]


def test_a_suite_is_said_to_have_run_what_it_ran() -> None:
    defence = defend_result(0.6, 1)
    put("defend/a", defence)
    result = evaluate_result(0.5, {}, defence.checkpoint_sha256)
    entry = {"eps": 0.1, "knowledge": "white", "broken": 0, "robust_accuracy": 0.5}
    entry |= {"seconds": 1.0, "settings": {}}
    attacked = {"PGD": 50, "FAB": 20, "Square": 0}  # of fifty robust images
    entries = [{**entry, "attack": name, "attacked": count} for name, count in attacked.items()]
    values = result.model_dump() | {"attacks": entries, "images": 100, "left_out": {}}
    put("evaluate/a", EvaluateResult.model_validate(values))
    found = reported()
    assert found.row("evaluate/a")[3] == "suite standard: PGD, FAB (nearest images alone)"
    of_the_network = [row[0] for row in found.rows if row and "defended by trades" in row[0]]
    assert len(of_the_network) == 2
    assert len(set(of_the_network)) == 1


def test_an_undefended_network_has_one_row_for_all_its_defences() -> None:
    for name in ("pgd", "trades", "mart"):
        values = defend_result(0.6, 1).model_dump() | {"component": name}
        values["checkpoint_sha256"] = name[0] * 64
        put(f"defend/{name}", DefendResult.model_validate(values))
    put("defend/other", defend_result(0.6, 2))
    found = reported()
    rows = [row for row in found.rows if row and row[0].endswith(", undefended")]
    assert [row[1:3] for row in rows] == [["95.00 %", "5.00 %"]] * 2
    (shared,) = (row for row in rows if "repeated in" in row[-1])
    assert sum(f"defend/{name}" in shared[-1] for name in ("pgd", "trades", "mart")) == 3
    assert "defend/other" not in shared[-1]


def certified(result: DefendResult, accuracy: float, radius: float) -> DefendResult:
    """The same with certificates: the accuracy of the smoothed network, and its average radius."""
    certificates = {
        "sigma": 0.25,
        "alpha": 0.001,
        "samples": 20,
        "images": 7,
        "abstained": {"undefended": 0, "defended": 2},
        "points": [{"radius": 0.0, "undefended": 0.1, "defended": accuracy}],
        "mean_radius": {"undefended": 0.1, "defended": radius},
    }
    return DefendResult.model_validate({**result.model_dump(), "certified": certificates})


def test_a_certified_defence_stands_on_a_board_and_among_the_certified_networks() -> None:
    """Its attacks are of the network without noise, its radii of the one with noise."""
    for seed, accuracy, radius in ((1, 0.3, 0.2), (2, 0.5, 0.3)):
        result = certified(defend_result(0.6, seed), accuracy, radius)
        put(f"defend/{seed}", result, {"data": "d"})
    found = reported()
    attacked = found.row("defended by trades", "FGSM, PGD")
    assert attacked[1:3] == ["80.00 ± 0.00 %", "60.00 ± 0.00 %"]
    # (0.3 + 0.5) / 2 = 0.4; √(0.1² + 0.1²) = 0.1414
    row = found.row("σ = 0.25, 20 samples")
    assert row[2:5] == ["0.25 ± 0.071", "40.00 ± 14.14 %", "–"]


def test_certified_networks_stand_together_by_their_images_the_largest_radius_first() -> None:
    for number, (radius, images) in enumerate([(0.2, 7), (0.4, 7), (0.3, 9), (0.6, 7)]):
        result = certified(defend_result(0.6, number), 0.5, radius)
        values = result.model_dump()
        values["certified"]["images"] = images
        put(f"defend/r{number}", DefendResult.model_validate(values))
    rows = [row for row in reported().rows if any("σ = 0.25, 20 samples" in cell for cell in row)]
    assert [row[2] for row in rows] == ["0.3", "0.6", "0.4", "0.2"]


def test_attacks_of_other_settings_can_be_told_apart() -> None:
    for steps in (10, 100):
        folder = put(f"attack/{steps}", attack_result(), {"data": "d"}, steps=steps)
        (folder / "config.yaml").write_text(f"command: attack\nattack: pgd\nsteps: {steps}\n")
    found = reported()
    assert found.row("attack/100")[3] == "pgd steps 100"
    assert found.row("attack/10 ")[3] == "pgd steps 10"


def test_a_network_leads_to_the_run_that_trained_it() -> None:
    put("train/mine", train_result(checkpoint_sha256="a" * 64))
    put("attack/two", attack_result())
    assert reported().row("attack/two")[0] == "cnn from train/mine"


def test_results_of_every_kind_have_a_table() -> None:
    boards = {kind.model_fields["kind"].default for kind in board.RobustnessResult}
    assert boards | set(tables.KINDS) | set(tables._OTHER) == set(result_classes())
    for kind, table in tables.KINDS.items():
        headline = result_classes()[kind].headline
        assert headline is not None
        words = {column.words for column in table.columns}
        assert len(words) == len(table.columns)


def test_an_attack_on_texts_says_which_and_on_how_many() -> None:
    for place, component, count in (
        ("attack/words", "word_swap", 40),
        ("attack/letters", "deepwordbug", 250),
    ):
        values = {**TEXTS, **common("attack", component), "texts": count}
        put(place, TextAttackResult.model_validate(values))
    page = reported()
    for name, attack, texts in (("words", "word swap", "40"), ("letters", "DeepWordBug", "250")):
        row = page.row(f"attack/{name}")
        assert attack.lower() in " ".join(row).lower()
        assert texts in row


# --- seeds ----------------------------------------------------------------------------------------


def test_seeds_are_a_mean_and_a_sample_deviation() -> None:
    for seed, accuracy in enumerate((0.90, 0.94, 0.98)):
        result = train_result(seed=seed, test_accuracy=accuracy)
        put(f"train/s{seed}", result, {"data": "d"}, lr=0.1)
    put("train/other", train_result(test_accuracy=0.5), {"data": "d"}, lr=0.2)
    found = reported()
    row = found.row("seed 1")
    # (0.90 + 0.94 + 0.98) / 3 = 0.94; √((0.04² + 0 + 0.04²) / 2) = 0.04
    assert row[2] == "94.00 ± 4.00 %"
    assert row[5] == "3"
    assert found.row("train/other")[2] == "50.00 %"


def test_the_same_seed_counts_once() -> None:
    for day, (name, seed, accuracy) in enumerate((("old", 1, 0.1), ("a", 0, 0.5), ("b", 1, 0.7))):
        date = f"2026-01-0{1 + day}T03:04:05+00:00"
        result = train_result(seed=seed, test_accuracy=accuracy, date=date)
        put(f"train/{name}", result, {"data": "d"})
    row = reported().row("seed 1")
    # (0.5 + 0.7) / 2 = 0.6; √(0.1² + 0.1²) = 0.1414
    assert row[2] == "60.00 ± 14.14 %"
    assert row[-1].endswith("repeated in train/old")


def test_other_networks_are_other_settings_unless_a_comparison_says_otherwise() -> None:
    folders = []
    for seed, robust in enumerate((0.2, 0.4)):
        digest = f"{seed}" * 64
        result = attack_result(robust=robust, seed=seed, sha256=digest)
        folders.append(put(f"attack/s{seed}", result, {"data": "d", "network": digest}))
    found = reported()
    assert found.row("attack/s0")[2].startswith("20.00 %")
    assert found.row("attack/s1")[2].startswith("40.00 %")
    runs = [
        {"seed": seed, "folder": str(folder), "value": value}
        for seed, (folder, value) in enumerate(zip(folders, (0.2, 0.4), strict=True))
    ]
    compared = ComparisonResult.model_validate(
        {
            **common("attack", "pgd"),
            "figure": "robust_accuracy",
            "figure_words": "robust accuracy",
            "fraction": True,
            "lower_is_better": True,
            "settings": [{"setting": "pgd", "mean": 0.3, "std": 0.1, "runs": runs}],
        }
    )
    put("compare/pgd", compared)
    row = reported().row("seed 0", "seed 1")
    # (0.2 + 0.4) / 2 = 0.3; √(0.1² + 0.1²) = 0.1414
    assert row[2] == "30.00 ± 14.14 %"
    assert row[0] == "cnn, 2 networks, one for each seed"
    # The folder holds another run now: the comparison says nothing of it.
    other = attack_result(robust=0.1, seed=1, sha256="1" * 64)
    results.write(folders[1], other)
    assert reported().row("attack/s1")[2].startswith("10.00 %")


# --- figures and text -----------------------------------------------------------------------------


def test_figures_are_lazy_and_say_what_they_show() -> None:
    folder = put("train/a", train_result())
    drawn = comparison_figure({"x": [0.5]}, "accuracy", "title < here", "caption & all")
    save(drawn, folder / "curves.png")
    (folder / "photo.png").write_bytes(b"")
    found = reported()
    assert set(found.images) == {"train/a/curves.png", "train/a/photo.png"}
    for image in found.images.values():
        assert image["loading"] == "lazy"
    alt = found.images["train/a/curves.png"]["alt"]
    assert alt == "title < here. caption & all"
    assert found.images["train/a/photo.png"]["alt"] == "Picture photo of the run train/a"


HOSTILE = "<script>alert(1)</script>\"&'<img src=x onerror=alert(2)>"


def test_hostile_names_are_text() -> None:
    name = HOSTILE.replace("/", "∕")
    folder = put(
        f"train/{name}", train_result(model=HOSTILE, dataset=HOSTILE, origin=HOSTILE), {"data": "d"}
    )
    (folder / "config.yaml").write_text(f"command: train\nname: {HOSTILE!r}\n")
    (folder / f"{name}.png").write_bytes(b"")
    (folder / "\udcff.png").write_bytes(b"")  # a name that is not UTF-8
    failed = {HOSTILE: HOSTILE}
    put("evaluate/a", evaluate_result(0.5, failed, "a" * 64))
    found = reported()
    assert found.tags.count("script") == 1  # the page's own
    assert all("onerror" not in image for image in found.images.values())
    assert HOSTILE in found.words
    assert name in found.words
    places = [unquote(place, errors="surrogateescape") for place in found.images]
    assert all((PAGE.parent / place).is_file() for place in places)
    assert len(places) == 2


def test_the_page_needs_nothing_else() -> None:
    put("train/a", train_result())
    reported()
    text = PAGE.read_text(encoding="utf-8")
    assert not re.search(r'(src|href|action)="(\w+:|//|/)', text)
    assert "@import" not in text
    assert "url(" not in text
    assert "default-src 'none'" in text


def test_colours_are_readable() -> None:
    """At least 4.5 to 1 for every text on every ground, light and dark (WCAG 2.2, AA)."""
    style = (Path(report_page.__file__).parent / "page.css").read_text(encoding="utf-8")
    schemes = re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL)
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--([\w-]+): (#\w{6})", scheme))
        for text in ("text", "soft", "link", "doubt"):
            for ground in ("ground", "shade", "doubt-ground"):
                ratio = _contrast(colours[text], colours[ground])
                assert ratio >= 4.5, (text, ground, ratio)


def _contrast(one: str, other: str) -> float:
    lights = sorted((_luminance(one), _luminance(other)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


# --- command lines --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        *(
            f"{name} {component}"
            for name, command in COMMANDS.items()
            for component in command.components()
        ),
        "train cnn --lr 1e-05 --dropout --seed 7 --name x --out y",
        "attack pgd --eps 0 8/255 0.5 --no-random-start --norm l2 --target next",
        "memorize mlp --random-labels 0 0.5 1",
        "defend pgd --model mlp --width 32",
        "poison --entity=-x",
        "train torchvision:resnet18 --epochs 1",
    ],
)
def test_the_line_of_a_run_makes_the_same_run(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*line.split(), "--seeds", "1"]
    assert main([*words, "--print-config"]) == 0
    text = capsys.readouterr().out
    Path("config.yaml").write_text(text)
    again = typed.line_of(yamlfile.read("config.yaml").values)
    assert again is not None
    assert main([*shlex.split(again)[1:], "--print-config"]) == 0
    assert capsys.readouterr().out == text


def test_a_comparison_is_repeated_from_its_file() -> None:
    plan = resolve("train", ["cnn", "mlp"], {}, Document(""))
    assert typed.line_of(plan.mapping) is None
    folder = put("compare/a", train_result())
    (folder / "config.yaml").write_text(plan.text())
    assert "advlab --config samples/compare/a/config.yaml" in reported().words


def test_the_configuration_and_the_hashes_of_a_run_are_shown() -> None:
    config = resolve("train", ["mlp"], {"epochs": 3, "width": 16}, Document("")).cells[0]
    folder = put("train/a", train_result(), {"data": "d"})
    (folder / "config.yaml").write_text(dump_text(to_mapping(config)))
    found = reported()
    assert "\nwidth: 16\n" in found.words
    assert "advlab train mlp --epochs 3 --width 16" in found.words
    assert f"checkpoint_sha256: {'c' * 64}" in found.words
    assert f"data_sha256: {'d' * 64}" in found.words
    assert found.row("train/a")[4].endswith("epochs 3, width 16")


def test_a_training_in_several_processes_is_repeated_by_as_many() -> None:
    config = resolve("train", ["mlp"], {"epochs": 3}, Document("")).cells[0]
    result = train_result()
    machine = result.machine.model_copy(update={"processes": 2})
    folder = put("train/a", result.model_copy(update={"machine": machine}))
    (folder / "config.yaml").write_text(dump_text(to_mapping(config)))
    words = reported().words
    assert "torchrun --nproc-per-node 2 -m advlab train mlp --epochs 3" in words
    assert " 2 processes, " in words


# --- refusals and watching ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("report", "--out samples: there is no such folder"),
        ("report --out empty", "there are no finished runs under empty, and no page is written"),
        ("report --out file", "--out file: is a file"),
        ("report x", "report: unexpected 'x'"),
        ("report --watch=1", "--watch"),
        ("report --format csv", "--format: belongs to 'advlab list', "),
        ("report --out foreign", "foreign/index.html was not written by 'advlab report'"),
    ],
)
def test_what_cannot_be_is_one_line(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty/train").mkdir(parents=True)
    Path("file").touch()
    put("train/a", train_result())
    Path("samples").rename("foreign")
    Path("foreign/index.html").write_text("mine")
    before = sorted(Path().rglob("*"))
    type_in(line, 2)
    said = capsys.readouterr()
    assert message in said.err
    assert len(said.err.splitlines()) == 1
    assert said.out == ""
    assert sorted(Path().rglob("*")) == before
    assert Path("foreign/index.html").read_text() == "mine"


def test_a_watched_page_is_written_when_runs_finish_and_ctrl_c_ends_it() -> None:
    Path("samples").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "advlab", "report", "--watch"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        first = process.stdout.readline()
        assert (
            first
            == "there are no finished runs under samples yet; watching samples; Ctrl-C "
            + ("ends it\n")
        )
        assert not PAGE.exists()
        put("train/a", train_result())
        assert process.stdout.readline() == f"1 run in {PAGE}\n"
        put("train/b", train_result())
        assert process.stdout.readline() == f"2 runs in {PAGE}\n"
        assert "train/b" in PAGE.read_text(encoding="utf-8")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert len(process.stderr.read().splitlines()) == 1
    finally:
        process.kill()
        process.wait()


# --- in a browser ---------------------------------------------------------------------------------


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    with chromium(tmp_path / "profile") as page:
        yield page


def test_a_browser_sorts_filters_opens_and_asks_for_nothing_else(browser: Page) -> None:
    for name, accuracy in (("a", 0.5), ("b", 0.9), ("c", 0.7)):
        folder = put(f"train/{name}", train_result(test_accuracy=accuracy))
        save(comparison_figure({"x": [0.5]}, "accuracy", "t", "c"), folder / "curves.png")
    reported()
    browser.open(PAGE.absolute().as_uri(), width=390)
    assert browser.requests() == [PAGE.absolute().as_uri()]
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    order = "[...document.querySelectorAll('tbody tr')].map(row => row.cells[2].innerText)"
    head = "document.querySelectorAll('th')[2]"
    browser.run(f"{head}.querySelector('button').click()")
    assert browser.run(order) == ["90.00 %", "70.00 %", "50.00 %"]
    assert browser.run(f"{head}.getAttribute('aria-sort')") == "descending"
    browser.run(f"{head}.querySelector('button').click()")
    assert browser.run(order) == ["50.00 %", "70.00 %", "90.00 %"]
    assert browser.run(f"{head}.getAttribute('aria-sort')") == "ascending"
    typing = "const field = document.getElementById('words'); field.value = 'train/b';"
    browser.run(f"{{{typing} field.dispatchEvent(new Event('input'))}}")
    shown = "[...document.querySelectorAll('details.run')].filter(one => !one.hidden).length"
    assert browser.run(shown) == 1
    assert browser.run("document.getElementById('found').textContent") == "1 of 3 runs"
    assert len(browser.requests()) == 1  # the figures of closed runs are not loaded
    browser.run("document.querySelector('tbody tr:not([hidden]) a').click()")
    opened = "[...document.querySelectorAll('details.run')].filter(one => one.open).length"
    deadline = time.monotonic() + 30
    while browser.run(opened) < 1 or len(browser.requests()) < 2:
        assert time.monotonic() < deadline
    assert browser.requests()[1].endswith("train/b/curves.png")
    problems = ("Log.entryAdded", "Runtime.exceptionThrown")
    assert not [event for event in browser.events if event.get("method") in problems]
