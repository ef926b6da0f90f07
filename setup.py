"""Everything else is said in pyproject.toml: its tables cannot name packages whose folders lie elsewhere."""

from setuptools import find_packages, setup

# the simulator reads the definitions of our messages and services, which ROS 2 wants at the top
DEFINITIONS = {f"neumap_ros.simulator.{kind}": kind for kind in ("msg", "srv")}

setup(
    packages=[*find_packages(include=["neumap", "neumap.*", "neumap_ros", "neumap_ros.*"]), *DEFINITIONS],
    package_dir=DEFINITIONS,
)
