"""``advlab report``: one page over all finished runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from advlab.config.options.listing import ReportOptions
from advlab.errors import UsageError
from advlab.experiments.report import gather, page
from advlab.input_files import is_plain
from advlab.runs.files import write_text
from advlab.runs.table import counted

_PAGE = "index.html"
_POLL = 2.0  # seconds between two looks at the folder


def main(options: ReportOptions) -> int:
    """Write the page, and with ``--watch`` write it again whenever a run finishes or is removed.

    Returns:
        The exit status, 0.

    Raises:
        UsageError: there is no such folder, no finished run in it, or a page of somebody else.
        KeyboardInterrupt: Ctrl-C under ``--watch``.
    """
    out = Path(options.out)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: is a file; it takes the folder of the runs")
    if not out.is_dir():
        raise UsageError(f"--out {out}: there is no such folder")
    _check_own(out / _PAGE)
    known = gather.fingerprint(out)
    if known:
        _write(out)
    elif not options.watch:
        raise UsageError(
            f"there are no finished runs under {out}, and no page is written; 'advlab train cnn' "
            "makes a first one"
        )
    if options.watch:
        _watch(out, known)
    return 0


def _watch(out: Path, known: Mapping[Path, tuple[int, int]]) -> None:
    """Write the page whenever the runs are others than before, until Ctrl-C."""
    waiting = "" if known else f"there are no finished runs under {out} yet; "
    print(f"{waiting}watching {out}; Ctrl-C ends it", flush=True)
    while True:
        time.sleep(_POLL)
        now = gather.fingerprint(out)
        # Without any run the last page stays: an empty one would say nothing.
        if now and now != known:
            _check_own(out / _PAGE)
            _write(out)
        known = now


def _write(out: Path) -> None:
    runs = gather.gathered(out)
    write_text(out / _PAGE, page.html(runs, str(out if out.name else out.resolve())))
    print(f"{counted(len(runs), 'run')} in {out / _PAGE}", flush=True)


def _check_own(file: Path) -> None:
    """Refuse to replace a page that this command did not write.

    Raises:
        UsageError: there is such a page, or something else of its name.
    """
    if not file.exists():
        return
    # A folder is no plain file, and no page either.
    if not is_plain(file) or page.MARK not in file.read_text(encoding="utf-8", errors="replace"):
        raise UsageError(
            f"{file} was not written by 'advlab report' and is kept; move it to another place"
        )
