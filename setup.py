"""Everything else is said in pyproject.toml: its tables cannot name packages whose folders lie elsewhere."""

from setuptools import find_packages, setup

# neumap.interfaces reads the definitions of our messages and services, which ROS 2 wants at the top
DEFINITIONS = {f"neumap.interfaces.{kind}": kind for kind in ("msg", "srv")}

# neumap_ros is colcon's: see CMakeLists.txt
setup(packages=[*find_packages(include=["neumap", "neumap.*"]), *DEFINITIONS], package_dir=DEFINITIONS)
