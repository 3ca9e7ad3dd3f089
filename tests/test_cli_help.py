"""Helps, completion, exit statuses: what the front end does around the experiments, and what it
leaves unimported."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from advlab import __version__
from advlab.cli.main import main
from advlab.components import component_names
from advlab.config.base import flag_of
from advlab.config.registry import COMMANDS
from advlab.errors import EnvironmentFailure, UsageError

HEAVY = ("torch", "torchvision", "sklearn", "matplotlib")
COMPONENTS = [
    (command.name, name) for command in COMMANDS.values() for name in command.components()
]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADVLAB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv(
        "PYTHONUNBUFFERED", raising=False
    )  # without a buffer nothing is left to be written at the end


def python(
    *words: str, expected: int = 0, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a Python of its own, which must end with the status expected."""
    result = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        env={**os.environ, **(environment or {})},
    )
    assert result.returncode == expected, result
    return result


# --- helps ----------------------------------------------------------------------------------------

HELPS: list[tuple[list[str], list[str]]] = [
    (
        ["--help"],
        [
            "train MODEL",
            "attack ATTACK",
            "data",
            "list",
            "report",
            "remove",
            "completion",
            "--config FILE",
            "--print-config",
            "advlab train cnn",
        ],
    ),
    (["-h"], ["train MODEL", "--version"]),
    (["help"], ["train MODEL"]),
    ([], ["train MODEL"]),
    *(
        ([name, "--help"], [*command.components(), command.example, "--help"])
        for name, command in COMMANDS.items()
    ),
    *(
        ([name, component, "--help"], [f"advlab {name} {component}", "--config FILE", "--seeds"])
        for name, component in COMPONENTS
    ),
    (
        ["train", "cnn", "-h"],
        [
            "--dropout",
            "alone: 0.5",
            "--lr LR",
            "> 0, ≤ 100",
            "default 0.005",
            "--optimizer {adam,adamw,sgd}",
            "--no-resume",
        ],
    ),
    (["train", "cnn", "mlp", "--help"], ["--channels", "--width"]),
    (["train", "cnn", "--lr", "1", "--help"], ["--lr LR"]),
    (["attack", "pgd", "--help"], ["--eps EPS", "--steps", "--norm {linf,l2,l1}", "perturbation:"]),
    (["help", "train"], ["train MODEL", *COMMANDS["train"].components()]),
    (["--help", "train", "mlp"], ["advlab train mlp", "--width"]),
    (["train", "cnn", "--lr", "x", "--help"], ["--lr LR"]),
    (["data", "get", "--help"], ["advlab data [get NAME ... | show NAME ...]"]),
    (["data", "--help"], ["advlab data [get NAME ... | show NAME ...]", "--data-dir", "--timeout"]),
    (
        ["list", "--help"],
        [
            "--out",
            "--command",
            "--dataset",
            "--model",
            "--since",
            "--format {table,csv,json,latex}",
            "--schemas",
        ],
    ),
    (["report", "--help"], ["advlab report [options]", "--out", "--watch"]),
    (["remove", "--help"], ["advlab remove RUN ...", "--out", "--dry-run"]),
    (["completion", "--help"], ["advlab completion {bash,zsh}"]),
]


