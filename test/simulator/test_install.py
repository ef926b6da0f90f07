"""Stand-ins come under their real names, go again, and never hide a real ROS 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

BLOCK = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)
sys.meta_path.insert(0, Blocker())
"""


def run(code: str, *paths: Path) -> None:
    """Runs code in a process of its own, which must succeed."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.path[:0] = {[str(path) for path in (*paths, ROOT)]!r}\n{code}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def real_rclpy(tmp_path: Path) -> Path:
    """A folder with something that looks like an installed rclpy."""
    (tmp_path / "rclpy").mkdir()
    (tmp_path / "rclpy" / "__init__.py").write_text("REAL = True\n")
    return tmp_path


def test_install_and_uninstall() -> None:
    pytest.importorskip("rosbags")
    run("""
from neumap_ros import simulator
before = set(sys.modules)
assert not simulator.is_installed()
simulator.install()
simulator.install()
assert simulator.is_installed()
import rclpy.node, rclpy.lifecycle, std_msgs.msg, tf2_ros, neumap_ros, neumap_ros.msg
from neumap_ros.srv import LoadMap
from neumap_ros.simulator import rclpy as ours
assert rclpy is ours and rclpy.node is ours.node
assert neumap_ros.msg.LocalizationStatus is neumap_ros.msg.LocalizationStatus
import neumap_ros.parameters
simulator.uninstall()
simulator.uninstall()
left = {name for name in set(sys.modules) - before if not name.startswith("neumap_ros.simulator")}
assert not {name for name in left if name.split(".")[0] in {"rclpy", "tf2_ros", "cv_bridge"} or "_msgs" in name}, left
assert not {name for name in left if name.startswith(("neumap_ros.node", "neumap_ros.msg", "neumap_ros.srv"))}, left
assert not any(hasattr(neumap_ros, name) for name in ("msg", "srv", "ros"))
try:
    import rclpy
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("rclpy is still there")
simulator.install()
import rclpy
assert rclpy is ours
""")


def test_a_fresh_install_starts_time_anew() -> None:
    pytest.importorskip("rosbags")
    run("""
from neumap_ros import simulator
from neumap_ros.simulator import virtual_time
virtual_time.advance_by(5)
simulator.install()
assert virtual_time.now_ns() == virtual_time.START_NS
virtual_time.advance_by(5)
simulator.install()
assert virtual_time.now_ns() == virtual_time.START_NS + 5
""")


def test_what_is_not_simulated_cannot_be_imported() -> None:
    pytest.importorskip("rosbags")
    run("""
from neumap_ros import simulator
simulator.install()
for name in ("rclpy.action", "nav2_msgs", "nav2_msgs.msg", "rosbag2_py"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{name} was imported")
""")


@pytest.mark.parametrize("first", ["", "import rclpy"], ids=["importable", "imported"])
def test_a_real_rclpy_is_not_hidden(real_rclpy: Path, first: str) -> None:
    pytest.importorskip("rosbags")
    run(
        f"""
{first}
from neumap_ros import simulator
try:
    simulator.install()
except simulator.SimulatorError as error:
    assert "ROS 2" in str(error)
else:
    raise SystemExit("installed")
assert not simulator.is_installed()
import rclpy
assert rclpy.REAL
simulator.install(force=True)
import rclpy
assert not hasattr(rclpy, "REAL")
simulator.uninstall()
import rclpy
assert rclpy.REAL
""",
        real_rclpy,
    )


def test_importing_needs_no_extra_and_no_torch() -> None:
    run(f"""
{BLOCK.format(names={"rosbags", "torch", "rclpy"})}
import pkgutil, importlib
from neumap_ros import simulator
for module in pkgutil.walk_packages(simulator.__path__, "neumap_ros.simulator."):
    if module.name.startswith("neumap_ros.simulator.rclpy"):
        importlib.import_module(module.name)
assert "torch" not in sys.modules
""")


def test_installing_without_rosbags_says_what_to_do() -> None:
    run(f"""
{BLOCK.format(names={"rosbags"})}
from neumap_ros import simulator
from neumap.errors import MissingDependencyError
try:
    simulator.install()
except MissingDependencyError as error:
    assert "neumap[bags]" in str(error)
else:
    raise SystemExit("installed")
assert not simulator.is_installed()
assert "std_msgs" not in sys.modules
""")
