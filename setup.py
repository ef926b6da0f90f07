"""The packages, whose folders lie elsewhere than pyproject.toml can say, and the URLs, which package.xml has."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

# neumap.interfaces reads the definitions of our messages and services, which ROS 2 wants at the top
DEFINITIONS = {f"neumap.interfaces.{kind}": kind for kind in ("msg", "srv")}

LABELS = {"website": "Homepage", "repository": "Repository", "bugtracker": "Issues"}
URLS = ElementTree.parse(Path(__file__).with_name("package.xml")).iter("url")

# neumap_ros is colcon's: see CMakeLists.txt
setup(
    packages=[*find_packages(include=["neumap", "neumap.*"]), *DEFINITIONS],
    package_dir=DEFINITIONS,
    project_urls={LABELS[url.get("type")]: url.text for url in URLS},
)