@pytest.mark.parametrize(("words", "said"), HELPS, ids=[" ".join(words) for words, _ in HELPS])
def test_a_help_says_the_essentials(
    words: list[str], said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    for part in said:
        assert part in printed.out
    assert max(map(len, printed.out.splitlines())) <= 140
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(("command", "component"), COMPONENTS)
def test_a_help_lists_every_flag_with_its_words(
    command: str, component: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main([command, component, "--help"])
    printed = "".join(capsys.readouterr().out.split())  # lines are broken at hyphens too
    for name, field in COMMANDS[command].options(component).model_fields.items():
        if not flag_of(field).in_help:
            assert f"--{name.replace('_', '-')}" not in printed
            continue
        assert f"--{name.replace('_', '-')}" in printed
        assert field.description, name
        assert "".join(field.description.split()) in printed


def _light(code: str, heavy: tuple[str, ...] = HEAVY) -> None:
    """Run code in a Python of its own; none of the heavy libraries may be there afterwards."""
    check = (
        f"import sys; found = sorted(set({heavy!r}) & set(sys.modules)); sys.stderr.write(' "
        "'.join(found)); sys.exit(bool(found))"
    )
    python("-c", f"{code}\n{check}")


def test_no_help_imports_anything_heavy() -> None:
    lines = [words for words, _ in HELPS] + [
        ["--version"],
        ["completion", "bash"],
        ["completion", "zsh"],
    ]
    _light(
        f"from advlab.cli.main import main\nfor words in {lines!r}:\n    assert main(words) == "
        "0, words",
        (*HEAVY, "numpy", "PIL"),
    )


def test_the_tables_import_nothing_heavy() -> None:
    _light(
        "from advlab.cli.main import main\nfor word in ['list', 'data']:\n    assert "
        "main([word]) == 0, word"
    )


def test_a_page_over_finished_runs_leaves_torch_out() -> None:
    """Loading it would take three times as long as writing the page."""
    _light("import advlab.experiments.report.run", ("torch",))


def test_no_refusal_and_no_printed_configuration_imports_anything_heavy() -> None:
    right = [
        ["train", "cnn", "mlp", "--seeds", "3", "--print-config"],
        ["attack", "pgd", "--eps", "0.1", "0.2", "--print-config"],
    ]
    wrong = [
        ["trian"],
        ["train", "cnn", "--lr", "x"],
        ["attack", "fgsm", "--steps", "3"],
        ["train", "cnn", "--dataset", "mnst"],
    ]
    _light(
        "from advlab.cli.main import main\n"
        f"for words in {right!r}:\n    assert main(words) == 0, words\n"
        f"for words in {wrong!r}:\n    assert main(words) == 2, words"
    )


LINES = [
    "train mlp --width 8 --train-size 60 --epochs 1 --name a",
    "attack pgd --model s/train/a --limit 5",
    "evaluate quick --model s/train/a --limit 5 --steps 2 --queries 5 --eps 0.1",
    "defend pgd --model mlp --width 8 --train-size 60 --epochs 1 --limit 5",
    "gan --epochs 1 --width 4 --train-size 64 --batch-size 64 --samples 50 --evaluation-samples 50 "
    "--feature-classifier s/train/a",
]


def test_no_command_imports_what_few_of_its_runs_need_and_no_run_the_compiler() -> None:
    """Torch and Matplotlib are there in under two seconds; each of these takes another one or
    two, in every run and every worker. One Python shows both, since what it needs to begin with is
    the same."""
    experiments = sorted({command.experiment for command in COMMANDS.values()})
    few = {"torchvision", "torch._dynamo", "scipy.stats", "sklearn", "datasets", "timm", "pandas"}
    python(
        "-c",
        "import importlib, sys\n"
        f"for name in {experiments!r}: importlib.import_module(name)\n"
        f"assert not {few!r} & set(sys.modules), {few!r} & set(sys.modules)\n"
        "from advlab.cli.main import main\n"
        f"for line in {LINES!r}:\n"
        "    assert main([*line.split(), '--dataset', 'digits', '--out', 's']) == 0, line\n"
        "    assert 'torch._dynamo' not in sys.modules, line\n",
    )


@pytest.mark.parametrize("package", ["advlab.models", "advlab.attacks", "advlab.data.images"])
def test_importing_what_can_be_named_leaves_torch_out(package: str) -> None:
    modules = [f"{package}.{name}" for name in component_names(package)]
    assert modules
    check = (
        "import sys; sys.exit(' '.join({'torch', 'torchvision', 'sklearn', 'matplotlib'} & "
        "set(sys.modules)) or 0)"
    )
    python(
        "-c", f"import importlib\nfor name in {modules!r}: importlib.import_module(name)\n{check}"
    )


@pytest.mark.parametrize("typed", [[], ["train"]])
def test_the_help_of_a_file_is_that_of_its_component(
    typed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("f.yaml").write_text("command: train\nmodel: mlp\n")
    assert main([*typed, "--config", "f.yaml", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "--width" in printed
    assert "--channels" not in printed


@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["-V"],
        ["train", "--version"],
        ["train", "cnn", "--version"],
        ["--debug", "--version"],
    ],
)
def test_the_version_may_be_asked_for_anywhere(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    assert capsys.readouterr().out == f"advlab {__version__}\n"


@pytest.mark.parametrize(
    "start", [["-m", "advlab"], [str(Path(sys.executable).with_name("advlab"))]]
)
def test_the_version(start: list[str]) -> None:
    if start[0] != "-m" and not Path(start[0]).is_file():
        pytest.skip("the advlab command is not installed beside this Python")
    assert python(*start, "--version").stdout == f"advlab {__version__}\n"


# --- list -----------------------------------------------------------------------------------------


def test_list_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    Path("configs").mkdir()
    Path("configs/one.yaml").write_text("# Four networks.\n# More.\ncommand: train\n")
    Path("configs/broken.yaml").write_bytes(b"\xff\xfe")
    Path("configs/folder.yaml").mkdir()
    for name, content in {
        "good": '{"dataset": "digits", "test_accuracy": 0.975}',
        "list": "[1, 2]",
        "torn": '{"dataset": ',
        "odd": '{"test_accuracy": null}',
        "bytes": "\udcff",
    }.items():
        Path(f"samples/train/{name}").mkdir(parents=True)
        Path(f"samples/train/{name}/metrics.json").write_bytes(
            content.encode("utf-8", "surrogateescape")
        )
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    for command in COMMANDS.values():
        for name in command.components():
            assert re.search(rf"^  {name} +\w", printed, re.MULTILINE)
    for name in component_names("advlab.data.images"):
        assert re.search(rf"^  {name} +\w", printed, re.MULTILINE)
    assert re.search(r"configs/one.yaml +Four networks\.", printed)
    assert "configs/broken.yaml" in printed
    assert "configs/folder.yaml" not in printed
    assert re.search(r"samples/train/good.*digits.*test accuracy 97\.50", printed)
    for name in ("list", "torn", "bytes"):
        assert re.search(rf"samples/train/{name} .*is damaged \(", printed), "with a word why"


def test_list_shows_comparisons_of_an_earlier_version(capsys: pytest.CaptureFixture[str]) -> None:
    settings = [
        {"setting": "MLP", "runs": 3, "test_accuracy_mean": 0.987},
        {"setting": "CNN", "runs": 3, "test_accuracy_mean": 0.995},
    ]
    for name, compared in {
        "two": settings,
        "one": settings[:1],
        "none": [],
        "damaged": [{}],
    }.items():
        Path(f"samples/compare/{name}").mkdir(parents=True)
        metrics = {"dataset": "mnist", "headline": "test_accuracy", "settings": compared}
        Path(f"samples/compare/{name}/metrics.json").write_text(json.dumps(metrics))
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    assert "98.70 % (MLP) to 99.50 % (CNN)" in printed
    assert "test accuracy 98.70 %" in printed


def test_an_earlier_comparison_of_another_figure(capsys: pytest.CaptureFixture[str]) -> None:
    settings = [
        {"setting": "zdim 10", "runs": 3, "fid_mean": 9.5},
        {"setting": "zdim 100", "runs": 3, "fid_mean": 4.25},
    ]
    Path("samples/compare/z").mkdir(parents=True)
    Path("samples/compare/z/metrics.json").write_text(
        json.dumps({"dataset": "mnist", "headline": "fid", "settings": settings})
    )
    assert main(["list"]) == 0
    assert "FID 4.25 (zdim 100) to 9.5 (zdim 10)" in capsys.readouterr().out


def test_list_says_where_it_found_no_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--out", "elsewhere"]) == 0
    assert "no finished runs under elsewhere" in capsys.readouterr().out


# --- completion -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_everything_that_can_be_typed(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    words = {
        *COMMANDS,
        "data",
        "list",
        "report",
        "remove",
        "completion",
        *(name for _, name in COMPONENTS),
        "get",
        *component_names("advlab.data.images"),
    }
    flags = {
        name
        for command, component in COMPONENTS
        for name, field in COMMANDS[command].options(component).model_fields.items()
        if flag_of(field).in_help
    }
    for word in (
        words
        | {f"--{name.replace('_', '-')}" for name in flags}
        | {"--no-resume", "--config", "--print-config", "one-cycle"}
    ):
        assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w])", script), word


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_shell_accepts_its_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell} on this machine")
    main(["completion", shell])
    checked = subprocess.run(
        [program, "-n"], input=capsys.readouterr().out, capture_output=True, text=True, timeout=30
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_bash_completes(capsys: pytest.CaptureFixture[str]) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash on this machine")
    main(["completion", "bash"])
    Path("script").write_text(capsys.readouterr().out)

    def completions(*words: str) -> set[str]:
        listed = " ".join(f"'{word}'" for word in words)
        lines = [
            "source ./script",
            f"COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}",
            "$(complete -p advlab | sed 's/.*-F \\([^ ]*\\).*/\\1/')",
            'printf "%s\\n" "${COMPREPLY[@]}"',
        ]
        result = subprocess.run(
            [bash, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=30
        )
        return set(result.stdout.split())

    assert completions("advlab", "tr") == {"train"}
    assert completions("advlab", "attack", "pg") == {"pgd"}
    assert completions("advlab", "train", "cnn", "--dropo") == {"--dropout"}
    assert completions("advlab", "train", "cnn", "--optimizer", "adamw") == {"adamw"}
    assert "mnist" in completions("advlab", "train", "cnn", "--dataset", "mn")


# --- exit statuses --------------------------------------------------------------------------------


def _raise(error: BaseException) -> Callable[[object], int]:
    def main_of_experiment(plan: object) -> int:
        raise error

    return main_of_experiment


def _experiment(monkeypatch: pytest.MonkeyPatch, run: Callable[[object], int]) -> None:
    """Let ``advlab train`` do ``run`` instead."""
    module = ModuleType("advlab.experiments.train.run")
    vars(module)["main"] = run
    monkeypatch.setitem(sys.modules, module.__name__, module)


def _following(first: BaseException, error: BaseException) -> BaseException:
    """The error as it is where it came up while ``first`` was handled."""
    error.__context__ = first
    return error


ENDINGS: list[tuple[BaseException, int, str]] = [
    (UsageError("--x: no such\nthing"), 2, "advlab: --x: no such thing\n"),
    (EnvironmentFailure("the loss is NaN"), 1, "advlab: the loss is NaN\n"),
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 1, "advlab: No space left on device\n"),
    (
        OSError(errno.EACCES, os.strerror(errno.EACCES), "samples"),
        1,
        "advlab: samples: Permission denied\n",
    ),
    (
        KeyboardInterrupt(),
        130,
        "advlab: stopped; the same line typed again goes on where this one was\n",
    ),
    (
        _following(KeyboardInterrupt(), ValueError("a half-imported library")),
        130,
        "advlab: stopped; the same line typed again goes on where this one was\n",
    ),
    (
        ZeroDivisionError("a\nbug"),
        1,
        "advlab: ZeroDivisionError: a bug (a fault of advlab; --debug shows where)\n",
    ),
    (RecursionError(), 1, "advlab: RecursionError: (a fault of advlab; --debug shows where)\n"),
    (OSError("odd"), 1, "advlab: OSError: odd (a fault of advlab; --debug shows where)\n"),
    (
        MemoryError(),
        1,
        "advlab: out of memory; a smaller --batch-size or a smaller data set may fit\n",
    ),
]


@pytest.mark.parametrize(
    ("error", "status", "line"),
    ENDINGS,
    ids=[f"{type(error).__name__}-{line[8:30]}" for error, _, line in ENDINGS],
)
def test_an_error_is_one_line_and_a_status(
    error: BaseException,
    status: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _experiment(monkeypatch, _raise(error))
    assert main(["train", "cnn"]) == status
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", line)


@pytest.mark.parametrize("status", [0, 1])
def test_the_experiments_own_status_is_passed_on(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _experiment(monkeypatch, lambda plan: status)
    assert main(["train", "cnn"]) == status


@pytest.mark.parametrize(
    "words",
    [
        ["--debug", "train", "cnn"],
        ["train", "cnn", "--debug"],
        ["train", "--debug", "cnn", "--lr", "1"],
    ],
)
def test_debug_shows_the_traceback_and_changes_nothing_else(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _experiment(monkeypatch, _raise(EnvironmentFailure("full")))
    assert main(words) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback")
    assert "main_of_experiment" in printed
    assert printed.endswith("\nadvlab: full\n")


def test_a_traceback_only_under_debug() -> None:
    plain = python("-m", "advlab", "train", "cnn", "--lr", "x", expected=2)
    assert plain.stderr == "advlab: --lr: must be a number, not 'x'\n"
    debugged = python("-m", "advlab", "train", "cnn", "--lr", "x", "--debug", expected=2)
    assert debugged.stderr.startswith("Traceback")
    assert debugged.stderr.endswith(plain.stderr)


SLEEPER = """
import sys, time, types
experiment = types.ModuleType("advlab.experiments.train.run")
def run(plan):
    try:
        print("started", flush=True)
        time.sleep(60)
    finally:
        print("closed", flush=True)
experiment.main = run
sys.modules["advlab.experiments.train.run"] = experiment
from advlab.cli.main import main
sys.exit(main(["train", "cnn"]))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("sent", "status", "word"),
    [
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "terminated"),
        (signal.SIGINT, 130, "stopped"),
    ],
)
def test_a_signal_closes_what_is_open_and_is_one_line(
    sent: signal.Signals, status: int, word: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPER],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests under nohup has the signal ignored.
        preexec_fn=lambda: signal.signal(sent, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(sent)
        out, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert out == "closed\n"
    assert err == f"advlab: {word}; the same line typed again goes on where this one was\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("train mlp", "stopped; the same line typed again goes on where this one was"),
        (
            "train mlp --overwrite --no-resume",
            "stopped; the same line without --overwrite and --no-resume goes on where this one was",
        ),
    ],
)
def test_what_is_typed_to_go_on(
    words: str, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(argv: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("advlab.cli.main._dispatch", interrupted)
    assert main(words.split()) == 130
    assert capsys.readouterr().err == f"advlab: {text}\n"


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"PYTHONOPTIMIZE": "2"}, 1, "advlab: help and names are read from docstrings"),
        ({"MPLBACKEND": "nonsense", "COLUMNS": "80"}, 0, ""),
    ],
)
def test_an_odd_environment(
    change: dict[str, str], status: int, message: str, tmp_path: Path
) -> None:
    """The second line runs with its standard output closed, too."""
    done = subprocess.run(
        f'"{sys.executable}" -m advlab list >&-',
        shell=True,
        cwd=tmp_path,
        env={**os.environ, **change},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert (done.returncode, done.stderr[: len(message)]) == (status, message)
    assert done.stderr.count("\n") == bool(message)


def test_a_home_folder_that_a_file_names_is_found(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.yaml").write_text("model: mlp\nout: ~/runs\ndata_dir: ~/data\n")
    assert main(["train", "--config", str(tmp_path / "a.yaml"), "--print-config"]) == 0
    printed = capsys.readouterr().out
    assert f"out: {tmp_path}/runs\n" in printed
    assert f"data_dir: {tmp_path}/data\n" in printed


def test_the_handler_of_a_caller_is_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert main(["--version"]) == 0
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["--help"],
        ["train", "cnn", "--help"],
        ["completion", "zsh"],
        ["train", "cnn", "--print-config"],
    ],
)
def test_a_reader_that_goes_away_is_no_error(words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = subprocess.run(
            [sys.executable, "-m", "advlab", *words],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
        )
    finally:
        os.close(writer)
    assert result.stderr == ""
    assert result.returncode in (0, 141)  # 0 where argparse itself gave up printing


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full on this machine")
@pytest.mark.parametrize("words", [["list"], ["--help"], ["train", "cnn", "--print-config"]])
def test_an_output_on_a_full_disk_is_one_line(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "advlab", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
        )
    assert (result.returncode, result.stderr) == (1, "advlab: No space left on device\n")


SPOKEN = ["list", *COMMANDS]
SPEAKER = """
import sys
from advlab.cli.main import main
for command in sys.argv[1:]:
    assert main([command, *["--help"] * (command != "list")]) == 0, command
    print("\\f", end="")
"""


@pytest.fixture(scope="module")
def on_terminals(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], ...]:
    """What each command prints on a terminal of ASCII and on one of UTF-8, in a process for each,
    since the locale is settled as the interpreter starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("empty"))
        found = []
        for environment in (
            {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            {"PYTHONIOENCODING": "utf-8"},
        ):
            texts = python("-c", SPEAKER, *SPOKEN, environment=environment).stdout.split("\f")
            assert texts.pop() == ""
            found.append(dict(zip(SPOKEN, texts, strict=True)))
    return tuple(found)


@pytest.mark.parametrize("command", SPOKEN)
def test_a_terminal_without_our_letters_gets_them_in_ascii(
    command: str, on_terminals: tuple[dict[str, str], ...]
) -> None:
    plain, usual = (texts[command] for texts in on_terminals)
    assert plain.isascii()
    assert usual.count("\n") == plain.count("\n") > 3


def test_a_refusal_without_our_letters(tmp_path: Path) -> None:
    words = ["-m", "advlab", "train", "mlp", "--config", "ε ± 1 é – Ж.yaml"]
    shown = python(
        *words, expected=2, environment={"PYTHONIOENCODING": "ascii", "LC_ALL": "C.UTF-8"}
    )
    assert "no configuration at eps +/- 1 e - ?.yaml" in shown.stderr


@pytest.mark.skipif(os.name == "nt", reason="a shell of Unix closes it")
def test_no_output_at_all_is_no_error() -> None:
    result = subprocess.run(
        ["sh", "-c", f"'{sys.executable}' -m advlab list >&-"],
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
    )
    assert (result.returncode, result.stderr) == (0, "")
