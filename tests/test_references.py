"""What a text names, told by its form."""

from __future__ import annotations

import pytest

from advlab.config.references import dataset_title


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("digits", "digits"),
        ("csv:/home/me/tweets.csv", "csv:tweets.csv"),
        ("folder:photos/", "folder:photos"),
        ("folder:.", "folder:."),
        ("hf:someone/set", "hf:someone/set"),
        ("torchvision:EuroSAT", "torchvision:EuroSAT"),
    ],
)
def test_figures_name_a_data_set_without_its_path(name: str, title: str) -> None:
    assert dataset_title(name) == title
