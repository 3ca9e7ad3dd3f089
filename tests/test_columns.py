"""Images and texts in Parquet files and in data sets of the Hugging Face Hub."""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from advlab.cli.main import main
from advlab.config.options.run import DataOptions
from advlab.data import load_images, load_texts
from advlab.data.image_set import ImageSet
from advlab.errors import AdvlabError, EnvironmentFailure, UsageError
from advlab.models import bow

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pq = importlib.import_module("pyarrow.parquet")
datasets = pytest.importorskip("datasets", reason="datasets is not installed")

NAMES = ["red", "green", "blue"]
COUNT = 30


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))


def png(label: int, number: int, side: int = 12, grey: bool = False) -> bytes:
    """A photo of one colour by label, whose first pixel holds its number."""
    pixels = np.zeros((side, side, 3), dtype=np.uint8)
    pixels[..., label] = 200
    pixels[0, 0] = number
    image = Image.fromarray(pixels)
    file = io.BytesIO()
    (image.convert("L") if grey else image).save(file, "PNG")
    return file.getvalue()


def rows(count: int, **changes: Any) -> dict[str, list[Any]]:
    labels = sorted(number % 3 for number in range(count))
    return {"image": [png(label, i) for i, label in enumerate(labels)], "label": labels, **changes}


def hub_table(count: int) -> Any:
    """A table as the Hugging Face Hub stores it."""
    given = rows(count)
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
    )
    images = [{"bytes": content, "path": None} for content in given["image"]]
    return datasets.Dataset.from_dict({"image": images, "label": given["label"]}, features)


def write(name: str, table: dict[str, list[Any]]) -> None:
    pq.write_table(pa.table(table), name)


def load(name: str, **options: Any) -> ImageSet:
    return load_images.load(DataOptions(dataset=name, **options))


def test_a_folder_with_parts_keeps_them_and_the_names_of_the_classes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("set/data").mkdir(parents=True)
    hub_table(COUNT).to_parquet("set/data/train-00000-of-00001.parquet")
    hub_table(12).to_parquet("set/data/test-00000-of-00002.parquet")
    hub_table(6).to_parquet("set/data/test-00001-of-00002.parquet")
    data = load("parquet:set")
    assert data.classes == tuple(NAMES)
    assert (len(data.train), len(data.val), len(data.test)) == (27, 3, 18)
    assert data.shape == (3, 12, 12)
    for images in (data.train, data.val, data.test):
        seen = images.pixels[:, :, 6, 6].argmax(1)
        assert torch.equal(seen, images.labels)
    assert len(set(data.test.labels[:6].tolist())) == 3, "in no order of classes"
    capsys.readouterr()
    again = load("hf:./set")
    assert again.sha256() == data.sha256()
    assert "split" not in capsys.readouterr().err, "bars are for terminals"


def test_one_file_is_split_by_class() -> None:
    write("all.parquet", rows(60))
    data = load("parquet:all.parquet")
    assert (len(data.train), len(data.val), len(data.test)) == (48, 6, 6)
    assert data.classes == ("0", "1", "2")
    numbers = torch.cat([part.pixels[:, 0, 0, 0] for part in (data.train, data.val, data.test)])
    assert sorted(numbers.tolist()) == list(range(60)), "every row once"
    assert load("parquet:all.parquet", image_size=16).shape == (3, 16, 16)


def test_labels_may_be_texts_and_images_grey_or_plain_bytes_in_any_column() -> None:
    labels = [NAMES[number % 3] for number in range(COUNT)]
    images = [png(number % 3, number, grey=True) for number in range(COUNT)]
    write("t.parquet", {"kind": labels, "scan": images, "weight": [0.5] * COUNT})
    data = load("parquet:t.parquet")
    assert data.classes == tuple(sorted(NAMES))
    assert data.shape == (1, 12, 12)
    images[4] = png(1, 4)
    write("t.parquet", {"kind": labels, "scan": images})
    assert load("parquet:t.parquet").shape == (3, 12, 12)


