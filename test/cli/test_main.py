from __future__ import annotations

import argparse
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from neumap.cli import main as cli
from neumap.errors import DataError


def neumap(*args: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "neumap.cli", *args]
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    options: dict[str, object] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | kwargs
    return subprocess.run(command, text=True, env=environment, timeout=60, check=False, **options)  # type: ignore[call-overload,no-any-return]


def verb_that(action: Callable[[], int]) -> Callable[[], argparse.ArgumentParser]:
    def make_parser() -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser()
        parser.set_defaults(run=lambda args: action())
        return parser

    return make_parser


def failing(error: BaseException) -> Callable[[], int]:
    def action() -> int:
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (DataError("two\nlines"), 1, "neumap: error: two lines\n"),
        (KeyboardInterrupt(), 130, "neumap: error: interrupted\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "neumap: error: No space left on device\n"),
        (PermissionError(errno.EACCES, "Permission denied", "a.txt"), 1, "neumap: error: a.txt: Permission denied\n"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, ""),
    ],
)
def test_errors_are_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    message: str,
) -> None:
    monkeypatch.setattr(cli, "make_parser", verb_that(failing(error)))
    monkeypatch.setattr(cli, "_discard_output", lambda: None)
    assert cli.main([]) == status
    assert capsys.readouterr().err == message


def test_bugs_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "make_parser", verb_that(failing(ZeroDivisionError("a bug"))))
    with pytest.raises(ZeroDivisionError):
        cli.main([])


def test_the_verb_gives_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "make_parser", verb_that(lambda: 3))
    assert cli.main([]) == 3


@pytest.mark.parametrize("args", [[], ["nonsense"], ["evaluate"], ["evaluate", "a", "b", "--nonsense"]])
def test_wrong_usage(args: list[str]) -> None:
    result = neumap(*args)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_help_and_version() -> None:
    result = neumap("--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert all(verb in result.stdout for verb in cli.VERBS)
    assert neumap("--version").stdout.startswith("neumap ")


def test_help_imports_little_and_only_what_is_pythons_own() -> None:
    code = (
        "import argparse, sys\n"
        "before = set(sys.modules)\n"
        "from neumap.cli.main import VERBS, main\n"
        "for args in [['--help'], *([verb, '--help'] for verb in VERBS)]:\n"
        "    try: main(args)\n"
        "    except SystemExit as end: assert end.code == 0, end.code\n"
        "print(len(before), len(sys.modules))\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)\n"
    )
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    counts, foreign = result.stdout.splitlines()[-2:]
    assert foreign == "neumap"
    # help takes as long as these take to import
    before, after = map(int, counts.split())
    assert after <= 2 * before


def test_a_reader_that_has_gone() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    result = neumap("--help", stdout=writing)
    os.close(writing)
    # argparse ignores the failure where Python does not buffer
    assert result.returncode in (0, 1)
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["locallize"], "localize"),
        (["mapp", "x"], "map"),
        (["localize", "m", "x", "--out", "p", "--repport", "r"], "--report"),
        (["map", "x", "--out", "m", "--frame_id=map"], "--frame-id"),
    ],
)
def test_a_mistyped_word_gets_a_suggestion(
    arguments: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(arguments)
    assert capsys.readouterr().err.rstrip().endswith(f"; did you mean {meant}?")


def test_a_negative_value_gets_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["transform", "m", "--by", "-1,2,0,0", "--out", "n"])
    assert capsys.readouterr().err.rstrip().endswith("; write --by=VALUE for a value that begins with -")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("neumap loc", {"localize "}),
        ("neumap map --de", {"--decoder", "--depth", "--depth-topic"}),
        ("neumap map --decoder l", {"latent "}),
        ("neumap info a.neu", {"a.neumap "}),
    ],
)
def test_a_shell_completes_what_is_typed(tmp_path: Path, typed: str, offered: set[str]) -> None:
    pytest.importorskip("argcomplete")
    (tmp_path / "a.neumap").write_bytes(b"")
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "|",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "offered"),
        "COMP_LINE": typed,
        "COMP_POINT": str(len(typed)),
    }
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])} | asked
    code = "from neumap.cli.main import main; main()"
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, timeout=60, check=True)
    assert offered <= set((tmp_path / "offered").read_text().split("|"))


def test_without_arguments_help_is_shown_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    told = capsys.readouterr().out
    assert all(f"neumap {verb} " in told for verb in ("map", "localize", "demo"))
