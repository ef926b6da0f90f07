"""What is said where a package is not here, or where another neumap is; and our messages' definitions are found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import neumap
from neumap.errors import DataError
from neumap.installation import OURS, missing, other_versions
from neumap.interfaces import definition

ROOT = Path(__file__).resolve().parents[1]
INTERFACES = sorted(path for kind in ("msg", "srv") for path in (ROOT / kind).glob(f"*.{kind}"))
NO_OPENCV = "OpenCV is not here: pip install 'neumap[opencv]' or apt install python3-opencv"


def put_copy(folder: Path, version: str) -> Path:
    """Something that looks like an installed neumap, to stand beside ours."""
    (folder / "neumap").mkdir(parents=True)
    (folder / "neumap" / "__init__.py").write_text(f'"""neumap"""\n\n__version__ = "{version}"\n')
    return folder


def put_editable(site: Path, source: Path) -> Path:
    """What ``pip install --editable`` leaves in ``site``."""
    info = site / "neumap-0.0.3.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: neumap\nVersion: 0.0.3\n")
    (info / "direct_url.json").write_text(json.dumps({"url": source.as_uri(), "dir_info": {"editable": True}}))
    return site


def test_no_other_version(tmp_path: Path) -> None:
    same = put_copy(tmp_path / "same", neumap.__version__)
    assert other_versions([str(ROOT), str(same), str(tmp_path / "none"), str(put_editable(tmp_path, ROOT))]) is None


def test_another_version_is_named_with_its_place(tmp_path: Path) -> None:
    pip = put_copy(tmp_path / "site-packages", "0.0.1")
    said = other_versions([str(ROOT), str(pip), str(pip)])
    assert said is not None
    assert f"neumap {neumap.__version__} in {OURS.folder} is used" in said
    assert said.count(f"0.0.1 in {pip / 'neumap'}") == 1
    assert "pip uninstall neumap" in said


def test_another_version_that_was_installed_as_editable_is_named(tmp_path: Path) -> None:
    source = put_copy(tmp_path / "a checkout", "0.0.3")
    said = other_versions([str(put_editable(tmp_path / "site-packages", source))])
    assert said is not None
    assert f"0.0.3 in {source / 'neumap'}" in said


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"url": "file:///nowhere"}', '{"url": "https://x/y", "dir_info": {}}']
)
def test_other_ways_of_installing_are_no_trouble(tmp_path: Path, text: str) -> None:
    site = put_editable(tmp_path, tmp_path)
    (site / "neumap-0.0.3.dist-info" / "direct_url.json").write_text(text)
    (tmp_path / "neumap").write_text("a file of that name")
    assert other_versions([str(site)]) is None


def test_it_looks_where_python_does(tmp_path: Path) -> None:
    code = "from neumap.installation import other_versions; print(other_versions())"
    other = put_copy(tmp_path / "site-packages", "9.9.9")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(other)])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"9.9.9 in {other / 'neumap'}" in done.stdout


def test_a_missing_package_is_one_line() -> None:
    assert str(missing(ModuleNotFoundError("No module named 'cv2'", name="cv2"))) == NO_OPENCV
    assert missing(ModuleNotFoundError("No module named 'neumap.nonsense'", name="neumap.nonsense")) is None
    # it is here, and does not work: that is a traceback's business
    assert missing(ImportError("libGL.so.1: cannot open shared object file", name="cv2")) is None


def test_the_command_says_it_in_one_line(tmp_path: Path) -> None:
    # first in the path, so that it is found instead of the real one
    (tmp_path / "cv2.py").write_text("raise ModuleNotFoundError(\"No module named 'cv2'\", name='cv2')\n")
    done = subprocess.run(
        [sys.executable, "-m", "neumap.cli", "localize", "no.neumap", "nowhere", "--out", str(tmp_path / "poses.txt")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"neumap: error: {NO_OPENCV}\n")


@pytest.mark.parametrize("path", INTERFACES, ids=lambda path: path.name)
def test_definitions_are_those_that_ros_builds(path: Path) -> None:
    assert definition(f"neumap_ros/{path.parent.name}/{path.stem}") == path.read_text(encoding="utf-8")


def test_there_is_no_definition_of_what_we_do_not_define() -> None:
    with pytest.raises(DataError, match="neumap_ros/msg/Nonsense"):
        definition("neumap_ros/msg/Nonsense")
