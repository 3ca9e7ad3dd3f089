"""What of a machine decides how a run computes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from advlab.runs.machine import multiplies_bf16


def test_bf16_is_not_chosen_where_the_library_of_convolutions_does_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a processor that has the instructions and a library that is held to older ones, where
    bf16 would be emulated."""
    code = "from advlab.runs.machine import multiplies_bf16; print(multiplies_bf16())"
    held = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    asked = subprocess.run(
        [sys.executable, "-c", code], env=held, capture_output=True, text=True, check=True
    )
    assert asked.stdout.strip() == "False"

    everything = {"avx512_bf16": True, "amx_bf16": True, "bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: everything, raising=False)
    assert multiplies_bf16() is bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
