"""Pictures from numbers alone: they say what they show, show what they were given, and come out the
same to the byte."""

from __future__ import annotations

import functools
import io
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image

from advlab.plots import embedding, sheets
from advlab.plots.comparison import against, comparison
from advlab.plots.confusion import confusion
from advlab.plots.contrast import encoder_accuracies, loss_between_bounds
from advlab.plots.defence import trade
from advlab.plots.embedding import image_map, retrieved
from advlab.plots.look import restyled
from advlab.plots.poison import against_rate
from advlab.plots.robustness import (
    accuracy_against_eps,
    accuracy_against_norm,
    perceptibility,
    success_by_target,
)
from advlab.plots.saliency import Explained, saliency
from advlab.plots.sheets import Attacked, Flip, Tile, attacked, flips, sheet
from advlab.plots.style import COLOURS, axes, figure, log_scale, save, wrapped
from advlab.plots.training import curves

pytestmark = pytest.mark.painted

TITLE, CAPTION = "What is drawn here", "measured on nothing · seed 0"
HISTORY = [
    {"epoch": 1, "loss": 2.0, "accuracy": 0.25, "val_loss": 1.5, "val_accuracy": 0.5},
    {"epoch": 2, "loss": 1.0, "accuracy": 0.75, "val_loss": 1.0, "val_accuracy": 0.625},
    {"epoch": 3, "loss": 0.5, "accuracy": 0.875, "val_loss": 1.25, "val_accuracy": 0.5},
]
COUNTS = np.array([[50, 2, 0], [0, 40, 1], [3, 0, 60]], dtype=np.int64)
POINTS = [
    {"eps": 0.1, "psnr_mean": 30.0, "ssim_mean": 0.9, "robust_accuracy": 0.5},
    {"eps": 0.2, "psnr_mean": 24.0, "ssim_mean": 0.7, "robust_accuracy": 0.125},
]
FOUND = [{"epoch": 1, "loss": 5.8, "found": 0.1}, {"epoch": 2, "loss": 5.2, "found": 0.25}]
PLACES = np.array([[0.0, 0.0], [4.0, 9.0], [7.0, 5.0]])
THUMBNAILS = np.random.default_rng(5).integers(0, 256, (3, 1, 8, 8), dtype=np.uint8)


