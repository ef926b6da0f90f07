"""Camera localization in a neural map.

    localizer = neumap.Localizer(neumap.load_map("kitchen.neumap"))
    estimate = localizer.localize(image, neumap.read_camera_info("camera_info.yaml"))

Modules are imported on first use. See README.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neumap.io.camera_info import read_camera_info
    from neumap.localization.localizer import Localizer
    from neumap.mapping.build import build_map
    from neumap.maps.map_file import load_map
    from neumap.records import Camera, PoseEstimate

# __version__: of both packages; pyproject.toml reads it, package.xml and CHANGELOG.rst repeat it.
__version__ = "0.1.0"

__all__ = ["Camera", "Localizer", "PoseEstimate", "build_map", "load_map", "read_camera_info"]

_MODULES = {
    "Camera": "neumap.records",
    "Localizer": "neumap.localization.localizer",
    "PoseEstimate": "neumap.records",
    "build_map": "neumap.mapping.build",
    "load_map": "neumap.maps.map_file",
    "read_camera_info": "neumap.io.camera_info",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'neumap' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
