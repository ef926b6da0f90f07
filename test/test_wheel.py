"""What pip installs: the library, whole and alone, and beside a robot's NumPy and OpenCV nothing in their place."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from xml.etree import ElementTree

import pip
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import neumap

ROOT = Path(__file__).resolve().parents[1]
# What Ubuntu has, by pip's names: its python3-opencv brings the module cv2, and nothing that pip would know of.
SYSTEMS = {
    "Ubuntu 22.04 (Humble)": {"numpy": "1.21.5", "scipy": "1.8.0", "PyYAML": "5.4.1", "tqdm": "4.57.0"},
    "Ubuntu 24.04 (Jazzy)": {"numpy": "1.26.4", "scipy": "1.11.4", "PyYAML": "6.0.1", "tqdm": "4.66.2"},
}
# what pip could get, newer than all of the above; with what each needs
OFFERED = {
    "numpy-2.4.6": [],
    "scipy-1.17.1": ["numpy>=1.26"],
    "PyYAML-6.0.3": [],
    "tqdm-4.70.1": [],
    "opencv_python_headless-4.14.0.94": ["numpy>=2"],
    "torch-2.13.0": [],
    "poselib-2.0.5": ["numpy"],
    "safetensors-0.8.0": [],
}
# these no system has
FROM_PIP = {"neumap", "torch", "poselib", "safetensors"}


def build(kind: str, source: Path, out: Path) -> Path:
    """Has setuptools make a wheel or an sdist, which leaves its traces in ``source``."""
    code = f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(out)], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (made,) = out.glob("neumap-*")
    return made


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made of a copy of the checkout."""
    source = tmp_path_factory.mktemp("checkout")
    for name in ("neumap", "neumap_ros", "msg", "srv"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "package.xml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    return build("sdist", source, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made of the sdist: what is in the one got through the other."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder)
    (source,) = folder.iterdir()
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def told(wheel: Path) -> Message:
    """The metadata of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def requirements(told: Message) -> list[Requirement]:
    return [Requirement(line) for line in told.get_all("Requires-Dist", [])]


def test_the_wheel_says_what_it_is(told: Message) -> None:
    """Its URLs are those of package.xml."""
    assert (told["Name"], told["Version"]) == ("neumap", neumap.__version__)
    urls = {url.get("type"): url.text for url in ElementTree.parse(ROOT / "package.xml").iter("url")}
    labels = {"Homepage": "website", "Repository": "repository", "Issues": "bugtracker"}
    assert set(told.get_all("Project-URL", [])) == {f"{label}, {urls[kind]}" for label, kind in labels.items()}


def test_the_wheel_has_the_library_whole_and_nothing_else(wheel: Path) -> None:
    files = {path.relative_to(ROOT) for path in (ROOT / "neumap").rglob("*") if path.is_file()}
    expected = {path.as_posix() for path in files if "__pycache__" not in path.parts}
    for kind in ("msg", "srv"):
        expected |= {f"neumap/interfaces/{kind}/{path.name}" for path in (ROOT / kind).iterdir()}
    assert {"neumap/py.typed", "neumap/model/decoder.safetensors"} <= expected
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if ".dist-info/" not in name} == expected
        (entry_points,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "neumap = neumap.cli.main:main" in archive.read(entry_points).decode()


def test_what_was_installed_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    code = (
        "import neumap, neumap.cli.main\n"
        "from neumap.interfaces import definition\n"
        "print(neumap.__file__)\n"
        "print(definition('neumap_ros/msg/LocalizationStatus'))\n"
        "print(definition('neumap_ros/srv/Relocalize'))\n"
        "neumap.cli.main.main(['--version'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    texts = [(ROOT / name).read_text() for name in ("msg/LocalizationStatus.msg", "srv/Relocalize.srv")]
    expected = [str(site / "neumap" / "__init__.py"), *texts, f"neumap {neumap.__version__}", ""]
    assert done.stdout == "\n".join(expected)


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_what_a_system_has_suffices(system: dict[str, str], requirements: list[Requirement]) -> None:
    needed = [requirement for requirement in requirements if "extra" not in str(requirement.marker)]
    for requirement in needed:
        version = {name.lower(): version for name, version in system.items()}.get(requirement.name.lower())
        assert version is None or Version(version) in requirement.specifier, str(requirement)
    assert {requirement.name for requirement in needed} <= FROM_PIP | {"numpy", "scipy", "pyyaml", "tqdm"}


def test_extras(requirements: list[Requirement]) -> None:
    extras: dict[str, set[str]] = {}
    for requirement in requirements:
        if "extra" in str(requirement.marker):
            (extra,) = re.findall(r'^extra == "(\w+)"$', str(requirement.marker))
            extras.setdefault(extra, set()).update(requirement.extras or {requirement.name})
    assert extras["opencv"] == {"opencv-python-headless"}
    # rerun is large, and wants a newer NumPy than robots have
    assert extras["all"] == extras.keys() - {"all", "dev", "docs", "view"}
    assert "rerun-sdk" in extras["view"]
    assert "all" in extras["dev"]


def metadata(name: str, version: str, needs: list[str]) -> str:
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    return head + "".join(f"Requires-Dist: {need}\n" for need in needs)


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of empty wheels."""
    folder = tmp_path_factory.mktemp("offered")
    for stem, needs in OFFERED.items():
        info = f"{stem}.dist-info"
        with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
            archive.writestr(f"{info}/METADATA", metadata(*stem.split("-"), needs))
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
    return folder


@pytest.mark.skipif(Version(pip.__version__) < Version("22.3"), reason="this pip cannot say what it would do elsewhere")
@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_pip_replaces_nothing_that_a_system_has(
    wheel: Path, system: dict[str, str], offered: Path, tmp_path: Path
) -> None:
    packages = tmp_path / "dist-packages"
    for name, version in system.items():
        info = packages / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(metadata(name, version, []))
    (packages / "cv2.py").write_text("")
    # an environment that sees these packages, as one made with --system-site-packages does
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    (site,) = (tmp_path / "venv").glob("lib/python3*/site-packages")
    (site / "system.pth").write_text(f"{packages}\n")

    def installed(what: str) -> set[str]:
        command = ["--python", str(tmp_path / "venv"), "install", "--dry-run", "--quiet", "--report", "-", "--no-index"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
        done = subprocess.run(
            [sys.executable, "-m", "pip", *command, "--find-links", str(offered), what],
            env=environment | {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return {item["metadata"]["name"] for item in json.loads(done.stdout)["install"]}

    assert installed(str(wheel)) == FROM_PIP
    # pip would take NumPy along with OpenCV: so only who asks for it gets it
    assert installed(f"{wheel}[opencv]") == FROM_PIP | {"numpy", "opencv_python_headless"}
