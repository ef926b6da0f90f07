"""What is installed: packages that are not here, and another neumap that is."""

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

# what is imported, and how a sentence may go on that says that it is not here. pip does not install OpenCV unasked, and
# colcon installs none of them
_NEEDED = {
    "cv2": "OpenCV is not here: pip install 'neumap[opencv]' or apt install python3-opencv",
    "numpy": "NumPy is not here: pip install numpy or apt install python3-numpy",
    "safetensors": "safetensors is not here: pip install safetensors",
    "scipy": "SciPy is not here: pip install scipy or apt install python3-scipy",
    "torch": "PyTorch is not here: pip install torch",
    "tqdm": "tqdm is not here: pip install tqdm or apt install python3-tqdm",
    "yaml": "PyYAML is not here: pip install pyyaml or apt install python3-yaml",
}

# EXTRAS: of pip's neumap, by the package that each brings.
EXTRAS = {"matplotlib": "plots", "pycolmap": "colmap", "rerun": "view", "rosbags": "bags"}


def missing(error: ImportError) -> MissingDependencyError | None:
    """Returns the error that says how to install what could not be imported; None where that is not ours to know."""
    sentence = _NEEDED.get(error.name or "") if isinstance(error, ModuleNotFoundError) else None
    return None if sentence is None else MissingDependencyError(sentence)


def need_extras(what: str, *names: str) -> None:
    """Raise MissingDependencyError now where ``what`` would have to end without one of the ``EXTRAS``."""
    if any(find_spec(name) is None for name in names):
        packages = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
        extras = ",".join(EXTRAS[name] for name in names)
        raise MissingDependencyError(f"{what} needs {packages}: pip install 'neumap[{extras}]'")


@dataclass(frozen=True)
class Copy:
    """A neumap on this machine: the folder ``neumap`` of it, and its version."""

    folder: Path
    version: str


OURS = Copy(Path(neumap.__file__).parent, neumap.__version__)


def other_versions(paths: Sequence[str] | None = None) -> str | None:
    """Returns a sentence for the log that names every neumap of another version than this; None where there is none.

    It looks where Python does, or in ``paths``. pip's in a virtual environment and colcon's in a workspace both go
    unnoticed otherwise: the one that comes first is used.
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
    """Those in folders of ``paths``, and those that pip installed as editable and that lie elsewhere."""
    for path in paths:
        folder = Path(path).absolute() / "neumap"
        if version := _version_in(folder):
            yield Copy(folder, version)
    for distribution in distributions(name="neumap", path=list(paths)):
        source = _editable_source(distribution)
        if source is not None and (version := _version_in(source / "neumap")):
            yield Copy(source / "neumap", version)


def _version_in(folder: Path) -> str | None:
    """The version of the neumap in a folder; None where there is none."""
    try:
        text = (folder / "__init__.py").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    return found and found[1]


def _editable_source(distribution: Distribution) -> Path | None:
    """The checkout that pip installed as editable (PEP 610)."""
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        parts = urlsplit(origin["url"])
        return Path(unquote(parts.path)) if parts.scheme == "file" and origin["dir_info"]["editable"] else None
    except (ValueError, KeyError, TypeError):
        return None
