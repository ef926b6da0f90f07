"""Checks of the installation: missing packages, and other installed versions of neumap."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import neumap
from neumap.errors import MissingDependencyError

# _NEEDED: imported packages, and the message if one is missing. pip installs OpenCV only as an extra, and colcon
# installs none of them.
_NEEDED = {
    "cv2": "OpenCV is not here: pip install 'neumap[opencv]' or apt install python3-opencv",
    "numpy": "NumPy is not here: pip install numpy or apt install python3-numpy",
    "safetensors": "safetensors is not here: pip install safetensors",
    "scipy": "SciPy is not here: pip install scipy or apt install python3-scipy",
    "torch": "PyTorch is not here: pip install torch",
    "tqdm": "tqdm is not here: pip install tqdm or apt install python3-tqdm",
    "yaml": "PyYAML is not here: pip install pyyaml or apt install python3-yaml",
}

# EXTRAS: pip extras of neumap, by the package that each installs.
EXTRAS = {"matplotlib": "plots", "pycolmap": "colmap", "rerun": "view", "rosbags": "bags"}


def missing(error: ImportError) -> MissingDependencyError | None:
    """Return the error that states how to install a missing package; None for packages that neumap does not need."""
    sentence = _NEEDED.get(error.name or "") if isinstance(error, ModuleNotFoundError) else None
    return None if sentence is None else MissingDependencyError(sentence)


def need_extras(what: str, *names: str) -> None:
    """Raise MissingDependencyError if one of the ``EXTRAS`` that ``what`` needs is missing."""
    if any(find_spec(name) is None for name in names):
        packages = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
        extras = ",".join(EXTRAS[name] for name in names)
        raise MissingDependencyError(f"{what} needs {packages}: pip install 'neumap[{extras}]'")


@dataclass(frozen=True)
class Copy:
    """An installed neumap: its folder ``neumap``, and its version."""

    folder: Path
    version: str


OURS = Copy(Path(neumap.__file__).parent, neumap.__version__)


def other_versions(paths: Sequence[str] | None = None) -> str | None:
    """Return a log message that names every installed neumap of another version; None if there is none.

    Searches Python's path, or ``paths``. Otherwise copies by pip in a virtual environment and by colcon in a workspace
    go unnoticed: Python uses the first.
    """
    found = {copy.folder.resolve(): copy for copy in _copies(sys.path if paths is None else paths)}
    others = [f"{copy.version} in {copy.folder}" for copy in found.values() if copy.version != OURS.version]
    if not others:
        return None
    return (
        f"neumap {OURS.version} in {OURS.folder} is used, but there is also {' and '.join(others)}, and maps of the "
        "one may be refused by the other: install the same version, or remove one (pip uninstall neumap)"
    )


def _copies(paths: Sequence[str]) -> Iterator[Copy]:
    """Yield the copies in folders of ``paths``, and those that pip installed as editable from elsewhere."""
    for path in paths:
        folder = Path(path).absolute() / "neumap"
        if version := _version_in(folder):
            yield Copy(folder, version)
    for distribution in distributions(name="neumap", path=list(paths)):
        source = _editable_source(distribution)
        if source is not None and (version := _version_in(source / "neumap")):
            yield Copy(source / "neumap", version)


def _version_in(folder: Path) -> str | None:
    """Return the version of the neumap in a folder; None if there is none."""
    try:
        text = (folder / "__init__.py").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    return found and found[1]


def _editable_source(distribution: Distribution) -> Path | None:
    """Return the checkout of an editable installation (PEP 610), else None."""
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        parts = urlsplit(origin["url"])
        return Path(unquote(parts.path)) if parts.scheme == "file" and origin["dir_info"]["editable"] else None
    except (ValueError, KeyError, TypeError):
        return None
