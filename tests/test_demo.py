"""The demonstration: every chapter on a small budget, and the page that it leaves."""

from __future__ import annotations

import re
import shlex
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest
from chapters import small_chapters

from advlab.cli.main import main
from advlab.experiments.demo import run as demo
from advlab.experiments.demo.chapters import CHAPTERS
from advlab.runs.page import Picture, Section, write_page


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "CHAPTERS", small_chapters())


@pytest.mark.usefixtures("small")
def test_a_demonstration_leaves_a_page_that_needs_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["demo"]) == 0
    out = capsys.readouterr().out
    page = Path("samples/demo/index.html")
    assert str(page) in out
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert not re.search(r"(src|href)=\"(https?:|//|/)", text)
    pictures = [unquote(unescape(place)) for place in re.findall(r'<img src="([^"]+)"', text)]
    assert len(pictures) == len(set(pictures)) >= 12
    for place in pictures:
        assert (page.parent / place).stat().st_size > 500, place
    assert len(re.findall(r"<figcaption>[^<]{30,}</figcaption>", text)) == len(pictures)
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    assert headings == [chapter.title for chapter in CHAPTERS]
    for heading in headings:
        assert f"{heading}: " in out
    # What stands above the pictures can be typed as it stands.
    lines = [
        unescape(line)
        for block in re.findall(r"<pre>(.*?)</pre>", text, flags=re.DOTALL)
        for line in block.splitlines()
    ]
    assert len(lines) == 7
    made = {path: path.stat().st_mtime_ns for path in Path("samples").rglob("model.safetensors")}
    capsys.readouterr()
    for line in lines:
        assert "--threads 1" in line
        assert main(shlex.split(line)[1:]) == 0, line
        assert "finished already" in capsys.readouterr().out, line
    assert made == {
        path: path.stat().st_mtime_ns for path in Path("samples").rglob("model.safetensors")
    }
    # Again: everything is there already, and the page is the same but for the seconds.
    before = {
        path: path.stat().st_mtime_ns for path in Path("samples").glob("demo/*/*/metrics.json")
    }
    capsys.readouterr()
    assert main(["demo"]) == 0
    assert {
        path: path.stat().st_mtime_ns
        for path in Path("samples").glob("demo/*/*/metrics.json")
        if "compare" not in path.parts
    } == {path: time for path, time in before.items() if "compare" not in path.parts}
    assert page.read_text(encoding="utf-8") == text


@pytest.mark.usefixtures("small")
def test_a_demonstration_that_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "now"]) == 2
    assert "unexpected 'now'" in capsys.readouterr().err
    assert main(["demo", "--eps", "0.1"]) == 2
    assert "--eps: belongs to" in capsys.readouterr().err
    Path("samples").write_text("a file")
    assert main(["demo"]) == 1
    assert capsys.readouterr().err.startswith("advlab: samples")


def test_a_page_escapes_what_it_is_given(tmp_path: Path) -> None:
    section = Section(
        "a < b",
        ["advlab 'x' & y"],
        "<b>",
        [Picture(tmp_path / "x y" / "a#1.png", '5 < 6 "quoted"')],
    )
    write_page(tmp_path / "index.html", "t & u", "i", [("<n>", "v")], [section], "f")
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert '<img src="x%20y/a%231.png" alt="5 &lt; 6 &quot;quoted&quot;"></a>' in text
    assert "<b>" not in text
    assert "a &lt; b" in text