def test_splits_that_are_not_read_are_named() -> None:
    Path("set/data").mkdir(parents=True)
    for split, count in (("train", COUNT), ("test", 12), ("unsupervised", 9)):
        hub_table(count).to_parquet(f"set/data/{split}.parquet")
    Path("set/README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n"
        + "".join(
            f"  - split: {split}\n    path: data/{split}.parquet\n"
            for split in ("train", "test", "unsupervised")
        )
        + "---\n"
    )
    data = load("hf:./set")
    assert (len(data.train), len(data.val), len(data.test)) == (27, 3, 12)
    read, remark, equal = data.remarks
    assert read == (
        "hf:./set: images from column 'image', labels from column 'label'; --image-column and "
        "--label-column select others"
    )
    assert remark == "skipped, since train, test are read: unsupervised (9 rows)"
    assert "4 of 12 test images are training or validation images" in equal
    assert remark in data.introduction()


def test_images_of_rows_that_are_not_shown_as_they_are_are_counted() -> None:
    def stored(image: Image.Image, kind: str, **options: Any) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    images = rows(COUNT)["image"]
    white, red = Image.new("RGB", (12, 12), "white"), Image.new("RGB", (12, 12), "red")
    images[4] = images[25] = stored(white, "GIF", save_all=True, append_images=[red])
    images[7] = stored(Image.new("RGBA", (12, 12), (0, 0, 0, 9)), "PNG")
    images[8] = stored(Image.fromarray(np.full((12, 12), 255, np.uint16)), "PNG")
    write("t.parquet", rows(COUNT, image=images))
    several, clear, deep = load("parquet:t.parquet").remarks[1:4]
    assert several.endswith("is read: 2 of 30 images, such as t.parquet: row 5")
    assert clear == "transparency laid on white: 1 of 30 images, such as t.parquet: row 8"
    assert deep.startswith("almost black at 8 bits: 1 of 30 images, such as t.parquet: row 9; ")


