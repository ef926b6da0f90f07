"""The parameters of the running localizer, each declared once.

``neumap_ros/parameters.py`` declares the ROS 2 parameters from them, ``neumap replay --params`` accepts them, and
``tools/parameter_files.py`` generates ``config/localize.yaml`` and ``docs/parameters.md``. Names are those of
nav2_amcl where the meaning is the same.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Value = bool | int | float | str | tuple[str, ...] | tuple[float, ...]

# CAMERA: placeholder for the name of the camera in parameter values that apply to several.
CAMERA = "{camera}"


@dataclass(frozen=True)
class Spec:
    """One parameter.

    ``low`` and ``high`` bound numbers, ``choices`` lists the allowed strings (empty: any). The default of a list is a
    tuple, and the limits apply to each element. ``fixed`` parameters are read when the node is configured and can be
    changed only while it is unconfigured. ``field`` is the attribute of :class:`Settings`.
    """

    name: str
    field: str
    default: Value
    description: str
    unit: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    fixed: bool
    group: str

    def doubt(self, value: Any, configured: bool = False) -> str:
        """Return why ``value`` cannot be set, or an empty string. ``configured``: whether the node is configured."""
        if self.fixed and configured:
            return f"{self.name} is read when the node is configured: clean it up, set {self.name}, configure it again"
        if not isinstance(self.default, tuple):
            return self._doubt(value, type(self.default))
        given = self.held(value)
        if not isinstance(given, tuple) or not given:
            return f"{self.name} is {value!r} instead of a list, such as {list(self.default)}"
        return next(filter(None, (self._doubt(each, type(self.default[0])) for each in given)), "")

    def held(self, value: Any) -> Any:
        """Return a value as :class:`Settings` stores it: lists become tuples."""
        is_list = isinstance(self.default, tuple) and isinstance(value, Iterable) and not isinstance(value, str)
        return tuple(value) if is_list else value

    def _doubt(self, value: Any, expected: type[Any]) -> str:
        """Return why ``value`` cannot be set or be an element of a list, or an empty string."""
        if expected is not type(value):
            return f"{self.name} is {value!r} instead of a {_TYPE_NAMES[expected]}"
        if self.choices and value not in self.choices:
            return f"{self.name} is '{value}' instead of one of {', '.join(self.choices)}"
        if isinstance(value, float) and not math.isfinite(value):
            return f"{self.name} must be a finite number"
        in_range = isinstance(value, str) or self.low is None or self.high is None or self.low <= value <= self.high
        if not in_range:
            return f"{self.name} is {value} instead of a number from {self.low:.7g} to {self.high:.7g}"
        if isinstance(value, str) and self.name.endswith("frame_id"):
            if not value and self.default and self.name != "odom_frame_id":
                return f"{self.name} must not be empty"
            if value.startswith("/") or " " in value:
                return f"{self.name} is '{value}': frames of tf2 have no leading slash and no spaces"
        if self.name == "camera_names" and value and not re.fullmatch(r"(?a)[A-Za-z]\w*(/[A-Za-z]\w*)*", value):
            return f"{self.name} has '{value}': topics begin with them: letters, digits, _ and, between these, /"
        return ""


_TYPE_NAMES: Mapping[type, str] = {bool: "bool", int: "whole number", float: "number with a decimal point", str: "text"}


def _parameter(
    default: Value,
    description: str,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    *,
    name: str = "",
    choices: tuple[str, ...] = (),
    fixed: bool = False,
    group: str = "",
) -> Any:
    """Declare a parameter. Give ``name`` if it differs from the field, ``group`` at the first parameter of a group."""
    about = {
        "name": name,
        "description": description,
        "unit": unit,
        "low": low,
        "high": high,
        "choices": choices,
        "fixed": fixed,
        "group": group,
    }
    return dataclasses.field(default=default, metadata=about)


@dataclass(frozen=True)
class Settings:
    """Values of all parameters. Metres, radians, seconds, hertz."""

    map: str = _parameter("", "path of the .neumap file", fixed=True, group="Map and frames")
    global_frame_id: str = _parameter("map", "map frame", fixed=True)
    odom_frame_id: str = _parameter("odom", "odometry frame; empty: no odometry, map -> base is published", fixed=True)
    base_frame_id: str = _parameter("base_link", "base frame of the robot, whose pose is published", fixed=True)
    camera_frame_id: str = _parameter(
        "",
        f"optical frame of the camera; {CAMERA} is replaced by its name; empty: frame_id of the images",
        fixed=True,
    )

    camera_names: tuple[str, ...] = _parameter(
        ("",),
        "cameras with topics NAME/image and NAME/camera_info; one empty name: image and camera_info",
        fixed=True,
        group="Cameras",
    )
    image_time_offset: tuple[float, ...] = _parameter(
        (0.0,),
        "added to image stamps, negative if these are late; one value, or one per camera",
        "s",
        -5.0,
        5.0,
        fixed=True,
    )
    image_transport: str = _parameter(
        "raw",
        "subscribe to image or image/compressed",
        choices=("raw", "compressed"),
        fixed=True,
    )
    rectified: str = _parameter(
        "auto",
        "whether images are rectified and use P of camera_info; auto: by topic name, else by fit to the map",
        choices=("auto", "always", "never"),
    )
    mask: str = _parameter(
        "",
        f"path of a mask image, black where the robot itself is visible; {CAMERA} is replaced by the camera's name",
        fixed=True,
    )
    max_image_rate: float = _parameter(
        5.0, "maximum rate of processed images of all cameras (up to 25 % more); 0: no limit", "Hz", 0.0, 100.0
    )
    max_cpu: float = _parameter(
        1.0, "maximum average load of image processing; lowers the image rate", "cores", 0.01, 256.0
    )
    max_sigma_m: float = _parameter(
        0.3, "maximum standard deviation of position; less certain poses are rejected", "m", 0.001, 1000.0
    )
    threads: int = _parameter(0, "threads per image; 0: one per available core", "", 0, 256, fixed=True)

    tf_broadcast: bool = _parameter(
        True, "publish map -> odom (or map -> base); false if an EKF does", group="Transforms"
    )
    tf_publish_rate: float = _parameter(20.0, "rate of that transform", "Hz", 1.0, 200.0)
    transform_tolerance: float = _parameter(0.2, "its stamp is this far ahead of now", "s", 0.0, 10.0)
    transform_timeout: float = _parameter(0.3, "maximum wait for transforms at an image's stamp", "s", 0.0, 5.0)
    two_d_mode: bool = _parameter(
        False,
        "publish planar pose and map -> odom (x, y, yaw); reject poses in which the robot is tilted",
        fixed=True,
    )

    set_initial_pose: bool = _parameter(
        False,
        "start with initial_pose, to be confirmed by an image",
        group="Initialization, tracking and loss",
    )
    initial_pose_x: float = _parameter(0.0, "base in map", "m", -1e6, 1e6, name="initial_pose.x")
    initial_pose_y: float = _parameter(0.0, "base in map", "m", -1e6, 1e6, name="initial_pose.y")
    initial_pose_z: float = _parameter(0.0, "base in map", "m", -1e6, 1e6, name="initial_pose.z")
    initial_pose_yaw: float = _parameter(0.0, "base in map", "rad", -2 * math.pi, 2 * math.pi, name="initial_pose.yaw")
    image_timeout: float = _parameter(1.0, "time without an image until DEGRADED", "s", 0.1, 60.0)
    lost_after: float = _parameter(3.0, "time without confirmation of the pose until LOST", "s", 0.1, 600.0)
    lost_distance: float = _parameter(
        2.0,
        "straight distance from the last confirmed pose until LOST",
        "m",
        0.05,
        100.0,
    )
    jump_images: int = _parameter(3, "consistent images needed to accept a jump", "", 2, 20)
    accumulate_s: float = _parameter(
        2.0,
        "solve images without a pose jointly with those of this time before; 0: never",
        "s",
        0.0,
        10.0,
    )
    relocalize_timeout: float = _parameter(5.0, "default timeout of ~/relocalize", "s", 0.1, 60.0)
    global_search_period: float = _parameter(
        10.0, "while tracking, period of thorough searches of the whole map; 0: every image", "s", 0.0, 3600.0
    )
    voxel_radius: float = _parameter(
        8.0,
        "while tracking, radius of the search around the predicted pose, at least the map's viewing distance; 0: all",
        "m",
        0.0,
        1000.0,
    )

    odom_drift: float = _parameter(
        0.1,
        "position error per distance",
        "m/m",
        0.0,
        1.0,
        group="Odometry noise (standard deviations)",
    )
    odom_turn_drift: float = _parameter(0.1, "heading error per angle turned", "rad/rad", 0.0, 1.0)
    odom_noise: float = _parameter(0.05, "position error over time", "m/sqrt(s)", 0.0, 1.0)
    odom_turn_noise: float = _parameter(0.05, "heading error over time", "rad/sqrt(s)", 0.0, 1.0)

    max_speed: float = _parameter(2.0, "maximum speed", "m/s", 0.01, 50.0, group="Motion without odometry")
    max_turn_rate: float = _parameter(3.0, "maximum turn rate", "rad/s", 0.01, 50.0)

    mode: str = _parameter(
        "localizer",
        "initializer: publish initialpose for another localizer and monitor it, no transform",
        choices=("localizer", "initializer"),
        fixed=True,
        group="Beside another localizer",
    )
    correct_other: bool = _parameter(
        False, "initializer: publish initialpose again while the other localizer disagrees; false: only warn"
    )
    other_sigma_m: float = _parameter(0.1, "standard deviation of the other localizer and its map", "m", 0.001, 100.0)
    other_sigma_rad: float = _parameter(0.05, "the same for heading", "rad", 0.001, 3.0)

    diagnostics_period: float = _parameter(1.0, "period of /diagnostics", "s", 0.05, 60.0, group="Diagnostics")

    @property
    def doubt(self) -> str:
        """Return which parameters are inconsistent, or an empty string."""
        names, offsets = self.camera_names, self.image_time_offset
        if len(set(names)) < len(names) or (len(names) > 1 and "" in names):
            return "camera_names must be different, and each of several cameras must have one"
        if len(offsets) not in (1, len(names)):
            return f"image_time_offset has {len(offsets)} numbers: give one, or one for each of camera_names"
        if len(names) > 1 and self.camera_frame_id and CAMERA not in self.camera_frame_id:
            return f"camera_frame_id is one frame for several cameras: write {CAMERA} where their names differ"
        return ""

    @property
    def initializes(self) -> bool:
        """Whether the node initializes another localizer, which publishes the transform."""
        return self.mode == "initializer"

    @property
    def on_floor(self) -> bool:
        """Whether poses are planar (x, y, yaw): with ``two_d_mode``, and for another localizer."""
        return self.two_d_mode or self.initializes


def _spec(field: dataclasses.Field[Any]) -> Spec:
    about = dict(field.metadata)
    return Spec(**about | {"name": about["name"] or field.name, "field": field.name, "default": field.default})


SPECS: Mapping[str, Spec] = {spec.name: spec for spec in map(_spec, dataclasses.fields(Settings))}


def settings_from(values: Mapping[str, Any]) -> Settings:
    """Return settings from parameter values by name; omitted ones keep their defaults."""
    return Settings(**{SPECS[name].field: SPECS[name].held(value) for name, value in values.items()})
