"""The commands and Python blocks of README.md and docs/ run as they are written, page by page.

What takes a robot, a screen, the network or hours is not run.
"""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("rosbags")

from recordings import NAMES, Shelf

from neumap.cli.main import main, make_parser

ROOT = Path(__file__).resolve().parents[1]
# ELSEWHERE: beginnings of commands that take a robot, a screen or the network. PARSED: of commands of neumap that take
# a screen or hours: only their arguments are checked.
ELSEWHERE = (
    *("ros2 ", "rviz2 ", "make ", "pip ", "sudo ", "git ", "colcon ", "rosdep ", "source "),
    *("python3 -m venv ", "~/neumap_venv/bin/pip "),
)
PARSED = ("neumap view ", "neumap pretrain ")
# PRINTED: what the commands and Python of a page must print.
PRINTED = {
    "README.md": (
        r"localized    20 of 20 images",
        r"translation  median [0-4]\.\d+ cm",
        r"first fix    0\.",
        r"\[\[.*\]\] \[\[.*\]\]",  # a pose and its covariance
    ),
    "frames.md": (r"aligned     other.neumap: \d+ landmarks agree, [^\n]*\nmoved by    -1\.0\d+ 3\.4\d+ ",),
}


def blocks(page: Path) -> list[tuple[str, str]]:
    """The language and the text of each block of commands or Python."""
    found = re.finditer(r"^( *)```(sh|python)\n(.*?)^\1```$", page.read_text(encoding="utf-8"), re.M | re.S)
    return [(match[2], match[3]) for match in found]


def commands(block: str) -> Iterator[list[str]]:
    """The words of each command, with its continued lines and without comments."""
    for line in block.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


PAGES = [
    pytest.param(page, id=page.name)
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if blocks(page)
]


@pytest.fixture(scope="module")
def shelf(virtual_world: Path, virtual_map: Path, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"), virtual_world, virtual_map)


def lay(names: Iterable[str], shelf: Shelf) -> None:
    """Lays those recordings that are named and missing in the current folder."""
    for name in NAMES:
        if name in names and not Path(name).exists():
            shelf.lay(name, Path())


def run(words: list[str], shelf: Shelf) -> None:
    """Runs a command in the current folder."""
    command = " ".join(words)
    if command.startswith(ELSEWHERE):
        return
    assert words[0] == "neumap", "neither neumap nor among ELSEWHERE of this test"
    args = vars(make_parser().parse_args(words[1:]))
    if command.startswith(PARSED):
        return
    out = args.get("out")
    lay([word for word in words if word != str(out)], shelf)
    assert main(words[1:]) == 0
    assert out is None or Path(out).exists()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_typed(page: Path, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    for language, block in blocks(page):
        # Python without neumap is a launch file
        if language == "python" and "from neumap" in block:
            lay(re.findall(r'"(.*?)"', block), shelf)
            with redirect_stdout(printed):
                exec(compile(block, f"Python of {page.name}", "exec"), {})
        for words in commands(block) if language == "sh" else ():
            errors = io.StringIO()
            try:
                with redirect_stdout(printed), redirect_stderr(errors):
                    run(words, shelf)
            except (AssertionError, SystemExit) as error:
                pytest.fail(
                    f"{page.name}: {shlex.join(words)}\n{error}\n{errors.getvalue()}\n"
                    f"test/recordings.py makes {', '.join(NAMES)}; give others one of these names, or add them there",
                    pytrace=False,
                )
    for pattern in PRINTED.get(page.name, ()):
        assert re.search(pattern, printed.getvalue(), re.S), f"{page.name} does not print {pattern}"
