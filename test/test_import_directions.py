"""Imports go one way, ROS is imported in one place only, and help never waits for torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, ADAPTER = ROOT / "neumap", ROOT / "neumap_ros"
MODULES = sorted(PACKAGE.rglob("*.py"))

# The rooms of the library from the bottom up: each may import itself and those before it.
ROOMS = (
    "errors",
    "installation",
    "interfaces",
    "arrays",
    "records",
    "progress",
    "process",
    "geometry",
    "features",
    "model",
    "maps",
    "localization",
    "mapping",
    "tracking",
    "io",
    "virtual",
    "training",
    "report",
    "replay",
    "cli",
)
# what a robot has no use for
NOT_ON_A_ROBOT = {"mapping", "virtual", "training", "report", "replay", "cli"}
ROS_PACKAGES = {"rclpy", "rcl_interfaces", "lifecycle_msgs", "tf2_ros", "tf2_py", "diagnostic_updater", "cv_bridge"}
EXTRAS = {"pycolmap", "matplotlib", "rosbags"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source: str, package: str) -> Iterator[str]:
    """Dotted names that a module of ``package`` imports, wherever in it; ``from a import b`` counts as ``a.b``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def imports_of(path: Path) -> set[str]:
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    return set(imported(path.read_text(encoding="utf-8"), package))


def room_of(dotted: str) -> str | None:
    parts = dotted.split(".")
    return parts[1] if parts[0] == "neumap" and len(parts) > 1 else None


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


def test_how_imports_are_read() -> None:
    source = "import a.b\nfrom c import d\ndef f():\n    from . import e\n    from ..g import h\n"
    assert set(imported(source, "neumap.maps")) == {"a.b", "c.d", "neumap.maps.e", "neumap.g.h"}


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_rooms_import_from_those_below_only(path: Path) -> None:
    room = room_of(module_name(path))
    rooms = [found for name in imports_of(path) if (found := room_of(name)) in ROOMS]
    upwards = {name for name in rooms if room is not None and ROOMS.index(name) > ROOMS.index(room)}
    assert not upwards


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_the_library_knows_no_ros(path: Path) -> None:
    roots = {name.partition(".")[0] for name in imports_of(path)}
    assert not {r for r in roots if r in ROS_PACKAGES or r == "neumap_ros" or r.endswith(("_msgs", "_srvs"))}


@pytest.mark.parametrize("path", sorted(ADAPTER.glob("*.py")), ids=module_name)
def test_the_node_imports_what_a_robot_has_only(path: Path) -> None:
    assert not {room_of(name) for name in imports_of(path)} & NOT_ON_A_ROBOT


BLOCKED_IMPORT = """
import importlib, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ImportError(f"{name} is blocked", name=name)

blocked = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Blocker())
for name in sys.argv[2:]:
    importlib.import_module(name)
"""


@pytest.mark.parametrize("blocked", [ROS_PACKAGES, ROS_PACKAGES | EXTRAS], ids=["no ROS", "no ROS, no extras"])
def test_all_but_the_node_can_be_imported_without(blocked: set[str]) -> None:
    names = [module_name(path) for path in MODULES if path.name != "__main__.py"]
    done = run_python(BLOCKED_IMPORT, ",".join(sorted(blocked)), *names)
    assert done.returncode == 0, done.stderr


HELP = """
import runpy, sys
sys.argv[0] = "neumap"
try:
    runpy.run_module("neumap.cli", run_name="__main__")
except SystemExit as stop:
    assert not stop.code, stop.code
heavy = {"torch", "rclpy"} & set(sys.modules)
assert not heavy, heavy
"""


def defines_a_verb(path: Path) -> bool:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(isinstance(node, ast.FunctionDef) and node.name == "add_arguments" for node in body)


VERBS = [path.stem.strip("_").replace("_", "-") for path in (PACKAGE / "cli").glob("*.py") if defines_a_verb(path)]


@pytest.mark.parametrize("arguments", [(), *((verb,) for verb in sorted(VERBS))], ids=" ".join)
def test_help_does_not_import_torch(arguments: tuple[str, ...]) -> None:
    done = run_python(HELP, *arguments, "--help")
    assert done.returncode == 0, done.stderr
    assert "usage: neumap" in done.stdout