def pixels(seed: int, channels: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((channels, 8, 8), dtype=np.float32)


def pair(channels: int) -> Attacked:
    clean = pixels(1, channels) * 0.5
    return Attacked(clean, clean + np.float32(0.25), "7 (99.8 %)", "3 (51.0 %)", "ε = 0.25")


def flip(truth: str) -> Flip:
    return Flip(
        truth,
        [pixels(2), pixels(3)],
        ["7 (99 %)", "3 (60 %)"],
        [True, False],
        ["unattacked", "ε = 0.1"],
    )


# Every picture: how it is drawn, and the labels of its axes (none where it is images alone).
PICTURES: dict[str, tuple[Callable[[], Figure], list[tuple[str, str]]]] = {
    "curves": (
        lambda: curves(HISTORY, 2, TITLE, CAPTION, True),
        [("epoch", "loss"), ("epoch", "accuracy (%)")],
    ),
    "confusion": (
        lambda: confusion(COUNTS, ["a", "b", "c"], TITLE, CAPTION),
        [("predicted class", "true class"), ("", "images")],
    ),
    "sheet": (lambda: sheet([Tile(pixels(n), f"no. {n}") for n in range(7)], TITLE, CAPTION), []),
    "attacked": (lambda: attacked([pair(1), pair(3)], TITLE, CAPTION), []),
    "flips": (lambda: flips([flip("7"), flip("9")], TITLE, CAPTION), []),
    "comparison": (
        lambda: comparison({"a": [0.5, 0.75], "b": [0.875]}, "test accuracy", TITLE, CAPTION),
        [("test accuracy", "")],
    ),
    "against": (
        lambda: against(
            {1e-3: [0.5, 0.625], 1e-2: [0.75, 0.75], 0.1: [0.25]},
            "lr",
            "test accuracy",
            TITLE,
            CAPTION,
        ),
        [("lr", "test accuracy")],
    ),
    "accuracy against eps": (
        lambda: accuracy_against_eps(
            {"fgsm": [(0, 1), (0.1, 0.5)], "pgd": [(0, 1), (0.1, 0)]}, 10, "linf", TITLE, CAPTION
        ),
        [("ε (L∞)", "robust accuracy")],
    ),
    "accuracy against norm": (
        lambda: accuracy_against_norm(
            [(0, 1), (0.5, 0.5), (1.5, 0)], [(1, 0.5), (100, 0)], 10, "l2", TITLE, CAPTION
        ),
        [("norm of the perturbation (L2)", "accuracy")],
    ),
    "success by target": (
        lambda: success_by_target(COUNTS / 64, COUNTS, ["a", "b", "c"], TITLE, CAPTION),
        [("target class", "true class"), ("", "reached")],
    ),
    "perceptibility": (
        lambda: perceptibility(POINTS, "l2", TITLE, CAPTION),
        [("ε (L2)", "PSNR (dB)"), ("ε (L2)", "SSIM")],
    ),
}
PICTURES |= {
    "loss between bounds": (
        lambda: loss_between_bounds([5.8, 5.2], FOUND, 4.25, 6.25, "NT-Xent", TITLE, CAPTION),
        [("epoch", "NT-Xent"), ("epoch", "views that find their partner (%)")],
    ),
    "encoder accuracies": (
        lambda: encoder_accuracies(
            {"a": (0.5, 0.75), "b": (0.25, 0.375)}, 0.4, 0.1, TITLE, CAPTION
        ),
        [("", "test accuracy (%)")],
    ),
    "image map": (
        lambda: image_map(PLACES, THUMBNAILS, np.array([0, 1, 1]), ["cat", "dog"], TITLE, CAPTION),
        [],
    ),
    "retrieved": (
        lambda: retrieved(
            [(pixels(1), "cat", [(pixels(2), "cat", 0.9), (pixels(3), "dog", 0.8)])], TITLE, CAPTION
        ),
        [],
    ),
}
each = pytest.mark.parametrize("name", PICTURES)


def drawn(name: str) -> Figure:
    return PICTURES[name][0]()


def values(data: Any) -> list[float]:
    """What a line was drawn from."""
    return [float(value) for value in np.asarray(data)]


@each
def test_it_has_a_title_a_caption_and_labelled_axes(name: str) -> None:
    made = drawn(name)
    assert isinstance(made, Figure)
    assert made.get_suptitle() == TITLE
    assert made.get_supxlabel().replace("\n", " ").endswith(CAPTION), "a key may come before it"
    labels = [(panel.get_xlabel(), panel.get_ylabel()) for panel in made.axes]
    wanted = PICTURES[name][1]
    if wanted:
        assert labels == wanted
    else:
        assert all(panel.images or not panel.axison for panel in made.axes)


@functools.cache
def painted(name: str) -> bytes:
    """The file of the picture, painted once for several comparisons."""
    with TemporaryDirectory() as folder:
        return save(drawn(name), Path(folder) / "first.png").read_bytes()


@each
def test_the_same_numbers_make_the_same_bytes(name: str, tmp_path: Path) -> None:
    first = painted(name)
    save(figure(3, 3, "something else", "drawn between"), tmp_path / "between.png").unlink()
    second = save(drawn(name), tmp_path / "second.png").read_bytes()
    assert first == second
    with Image.open(io.BytesIO(first)) as image:
        assert image.format == "PNG"
        seen = np.asarray(image.convert("L"))
        assert image.info["Software"] == "advlab", (
            "no version of matplotlib, which would change the bytes"
        )
    assert min(seen.shape) > 200
    assert len(np.unique(seen)) > 20
    edge = np.concatenate([seen[0], seen[-1], seen[:, 0], seen[:, -1]])
    assert (edge == 255).mean() > 0.99, "nothing runs over the edge"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".second.figure", "second.png"]