def test_columns_that_might_be_meant_are_named() -> None:
    words = ["train", "test"] * (COUNT // 2)
    write("t.parquet", rows(COUNT, target=list(range(COUNT)), split=words))
    remarks = load("parquet:t.parquet").remarks
    assert (
        "t.parquet: column 'label' is read, and 'target' might be meant; --label-column selects it"
        in remarks
    )
    assert "t.parquet: column 'split' is not used as the split; names of files tell the parts" in (
        remarks
    )
    chosen = load("parquet:t.parquet", label_column="label").remarks
    assert not any("might be meant" in remark for remark in chosen)
    assert (
        "parquet:t.parquet: images from column 'image', labels from column 'label'; --image-column "
        "selects others"
    ) in chosen
    both = load("parquet:t.parquet", label_column="label", image_column="image").remarks
    assert not any("from column" in remark for remark in both)
    write("t.parquet", rows(COUNT, is_test=[False, True] * (COUNT // 2)))
    assert any("column 'is_test' is not used" in x for x in load("parquet:t.parquet").remarks)


def test_columns_that_qualify_equally_are_to_be_named() -> None:
    images, labels = rows(9).values()
    for table, flag in (
        ({"front": images, "back": images, "label": labels}, "--image-column must name"),
        ({"image": images, "fine": labels, "coarse": labels}, "--label-column must name"),
    ):
        write("t.parquet", table)
        with pytest.raises(UsageError, match=flag):
            load("parquet:t.parquet")


def test_a_label_that_stands_for_none_is_refused() -> None:
    write("t.parquet", rows(4, label=["a", "b", "nan", "a"]))
    with pytest.raises(UsageError, match="row 3 has no label in column 'label'"):
        load("parquet:t.parquet")


def test_booleans_are_two_classes_where_no_other_column_is_a_label() -> None:
    labels = [number % 3 == 0 for number in range(COUNT)]
    images = [png(0 if label else 2, number) for number, label in enumerate(labels)]
    write("t.parquet", {"image": images, "shown": labels})
    data = load("parquet:t.parquet")
    assert data.classes == ("false", "true")
    for part in (data.train, data.val, data.test):
        assert torch.equal(part.pixels[:, 0, 6, 6] == 200, part.labels == 1)
    kinds = [NAMES[number % 3] for number in range(COUNT)]
    write("t.parquet", {"image": images, "kind": kinds, "shown": labels})
    assert load("parquet:t.parquet").classes == tuple(sorted(NAMES))
    assert load("parquet:t.parquet", label_column="shown").classes == ("false", "true")


def test_validation_images_are_tested_on_where_there_are_no_others() -> None:
    Path("set").mkdir()
    hub_table(COUNT).to_parquet("set/train.parquet")
    hub_table(12).to_parquet("set/validation.parquet")
    data = load("parquet:set")
    assert (len(data.train), len(data.val), len(data.test)) == (27, 3, 12)
    assert "validation examples are the test examples" in data.introduction()


@pytest.mark.parametrize(
    ("table", "options", "words"),
    [
        (rows(9, label=[0, 1, None] * 3), {}, "row 3 has no label in column 'label'"),
        (rows(9, image=[*rows(8)["image"], None]), {}, "row 9 has no image in column 'image'"),
        (rows(9, image=[*rows(8)["image"], b"PNG"]), {}, "row 9: cannot be read as an image"),
        (rows(9, label=[0] * 9), {}, "1 class; at least two are needed"),
        (rows(9, fine=[0, 1, 2] * 3), {"label_column": "find"}, "did you mean 'fine'?"),
        ({"image": rows(9)["image"], "a": [0] * 9, "b": [1] * 9}, {}, "--label-column must name"),
        ({"text": ["a"] * 9, "label": [0, 1, 2] * 3}, {}, "none of its columns holds images"),
        (rows(9, label=[0.5] * 9), {}, "none of its columns holds labels"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_line(
    table: dict[str, list[Any]], options: dict[str, str], words: str
) -> None:
    write("t.parquet", table)
    with pytest.raises(AdvlabError) as caught:
        load("parquet:t.parquet", **options)
    assert words in str(caught.value)


def test_places_that_hold_no_table() -> None:
    Path("text.parquet").write_text("no table")
    Path("empty").mkdir()
    Path("mixed").mkdir()
    write("mixed/train.parquet", rows(9))
    write("mixed/more.parquet", rows(9))
    for name, kind, words in [
        ("parquet:", UsageError, "needs a path"),
        ("hf:", UsageError, "needs a name"),
        ("parquet:nowhere.parquet", UsageError, "no file at nowhere.parquet"),
        ("parquet:empty", UsageError, "holds no .parquet files"),
        ("parquet:mixed", UsageError, "mixed/more.parquet: its name tells no split"),
        ("parquet:text.parquet", EnvironmentFailure, "is no Parquet file, or damaged"),
    ]:
        with pytest.raises(kind, match=words):
            load(name)
    with pytest.raises(UsageError, match="--label-column: goes with parquet:PATH and hf:NAME"):
        load("digits", label_column="label")


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])

    monkeypatch.setattr("advlab.components.importlib.import_module", without)
    Path("t.parquet").touch()
    with pytest.raises(EnvironmentFailure, match=r"pip install 'advlab\[parquet\]'"):
        load("parquet:t.parquet")
    with pytest.raises(EnvironmentFailure, match=r"pip install 'advlab\[hf\]'"):
        load("hf:mnist")


def test_texts_are_used_or_counted(capsys: pytest.CaptureFixture[str]) -> None:
    texts: list[str | None] = [f"a {'good' if i % 2 else 'bad'} film, {i}" for i in range(60)]
    texts[7], texts[9], texts[11] = None, "  ", texts[13]
    features = datasets.Features(
        {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    labels: list[int | None] = [i % 2 for i in range(60)]
    labels[9] = None
    table = datasets.Dataset.from_dict({"sentence": texts, "label": labels}, features)
    table.to_parquet("texts.parquet")
    assert main(["train", "bow", "--dataset", "parquet:texts.parquet", "--epochs", "1"]) == 0
    printed = capsys.readouterr().out
    assert "60 rows read: 57 used, 1 duplicate, 2 without a text" in printed
    assert "'no' 30, 'yes' 27" in printed


def test_columns_of_texts_have_the_usual_names_of_csv_files() -> None:
    texts = [f"it was a {'good' if i % 2 else 'bad'} film, {i}" for i in range(60)]
    moods = ["ab"[i % 2] for i in range(60)]
    write("t.parquet", {"lang": ["de", "en", "en"] * 20, "Review Text": texts, "emotion": moods})
    data = load_texts.load(bow.Options(dataset="parquet:t.parquet"))
    assert data.classes == ("a", "b")
    read = "parquet:t.parquet: texts from column 'Review Text', labels from column 'emotion'; "
    assert f"{read}--text-column and --label-column select others" in data.remarks


def test_a_network_is_trained_and_attacked_on_a_table() -> None:
    write("t.parquet", rows(60))
    small = "--dataset parquet:t.parquet --epochs 1 --width 8 --label-column label --name t"
    assert main(f"train mlp {small}".split()) == 0
    # The checkpoint knows its data, columns included.
    assert (
        main(["attack", "fgsm", "--model", "samples/train/t", "--limit", "5", "--eps", "0.1"]) == 0
    )


def named_table(names: list[str], labels: list[str], images: bool) -> Any:
    """A table whose schema names the classes in an order; ``labels`` are names."""
    content: dict[str, list[Any]] = {"label": [names.index(label) for label in labels]}
    features: dict[str, Any] = {"label": datasets.ClassLabel(names=names)}
    if images:
        content["image"] = [
            {"bytes": png(NAMES.index(label), i), "path": None} for i, label in enumerate(labels)
        ]
        features["image"] = datasets.Image()
    else:
        content["text"] = [f"a {label} thing {i}" for i, label in enumerate(labels)]
        features["text"] = datasets.Value("string")
    return datasets.Dataset.from_dict(content, datasets.Features(features))


def folder_of(orders: dict[str, list[str]], images: bool) -> None:
    """A folder ``set`` with files by name, each with the names of the classes in its order."""
    Path("set").mkdir(exist_ok=True)
    for number, (file, names) in enumerate(orders.items()):
        labels = [NAMES[i % 2] for i in range(number, number + 20)]
        named_table(names, labels, images).to_parquet(f"set/{file}.parquet")


@pytest.mark.parametrize("images", [True, False])
def test_every_file_is_read_by_its_own_names_of_classes(images: bool) -> None:
    folder_of(
        {
            "train-0": ["red", "green", "blue"],
            "train-1": ["green", "blue", "red"],
            "test": ["green", "red"],
        },
        images,
    )
    remark = (
        "set/train-1.parquet: its schema has the classes of column 'label' in another order than "
        "set/train-0.parquet; every file is read by its own names (files in another order: 2)"
    )
    if images:
        data = load("parquet:set")
        for part in (data.train, data.val, data.test):
            colours = part.pixels[:, :, 6, 6].argmax(1)
            names = [data.classes[label] for label in part.labels]
            assert names == [NAMES[colour] for colour in colours]
        assert data.classes == ("red", "green", "blue")
        remarks = data.remarks
    else:
        texts = load_texts.load(bow.Options(dataset="parquet:set"))
        for split in (texts.train, texts.val, texts.test):
            for text, label in zip(split.texts, split.labels.tolist(), strict=True):
                assert text.split()[1] == texts.classes[label]
        remarks = texts.remarks
    assert remark in remarks


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (["red", "emerald"], "names a class 'emerald'"),
        (None, "holds integers without names, and that of"),
        ("text", None),
        ("missing", "has no column 'label', which is read from"),
    ],
)
def test_files_whose_labels_do_not_go_together_are_refused(second: Any, words: str | None) -> None:
    folder_of({"train-0": ["red", "green"], "test": ["red", "green"]}, images=True)
    images = rows(20)["image"]
    labels = [i % 2 for i in range(20)]
    if second == "text":  # which says the same as named numbers
        write("set/test.parquet", {"label": [NAMES[i] for i in labels], "image": images})
    elif second == "missing":
        write("set/test.parquet", {"target": labels, "image": images})
    elif second is None:
        write("set/test.parquet", {"label": labels, "image": images})
    else:
        named_table(["red", *second[1:]], ["red"] * 20, True).to_parquet("set/test.parquet")
    if words is None:
        assert load("parquet:set").classes == ("red", "green")
        return
    with pytest.raises(UsageError, match=words) as caught:
        load("parquet:set")
    assert "set/test.parquet" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_texts_in_one_file_and_numbers_in_another_are_refused() -> None:
    Path("set").mkdir()
    texts = [f"a thing {i}" for i in range(20)]
    write("set/train-0.parquet", {"text": texts, "label": [i % 2 for i in range(20)]})
    write("set/train-1.parquet", {"text": texts, "label": [str(i % 2) for i in range(20)]})
    write("set/test.parquet", {"text": texts, "label": [i % 2 for i in range(20)]})
    with pytest.raises(UsageError, match="column 'label' holds texts or named classes, and that"):
        load_texts.load(bow.Options(dataset="parquet:set"))


def test_dictionaries_of_any_order_hold_the_same_labels() -> None:
    Path("set").mkdir()
    for file, order in (
        ("train-0", NAMES),
        ("train-1", NAMES[::-1]),
        ("test", [*NAMES[1:], "red"]),
    ):
        labels = [NAMES[i % 3] for i in range(30)]
        column = pa.DictionaryArray.from_arrays(
            pa.array([order.index(one) for one in labels]), order
        )
        images = [png(i % 3, i) for i in range(30)]
        pq.write_table(pa.table({"image": images, "label": column}), f"set/{file}.parquet")
    data = load("parquet:set")
    for part in (data.train, data.val, data.test):
        colours = part.pixels[:, :, 6, 6].argmax(1)
        assert [data.classes[label] for label in part.labels] == [NAMES[one] for one in colours]


def test_the_hub_library_is_not_trusted_with_names_in_another_order() -> None:
    folder_of({"train-0": ["red", "green"], "test": ["green", "red"]}, images=True)
    with pytest.raises(UsageError, match="parquet:PATH each file by its own"):
        load("hf:./set")
    folder_of({"train-0": ["red", "green"], "test": ["red", "green"]}, images=True)
    assert load("hf:./set").classes == ("red", "green")


def test_every_file_of_a_folder_is_read_or_named() -> None:
    Path("set/more").mkdir(parents=True)
    Path("set/.cache").mkdir()
    write("set/train.parquet", rows(60))
    write("set/more/TEST.PARQUET", rows(9))
    write("set/more/val.pq", rows(6))
    write("set/.cache/train.parquet", rows(3))
    Path("set/README.md").write_text("What it is.")
    Path("set/more/again").symlink_to("../..")
    with pytest.raises(UsageError, match="is a link to a folder above it"):
        load("parquet:set")
    Path("set/more/again").unlink()
    Path("set/more/test.arrow").write_bytes(b"")
    data = load("parquet:set")
    assert (len(data.train), len(data.val), len(data.test)) == (60, 6, 9)
    (remark,) = (one for one in data.remarks if "skipped" in one)
    assert "2 files (README.md, more/test.arrow)" in remark
