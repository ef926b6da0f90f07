"""Runs the recorded probes of real ROS 2 against the simulator: all agree, but for those listed here with a reason."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags")

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT.parent / "shared" / "ros_reference"

ONE_THREAD = "spinning with nothing to wait for raises at once instead of hanging: no other thread can end it"
NO_LAUNCH = "launch and launch_ros are not simulated"
NO_ROSBAG2 = "rosbag2_py is not simulated: bags are read and written by the rosbags library"
LOUD = "real ROS 2 sends garbage; the simulator raises"

# A probe in here must differ from what was recorded.
NOT_IMPLEMENTED: dict[str, dict[str, str]] = {
    "executor_and_shutdown": {
        "sigint_while_waiting": ONE_THREAD,
        "sigint_without_signal_handlers": ONE_THREAD,
        "shutdown_from_another_thread": ONE_THREAD,
    },
    "timers_sim_time": {
        "sim_sleep_until_a_past_time": "sleeping on simulated time raises: in a single thread it would never end",
    },
    "publishers_subscriptions": {"publish_6x6_covariance_sends_the_first_column": LOUD},
    "launch_and_params_file": {
        "launch_node_parameters": NO_LAUNCH,
        "launch_number_like_string": NO_LAUNCH,
        "launch_params_file_matches_the_given_name": NO_LAUNCH,
        "launch_later_entry_wins": NO_LAUNCH,
    },
    "serialization_and_bags": {
        "wrong_types_on_the_wire_without_field_checks": LOUD,
        "read_order": NO_ROSBAG2,
        "same_stamp_order": NO_ROSBAG2,
        "files_and_metadata": NO_ROSBAG2,
        "topics_and_types": NO_ROSBAG2,
        "filter": NO_ROSBAG2,
        "seek": NO_ROSBAG2,
        "read_types": NO_ROSBAG2,
        "read_past_the_end": NO_ROSBAG2,
        "open_missing": NO_ROSBAG2,
        "write_to_existing_folder": NO_ROSBAG2,
        "write_unknown_topic": NO_ROSBAG2,
        "empty_bag": NO_ROSBAG2,
        "header_stamp_is_not_used": NO_ROSBAG2,
    },
    "diagnostics": {"updater_lock_after_exception": "the updater needs no lock in a single thread"},
    "tf2": {
        "transform_registered_types": "Buffer.transform() of messages is not simulated",
        "transform_pose_with_tf2_geometry_msgs": "tf2_geometry_msgs is not simulated",
    },
    "messages": {},
    "messages_unchecked": {},
    "time_and_clock": {},
    "parameters": {},
    "services": {},
    "lifecycle": {},
    "cv_bridge_images": {},
    "pointcloud2": {},
    "tf_transformations": {},
    "rosout_logging": {},
}
if np.lib.NumpyVersion(np.__version__) < "2.0.0":
    NOT_IMPLEMENTED["cv_bridge_images"]["big_endian"] = "recorded with NumPy 2; NumPy 1 converts"

# Read by every Python process of a theme, so that the scripts of some probes run in the simulator too.
SITE = {
    "sitecustomize.py": """
import os
from neumap_ros.simulator import install
if hasattr(os, "nice"):
    os.nice(10)
install()
""",
    # The theme imports it at its head; whatever it uses of it raises.
    "rosbag2_py.py": "",
}


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"ros_reference_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def agree(want: dict[str, Any], got: dict[str, Any] | None) -> bool:
    same = load(REFERENCE / "compare.py").same
    if got is None:
        return False
    return all((key in want) == (key in got) and same(want.get(key), got.get(key)) for key in ("returns", "raises"))


@pytest.fixture(scope="module")
def reference() -> Path:
    if not REFERENCE.is_dir():
        pytest.skip("the recorded probes are not beside the checkout")
    return REFERENCE


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    for name, text in SITE.items():
        (folder / name).write_text(text)
    return folder


def test_no_theme_is_forgotten(reference: Path) -> None:
    assert {path.stem for path in (reference / "expected").glob("*.json")} == set(NOT_IMPLEMENTED)


@pytest.mark.parametrize("theme", NOT_IMPLEMENTED)
def test_theme(theme: str, reference: Path, site: Path, tmp_path: Path) -> None:
    checks = load(reference / "record.py").THEMES[theme][1]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(site), str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "ROS_PYTHON_CHECK_FIELDS": checks,
    }
    command = [sys.executable, str(reference / "record.py"), "--in-this-process", "--out", str(tmp_path), theme]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    want = json.loads((reference / "expected" / f"{theme}.json").read_text())["probes"]
    got = json.loads((tmp_path / f"{theme}.json").read_text())["probes"]
    differing = {name for name in want if not agree(want[name], got.get(name))}
    listed = NOT_IMPLEMENTED[theme].keys()
    wrong = {name: {"recorded": want[name], "here": got.get(name)} for name in differing - listed}
    assert not wrong, json.dumps(wrong, indent=1)
    assert not listed - differing, "these agree now: take them out of the table"