@pytest.mark.parametrize("name", ["sheet", "flips", "retrieved", "curves"])
def test_what_saves_time_cannot_be_seen(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Matplotlib's own axes, which make ticks that no image shows, and its own canvas, which goes
    through the figure twice, give the same bytes."""
    ours = painted(name)

    def usual_axes(drawn: Figure, rows: int, columns: int) -> Any:
        return axes(drawn, rows, columns, subplot_kw={"xticks": [], "yticks": []})

    for module in (sheets, embedding):
        monkeypatch.setattr(module, "image_axes", usual_axes)
    made = drawn(name)
    FigureCanvasAgg(made)
    assert save(made, tmp_path / "usual.png").read_bytes() == ours


def test_what_a_user_likes_in_matplotlibrc_changes_nothing(tmp_path: Path) -> None:
    first = save(drawn("against"), tmp_path / "first.png").read_bytes()
    with mpl.rc_context(
        {"savefig.dpi": 60, "axes.facecolor": "black", "lines.dashed_pattern": [1, 1]}
    ):
        second = save(drawn("against"), tmp_path / "second.png").read_bytes()
    assert first == second


@each
def test_other_numbers_make_another_picture(name: str, tmp_path: Path) -> None:
    """A picture that ignored its numbers would pass all else here."""
    others: dict[str, Callable[[], Figure]] = {
        "curves": lambda: curves(
            [*HISTORY[:2], {**HISTORY[2], "val_loss": 1.3}], 2, TITLE, CAPTION, True
        ),
        "confusion": lambda: confusion(
            COUNTS + np.eye(3, dtype=np.int64), ["a", "b", "c"], TITLE, CAPTION
        ),
        "sheet": lambda: sheet(
            [Tile(pixels(n + (n == 6)), f"no. {n}") for n in range(7)], TITLE, CAPTION
        ),
        "attacked": lambda: attacked(
            [pair(1), Attacked(pixels(9, 3), pixels(8, 3), "7", "3", "ε")], TITLE, CAPTION
        ),
        "flips": lambda: flips([flip("7"), flip("8")], TITLE, CAPTION),
        "comparison": lambda: comparison(
            {"a": [0.5, 0.75], "b": [0.9]}, "test accuracy", TITLE, CAPTION
        ),
        "against": lambda: against(
            {1e-3: [0.5, 0.625], 1e-2: [0.75, 0.75], 0.1: [0.3]},
            "lr",
            "test accuracy",
            TITLE,
            CAPTION,
        ),
        "accuracy against eps": lambda: accuracy_against_eps(
            {"fgsm": [(0, 1), (0.1, 0.5)], "pgd": [(0, 1), (0.1, 0.1)]}, 10, "linf", TITLE, CAPTION
        ),
        "accuracy against norm": lambda: accuracy_against_norm(
            [(0, 1), (0.6, 0.5), (1.5, 0)], [(1, 0.5), (100, 0)], 10, "l2", TITLE, CAPTION
        ),
        "success by target": lambda: success_by_target(
            COUNTS / 100, COUNTS, ["a", "b", "c"], TITLE, CAPTION
        ),
        "loss between bounds": lambda: loss_between_bounds(
            [5.8, 5.3], FOUND, 4.25, 6.25, "NT-Xent", TITLE, CAPTION
        ),
        "encoder accuracies": lambda: encoder_accuracies(
            {"a": (0.5, 0.75), "b": (0.25, 0.5)}, 0.4, 0.1, TITLE, CAPTION
        ),
        "image map": lambda: image_map(
            PLACES, THUMBNAILS, np.array([0, 0, 1]), ["cat", "dog"], TITLE, CAPTION
        ),
        "retrieved": lambda: retrieved(
            [(pixels(1), "cat", [(pixels(2), "cat", 0.9), (pixels(4), "dog", 0.8)])], TITLE, CAPTION
        ),
        "perceptibility": lambda: perceptibility(
            [POINTS[0], {**POINTS[1], "ssim_mean": 0.6}], "l2", TITLE, CAPTION
        ),
    }
    assert save(others[name](), tmp_path / "a").read_bytes() != painted(name)


def test_curves_are_the_history() -> None:
    made = drawn("curves")
    loss, accuracy = made.axes
    lines = {line.get_label(): line for line in loss.lines}
    assert set(lines) == {"training (smoothed labels)", "validation", "epoch 2, best on validation"}
    assert values(lines["training (smoothed labels)"].get_ydata()) == [2.0, 1.0, 0.5]
    assert values(lines["validation"].get_ydata()) == [1.5, 1.0, 1.25]
    assert set(values(lines["epoch 2, best on validation"].get_xdata())) == {2}
    shares = {line.get_label(): values(line.get_ydata()) for line in accuracy.lines}
    assert shares["training"] == [25, 75, 87.5]
    assert shares["validation"] == [50, 62.5, 50]
    plain = curves(HISTORY, 2, TITLE, CAPTION, False).axes[0]
    assert "training" in [line.get_label() for line in plain.lines]


def test_curves_of_a_single_epoch_can_be_seen() -> None:
    """A line through one point is nothing; it needs its marker."""
    (loss, _) = curves(HISTORY[:1], 1, TITLE, CAPTION, False).axes
    assert loss.lines[0].get_marker() == "o"


def test_a_confusion_matrix_has_its_counts_in_its_cells() -> None:
    panel, _ = drawn("confusion").axes
    cells = {text.get_position(): text.get_text() for text in panel.texts}
    assert cells == {
        (0, 0): "50",
        (1, 0): "2",
        (1, 1): "40",
        (2, 1): "1",
        (0, 2): "3",
        (2, 2): "60",
    }
    assert [label.get_text() for label in panel.get_xticklabels()] == ["a", "b", "c"]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["a", "b", "c"]


def test_a_confusion_matrix_of_many_classes_leaves_the_figures_out() -> None:
    counts = np.eye(102, dtype=np.int64)
    panel, _ = confusion(counts, [str(n) for n in range(102)], TITLE, CAPTION).axes
    assert not panel.texts
    assert confusion(counts, ["x"] * 102, TITLE, CAPTION).get_size_inches().max() < 13


def cells_of(figure: Figure) -> NDArray[np.float64]:
    """The counts that a matrix shows, those of no colour as 0."""
    (image,) = figure.axes[0].images
    values = np.ma.masked_invalid(np.ma.asarray(image.get_array(), dtype=np.float64))
    return np.asarray(values.filled(0.0))


def test_of_a_thousand_classes_those_that_occur_are_drawn() -> None:
    counts = np.zeros((1000, 1000), dtype=np.int64)
    counts[388, 388], counts[388, 7], counts[463, 388] = 5, 2, 1
    drawing = confusion(counts, [f"name {n}" for n in range(1000)], TITLE, CAPTION)
    assert [label.get_text() for label in drawing.axes[0].get_yticklabels()] == [
        "name 7",
        "name 388",
        "name 463",
    ]
    assert cells_of(drawing).tolist() == [[0, 0, 0], [2, 5, 0], [0, 1, 0]]
    assert "3 of 1,000 classes occur" in str(drawing.get_supxlabel()).replace("\n", " ")


def test_of_a_thousand_classes_that_all_occur_those_with_most_mistakes_are_drawn() -> None:
    counts = np.eye(1000, dtype=np.int64) * 3
    for number in range(19):
        counts[50 * number, 999 - number] = 40 - number
    drawing = confusion(counts, [str(n) for n in range(1000)], TITLE, CAPTION)
    names = [label.get_text() for label in drawing.axes[0].get_xticklabels()]
    assert names[-1] == "others"
    assert set(names[:-1]) <= {str(n) for n in [*range(0, 950, 50), *range(981, 1000)]}
    shown = cells_of(drawing)
    assert shown.sum() == counts.sum()
    assert shown[names.index("0"), names.index("999")] == 40
    assert "981 others together" in str(drawing.get_supxlabel()).replace("\n", " ")


@pytest.mark.parametrize("counts", [np.zeros((3, 3), dtype=np.int64), np.eye(3, dtype=np.int64)])
def test_a_confusion_matrix_of_next_to_nothing_is_drawn(
    counts: NDArray[np.int64], tmp_path: Path
) -> None:
    save(confusion(counts, ["a", "b", "c"], TITLE, CAPTION), tmp_path / "a.png")


def test_a_comparison_of_single_runs_shows_the_intervals_of_their_figures() -> None:
    groups = {"a": [0.5], "b": [0.75]}
    made = comparison(groups, "accuracy", TITLE, CAPTION, intervals={"a": (0.4, 0.65)})
    (panel,) = made.axes
    segments = [
        part
        for one in panel.collections
        if isinstance(one, LineCollection)
        for part in one.get_segments()
    ]
    assert [np.round(part, 6).tolist() for part in segments] == [[[0.4, 0], [0.65, 0]]]
    assert "95 % interval" in str(made.get_supxlabel())
    several = comparison({"a": [0.5, 0.6]}, "accuracy", TITLE, CAPTION, intervals={"a": (0, 1)})
    assert "95 % interval" not in str(several.get_supxlabel()), "the spread of runs is drawn"


def test_a_comparison_shows_every_run_and_its_mean() -> None:
    (panel,) = drawn("comparison").axes
    assert [label.get_text() for label in panel.get_yticklabels()] == ["a", "b"]
    points = [
        tuple(np.asarray(each.get_offsets())[:, 0])
        for each in panel.collections
        if len(np.asarray(each.get_offsets())) and each.get_zorder() == 4
    ]
    assert points == [(0.5, 0.75), (0.875,)]
    assert {"62.50 %", "87.50 %"} <= {text.get_text() for text in panel.texts}
    beyond = comparison({"a": [3.1], "b": [-0.2, 0.5]}, "ratio", TITLE, CAPTION)
    low, high = beyond.axes[0].get_xlim()
    assert low < -0.2
    assert high > 3.1
    many = comparison({str(n): [n / 40] for n in range(40)}, "share", TITLE, CAPTION)
    assert len(many.axes[0].get_yticklabels()) == 40, "more settings than colours"


def test_against_a_number_has_the_mean_and_its_deviation() -> None:
    (panel,) = drawn("against").axes
    assert panel.get_xscale() == "log"
    mean = next(line for line in panel.lines if line.get_label() == "mean")
    assert values(mean.get_xdata()) == [1e-3, 1e-2, 0.1]
    assert values(mean.get_ydata()) == [0.5625, 0.75, 0.25]
    band = next(each for each in panel.collections if each.get_label() == "± 1 standard deviation")
    heights = np.asarray(band.get_paths()[0].vertices)[:, 1]
    deviation = np.std([0.5, 0.625], ddof=1)
    assert heights.max() == pytest.approx(0.75)
    assert 0.5625 + deviation == pytest.approx(sorted(set(np.round(heights, 12)))[-2])
    (near,) = against({1.0: [0.5], 2.0: [0.6], 3.0: [0.7]}, "x", "y", TITLE, CAPTION).axes
    assert near.get_xscale() == "linear"
    (zero,) = against({0.0: [0.5], 1.0: [0.6], 30.0: [0.7]}, "x", "y", TITLE, CAPTION).axes
    assert zero.get_xscale() == "linear", "a logarithm would lose the zero"


def test_chance_is_drawn_where_accuracy_is() -> None:
    (panel,) = drawn("accuracy against eps").axes
    lines = {line.get_label(): line for line in panel.lines}
    assert set(lines) == {"fgsm", "pgd", "chance"}
    assert set(values(lines["chance"].get_ydata())) == {0.1}
    assert values(lines["fgsm"].get_xdata()) == [0, 0.1]
    assert values(lines["pgd"].get_ydata()) == [1, 0]
    assert panel.get_ylim()[0] <= 0
    assert panel.get_ylim()[1] >= 1
    (other,) = accuracy_against_eps({"a": [(0.1, 0.5)]}, 10, "l2", TITLE, CAPTION, y="reached").axes
    assert "chance" not in [line.get_label() for line in other.lines]
    assert other.get_ylabel() == "reached"
    (within,) = accuracy_against_eps(
        {"a": [(0.1, 0.5)]}, 10, "l2", TITLE, CAPTION, within=True
    ).axes
    assert within.get_xlabel() == "ε (L2), broken at ε or less"
    for panel in perceptibility(POINTS, "l2", TITLE, CAPTION, within=True).axes:
        assert panel.get_xlabel() == "ε (L2), broken at ε or less"
    assert "50.0" in [text.get_text() for text in other.texts]


def test_targets_never_tried_stay_empty() -> None:
    panel, _ = drawn("success by target").axes
    shown: Any = panel.images[0].get_array()
    empty = np.ma.getmaskarray(shown) | np.isnan(np.asarray(shown))
    assert (empty == (COUNTS == 0)).all()
    assert len(panel.texts) == (COUNTS > 0).sum()


def test_images_are_shown_as_they_are() -> None:
    """Neither stretched to full contrast nor smoothed: a grey image of 0.5 stays a grey of 0.5."""
    grey, colour = np.full((1, 4, 4), 0.5, dtype=np.float32), pixels(4, 3)
    made = sheet([Tile(grey, "grey"), Tile(colour, "colour")], TITLE, CAPTION)
    assert [panel.get_title() for panel in made.axes] == ["grey", "colour"]
    first, second = (panel.images[0] for panel in made.axes)
    assert first.get_clim() == (0, 1)
    assert to_hex(first.to_rgba(np.array([[0.5]]))[0, 0]) in ("#7f7f7f", "#808080")
    assert np.array_equal(np.asarray(second.get_array()), colour.transpose(1, 2, 0))
    assert {first.get_interpolation(), second.get_interpolation()} == {"nearest"}


@pytest.mark.parametrize("count", [0, 1, 5, 6, 7, 24])
def test_a_sheet_has_room_for_any_number(count: int, tmp_path: Path) -> None:
    made = sheet([Tile(pixels(n), f"no. {n}") for n in range(count)], TITLE, CAPTION)
    assert sum(bool(panel.images) for panel in made.axes) == count
    if count < 2:
        save(made, tmp_path / "sheet.png")


@pytest.mark.parametrize("channels", [1, 3])
def test_an_attacked_image_stands_beside_its_perturbation(channels: int) -> None:
    made = attacked([pair(channels)], TITLE, CAPTION)
    before, between, after = made.axes
    assert "7 (99.8 %)" in before.get_title()
    assert "3 (51.0 %)" in after.get_title()
    assert re.fullmatch(r"r × 2(\.0)?\nε = 0\.25, largest change 0\.25", between.get_title())
    difference = np.asarray(between.images[0].get_array())
    if channels == 1:
        assert difference == pytest.approx(0.25)
        assert between.images[0].get_clim() == pytest.approx((-0.25, 0.25)), (
            "no change is the middle of the colours"
        )
    else:
        assert difference == pytest.approx(1.0), (
            "half is no change, the largest is the end of the scale"
        )


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_that_was_not_changed_is_drawn(channels: int, tmp_path: Path) -> None:
    same = pixels(1, channels)
    made = attacked([Attacked(same, same, "7", "7", "ε = 0")], TITLE, CAPTION)
    assert made.axes[1].get_title().startswith("r = 0\n")
    save(made, tmp_path / "same.png")


def test_wrong_predictions_are_marked_by_more_than_a_colour() -> None:
    made = drawn("flips")
    titles = [panel.get_title() for panel in made.axes]
    assert titles == ["unattacked\n7 (99 %)", "ε = 0.1\n✗ 3 (60 %)", "7 (99 %)", "✗ 3 (60 %)"]
    assert [panel.get_ylabel() for panel in made.axes] == ["true: 7", "", "true: 9", ""]
    edges = [to_hex(panel.spines["left"].get_edgecolor()) for panel in made.axes]
    assert edges == [COLOURS[0].lower(), COLOURS[3].lower()] * 2


def test_the_colours_differ_in_lightness() -> None:
    """So that the first two lines of a picture can be told apart in print, and none is white."""

    def lightness(colour: str) -> float:
        red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    assert len(set(COLOURS)) == 8
    assert abs(lightness(COLOURS[0]) - lightness(COLOURS[1])) > 0.2
    assert max(map(lightness, COLOURS)) < 0.95


def test_long_titles_are_broken_and_stay_on_the_picture(tmp_path: Path) -> None:
    long = "a title that goes on and on " * 8
    made = figure(6, 4, long, long * 2)
    assert "\n" in made.get_suptitle()
    image = Image.open(save(made, tmp_path / "long.png")).convert("L")
    seen = np.asarray(image)
    assert (seen[:, [0, 1, -2, -1]] == 255).all()


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    def settings() -> dict[str, Any]:
        # To ask for the backend is to choose one.
        return {str(key): mpl.rcParams[key] for key in mpl.rcParams if key != "backend"}

    before = settings()
    for name in PICTURES:
        drawn(name)
    assert settings() == before


def test_no_window_system_is_asked_for() -> None:
    """A figure is made without pyplot, which would keep every one of them and look for a screen."""
    import ast

    import advlab.plots

    for file in Path(advlab.plots.__path__[0]).glob("*.py"):
        modules = {
            getattr(node, "module", None) or node.names[0].name
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, (ast.Import, ast.ImportFrom))
        }
        assert "matplotlib.pyplot" not in modules
        assert not any(module.split(".")[0] == "torch" for module in modules), (
            "pictures come from numbers"
        )


def test_saliency_maps_name_their_classes_and_have_scales() -> None:
    maps = {"gradient": pixels(7)[0] + 1, "SmoothGrad": np.zeros((8, 8), np.float32)}
    row = Explained(pixels(6), "image", ["true class 7", "predicted 3 (51.0 %)"], maps, {}, "3")
    made = saliency([row], TITLE, CAPTION)
    heads = [panel.get_title() for panel in made.axes if panel.get_title()]
    assert [head.split("\n") for head in heads] == [
        [name, "true class 7", "predicted 3 (51.0 %)"]
        for name in ("image", "gradient of class 3", "SmoothGrad of class 3")
    ]
    scales = [panel for panel in made.axes if panel.get_xlabel()]
    ends = [[label.get_text() for label in scale.get_xticklabels()] for scale in scales]
    largest = float(np.percentile(maps["gradient"], 99))
    assert ends == [["0 low", "1 high"], ["0 low", f"{largest:.2g} high"], ["0 everywhere"]]


def test_a_poisoning_shows_accuracies_and_success_apart_with_the_chance_of_its_classes() -> None:
    made = against_rate(
        {"all": {0.0: [0.75, 0.875], 0.5: [0.5, 0.625]}},
        {0.0: [0.0, 0.0], 0.5: [0.25, 0.75]},
        4,
        TITLE,
        CAPTION,
        examples="test texts",
        attack="the trigger",
    )
    accuracy, success = made.axes
    assert " ".join(accuracy.get_ylabel().split()) == "accuracy on clean test texts (%)"
    assert " ".join(success.get_ylabel().split()) == "attack success of the trigger (%)"
    lines = {str(line.get_label()): values(line.get_ydata()) for line in accuracy.lines}
    assert lines == {"all": [81.25, 56.25], "chance (1 of 4 classes)": [25.0, 25.0]}
    legend = accuracy.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == list(lines)
    assert values(success.lines[0].get_ydata()) == [0.0, 50.0]


def test_a_bar_that_was_not_measured_is_said_to_be_missing() -> None:
    made = trade({"a": {"x": [0.5], "y": [0.25]}, "b": {"x": [0.75]}}, 10, TITLE, CAPTION)
    missing = [text for text in made.axes[0].texts if text.get_text() == "not measured"]
    assert [text.get_position()[0] for text in missing] == [pytest.approx(1.2)]


@pytest.mark.parametrize("values", [[1.1, 1.4], [0.66, 66], [3.0, 3.001], [1e-9, 1e4]])
def test_a_logarithmic_axis_has_plain_numbers(values: list[float]) -> None:
    panel = axes(figure(4, 3, TITLE, CAPTION))[0, 0]
    panel.plot(values)
    log_scale(panel)
    panel.figure.canvas.draw()
    low, high = panel.get_ylim()
    ticks = {
        float(place): label.get_text()
        for place, label in zip(panel.get_yticks(), panel.get_yticklabels(), strict=True)
    }
    assert len(ticks) >= 3
    assert all(low <= place <= high for place in ticks)
    assert {
        place: float(text.replace("\N{MINUS SIGN}", "-")) for place, text in ticks.items()
    } == pytest.approx({place: place for place in ticks}, rel=1e-5)
    assert len(set(ticks.values())) == len(ticks), "no two ticks read the same"
    assert not panel.yaxis.get_minorticklocs().size


def test_a_sheet_without_images_is_its_title_alone() -> None:
    made = sheet([], TITLE, CAPTION)
    assert made.get_suptitle() == TITLE
    assert not made.axes


def test_the_accuracy_by_norm_is_a_step_function_with_the_radii_that_were_asked_for() -> None:
    def points(line: Line2D) -> list[tuple[float, float]]:
        x, y = (np.asarray(values).tolist() for values in line.get_data())
        return list(zip(x, y, strict=True))

    (panel,) = drawn("accuracy against norm").axes
    steps, marks = panel.lines[:2]
    assert steps.get_drawstyle() == "steps-post"
    assert points(steps)[:3] == [(0, 1), (0.5, 0.5), (1.5, 0)]
    assert points(marks) == [(1, 0.5)]  # 100 is far outside
    assert panel.get_xlim()[1] < 2
    unbroken = accuracy_against_norm([(0, 0.75)], [(2, 0.75)], 10, "l2", TITLE, CAPTION).axes[0]
    assert points(unbroken.lines[0]) == [(0, 0.75), (2, 0.75)]


def test_accuracy_by_norm_ends_at_the_largest_radius_where_images_withstand_it() -> None:
    curve = [(0.0, 1.0), (0.5, 0.5)]
    limited = accuracy_against_norm(curve, [(2.0, 0.5)], 10, "l2", TITLE, CAPTION, limit=2.0)
    (panel,) = limited.axes
    assert float(np.asarray(panel.lines[0].get_xdata()).max()) == 2.0
    assert "largest ε, 2: the search ends" in [line.get_label() for line in panel.lines]
    broken = [*curve, (1.0, 0.0)]
    whole = accuracy_against_norm(broken, [(2.0, 0.0)], 10, "l2", TITLE, CAPTION, limit=2.0)
    (panel,) = whole.axes
    assert float(np.asarray(panel.lines[0].get_xdata()).max()) == pytest.approx(1.05)
    assert not any("search ends" in str(line.get_label()) for line in panel.lines)


@pytest.mark.parametrize(("losses", "scale"), [((1.0, 0.5), "log"), ((1.0, 0.0), "linear")])
def test_a_loss_of_zero_is_drawn_though_it_has_no_logarithm(
    losses: tuple[float, float], scale: str
) -> None:
    history = [
        {"epoch": epoch, "loss": loss, "val_loss": 0.7, "accuracy": 1.0, "val_accuracy": 1.0}
        for epoch, loss in enumerate(losses, start=1)
    ]
    drawn = curves(history, 1, TITLE, CAPTION, smoothed=False)
    assert drawn.axes[0].get_yscale() == scale
    low, high = drawn.axes[0].get_ylim()
    assert low <= min(losses) <= max(losses) <= high


THREE_EPOCHS = [
    {"epoch": epoch, "loss": 2.0 / epoch, "accuracy": 0.1 * epoch}
    | {"val_loss": 2.2 / epoch, "val_accuracy": 0.09 * epoch, "val_mean_radius": 0.1}
    for epoch in (1, 2, 3)
]


def _extents(drawn: Figure) -> list[NDArray[np.float64]]:
    """Where legends and panels are, as fractions of the figure: left, bottom, right, top."""
    drawn.draw_without_rendering()
    boxes = [
        part.get_window_extent().transformed(drawn.transFigure.inverted()).extents
        for panel in drawn.axes
        for part in (panel, panel.get_legend())
        if part is not None
    ]
    return [np.asarray(box, dtype=float) for box in boxes]


def test_a_smaller_figure_is_a_small_copy_of_the_usual_one() -> None:
    usual, narrow = (
        restyled(curves(THREE_EPOCHS, 3, "A title", "A caption", smoothed=True), "screen", width)
        for width in (None, 8.5)
    )
    for before, after in zip(_extents(usual), _extents(narrow), strict=True):
        assert np.abs(after - before).max() < 0.03  # small letters are rounded to pixels


def test_panels_that_would_be_too_small_to_read_stand_below_each_other() -> None:
    title = "A title that is longer than a column is wide"
    drawn = curves(THREE_EPOCHS, 3, title, "A caption", smoothed=True)
    labels = [panel.get_ylabel() for panel in drawn.axes]
    narrow = restyled(drawn, "screen", 3.3)
    narrow.draw_without_rendering()
    assert narrow.get_size_inches()[0] == pytest.approx(3.3)
    assert [panel.get_ylabel() for panel in narrow.axes] == labels
    boxes = [panel.get_position() for panel in narrow.axes]
    assert all(upper.y0 > lower.y1 for upper, lower in itertools.pairwise(boxes))
    assert all(float(panel.yaxis.label.get_fontsize()) >= 6 for panel in narrow.axes)
    around = {narrow.get_suptitle(), narrow.get_supxlabel(), *labels}
    texts = [one for one in narrow.findobj(Text) if getattr(one, "get_text", str)() in around]
    assert len(texts) == 2 + len(labels)
    for part in (*texts, *(panel.get_legend() for panel in narrow.axes)):
        assert part is not None
        box = part.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= narrow.bbox.width


def test_numbers_at_the_ticks_of_a_slide_stand_apart() -> None:
    points = [
        {"eps": eps, "psnr_mean": 30.0, "ssim_mean": 0.9, "robust_accuracy": 0.5}
        for eps in (0.05, 0.1, 0.2)
    ]
    slide = restyled(perceptibility(points, "linf", "", ""), "slide", None)
    slide.draw_without_rendering()
    for panel in slide.axes:
        boxes = [one.get_window_extent() for one in panel.get_xticklabels()]
        assert len(boxes) > 2
        assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))


def test_legends_of_a_slide_stay_beside_each_other_and_its_title_within_the_figure() -> None:
    title = "A title that is as long as the figure is wide, since it names much, and a number = 5"
    drawn = curves(THREE_EPOCHS, 3, title, "", smoothed=True, objective="loss of a defence")
    slide = restyled(drawn, "slide", None)
    legends = _extents(slide)[1::2]
    assert all(box[0] >= 0 and box[2] <= 1 for box in legends)
    assert all(one[2] <= other[0] for one, other in itertools.pairwise(legends))
    (words,) = (one for one in slide.findobj(Text) if one.get_text() == slide.get_suptitle())
    assert words.get_window_extent().width <= slide.bbox.width


def test_a_slide_keeps_of_its_caption_what_marks_mean() -> None:
    drawn = curves(THREE_EPOCHS, 3, "A title", "the settings", smoothed=True)
    assert drawn.get_supxlabel().replace("\n", " ").endswith("network changes · the settings")
    slide = restyled(drawn, "slide", None)
    words = slide.get_supxlabel().replace("\n", " ")
    assert words == "training: averages over each epoch, while the network changes"


def test_the_radius_that_an_epoch_is_chosen_by_is_drawn() -> None:
    for objective in ("", "loss of a defence"):
        drawn = curves(THREE_EPOCHS, 3, "", "", smoothed=False, objective=objective)
        assert len(drawn.axes) == 3 + bool(objective)
        line = drawn.axes[-1].lines[0]
        assert np.asarray(line.get_data()).tolist() == [[1, 2, 3], [0.1, 0.1, 0.1]]
        assert drawn.axes[-2].get_ylabel() == "accuracy (%)"


def test_a_line_break_parts_no_number_from_its_sign_or_unit() -> None:
    text = "Certified accuracy with σ = 0.25 and radius ≥ 0.5 at 12.5 % of the images"
    for width in range(14, 60):
        lines = wrapped(text, width).split("\n")
        assert " ".join(lines) == text
        for part in ("σ = 0.25", "radius ≥ 0.5", "12.5 %"):
            assert any(part in line for line in lines)
