from __future__ import annotations

import sys

import pytest

from neumap.cli import progress
from neumap.cli.progress import StageProgress


def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with StageProgress() as show:
        for done in range(101):
            show("train", done, 100)
            now += 1.0
        show("calibrate", 0, 1)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0] == "train: 21 of 100, about 79 s left"
    assert lines[-1] == "train: done (100.0 s)"
    assert len(lines) == 5


def test_a_bar_for_each_stage_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with StageProgress() as show:
        for stage in ("features", "adjust"):
            for done in range(4):
                show(stage, done, 3)
    err = capsys.readouterr().err
    assert err.endswith("\n")
    assert err.count("\n") == 2
    assert "features" in err
    assert "3/3" in err.splitlines()[-1]
    assert "left" in err


def test_a_total_that_is_known_later(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with StageProgress() as show:
        show("points", 0, 1)
        show("points", 200, 200)
    assert "200/200" in capsys.readouterr().err
