"""A Python that has imported torch already and forks processes that do what they are told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class ForkingServer:
    """Runs a program in a Python of its own, and asks it things by lines of JSON.

    The program reads a case from each line of its stdin, and answers with a line.
    """

    def __init__(self, program: str) -> None:
        folders = [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]
        self._process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))},
        )

    def ask(self, case: Mapping[str, Any]) -> Any:
        """What it answers to a case."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(case) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, self._process.communicate()[1]
        return json.loads(answer)

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=30)
