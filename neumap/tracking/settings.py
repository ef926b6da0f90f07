"""The parameters of the running localizer: each is declared once, here.

What follows from a declaration: the ROS 2 parameter with its description and range (``neumap_ros/parameters.py``), what
``neumap replay --params`` takes, ``config/localize.yaml`` and the table in ``docs/parameters.md``
(``tools/parameter_files.py`` writes both). Names are those of nav2_amcl where the meaning is the same.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Value = bool | int | float | str | tuple[str, ...] | tuple[float, ...]

# CAMERA: what stands for the name of a camera in parameters of several.
CAMERA = "{camera}"


@dataclass(frozen=True)
class Spec:
    """One parameter as users see it.

    Numbers lie from ``low`` to ``high``, strings are one of ``choices`` where there are any; so does each of a list,
    whose default is a tuple. ``fixed`` ones are read when the node is configured and can be changed only while it is
    not. ``field`` is that of :class:`Settings`.
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
        """Say why ``value`` cannot be set; empty where it can. ``configured``: whether the node is."""
        if self.fixed and configured:
            return f"{self.name} is read when the node is configured: clean it up, set {self.name}, configure it again"
        if not isinstance(self.default, tuple):
            return self._doubt(value, type(self.default))
        given = self.held(value)
        if not isinstance(given, tuple) or not given:
            return f"{self.name} is {value!r} instead of a list, such as {list(self.default)}"
        return next(filter(None, (self._doubt(each, type(self.default[0])) for each in given)), "")

    def held(self, value: Any) -> Any:
        """Return a value as :class:`Settings` hold it: lists are tuples."""
        is_list = isinstance(self.default, tuple) and isinstance(value, Iterable) and not isinstance(value, str)
        return tuple(value) if is_list else value

    def _doubt(self, value: Any, expected: type[Any]) -> str:
        """Say why ``value`` cannot be set, or cannot be one of a list."""
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
    """Declare a parameter; ``name`` where it is not that of the field, ``group`` where a new group begins."""
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
    """All parameters, as of one moment. Metres, radians, seconds, hertz."""

    map: str = _parameter(
        "", "path of the .neumap file to localize in", fixed=True, group="What to localize in, and with which frames"
    )
    global_frame_id: str = _parameter("map", "frame of the map", fixed=True)
    odom_frame_id: str = _parameter(
        "odom", "frame of the odometry; empty: there is none, map -> base is published", fixed=True
    )
    base_frame_id: str = _parameter("base_link", "frame of the robot's base, whose pose is published", fixed=True)
    camera_frame_id: str = _parameter(
        "",
        f"optical frame of the camera, {CAMERA} standing for its name; empty: the frame_id of the images",
        fixed=True,
    )

    camera_names: tuple[str, ...] = _parameter(
        ("",),
        "the robot's cameras, each with topics NAME/image and NAME/camera_info; one empty name: image and camera_info",
        fixed=True,
        group="Cameras and images",
    )
    image_time_offset: tuple[float, ...] = _parameter(
        (0.0,),
        "added to the stamps of images, below 0 where they are stamped late; one for all cameras, or one for each",
        "s",
        -5.0,
        5.0,
        fixed=True,
    )
    image_transport: str = _parameter(
        "raw",
        "which image topics are subscribed: image, or image/compressed",
        choices=("raw", "compressed"),
        fixed=True,
    )
    rectified: str = _parameter(
        "auto",
        "whether the images are rectified, with P of camera_info; auto: by their topic's name, else as they show",
        choices=("auto", "always", "never"),
    )
    mask: str = _parameter(
        "",
        f"path of an image whose black covers what shows the robot itself, {CAMERA} standing for the camera's name; "
        "empty: there is none",
        fixed=True,
    )
    max_image_rate: float = _parameter(
        5.0, "images of all cameras searched per second, up to a quarter more; 0: no limit", "Hz", 0.0, 100.0
    )
    max_cpu: float = _parameter(
        1.0, "cores that images may take on average: where one takes longer, fewer are searched", "cores", 0.01, 256.0
    )
    max_sigma_m: float = _parameter(
        0.3, "a pose from an image is taken for none if its position is less certain", "m", 0.001, 1000.0
    )
    threads: int = _parameter(0, "threads for one image; 0: one for each core that it may use", "", 0, 256, fixed=True)

    tf_broadcast: bool = _parameter(
        True, "publish map -> odom (or map -> base); false where an EKF does it", group="Transforms"
    )
    tf_publish_rate: float = _parameter(20.0, "how often that transform is published", "Hz", 1.0, 200.0)
    transform_tolerance: float = _parameter(0.2, "how far ahead of now it is stamped", "s", 0.0, 10.0)
    transform_timeout: float = _parameter(0.3, "how long an image waits for transforms at its stamp", "s", 0.0, 5.0)
    two_d_mode: bool = _parameter(
        False,
        "keep pose and map -> odom on the floor (x, y and yaw); images that say that the robot lies tilted are refused",
        fixed=True,
    )

    set_initial_pose: bool = _parameter(
        False,
        "begin with initial_pose as a claim, which an image confirms or refuses",
        group="When to begin, doubt and give up",
    )
    initial_pose_x: float = _parameter(0.0, "base in map", "m", -1e6, 1e6, name="initial_pose.x")
    initial_pose_y: float = _parameter(0.0, "base in map", "m", -1e6, 1e6, name="initial_pose.y")
    initial_pose_z: float = _parameter(0.0, "base in map", "m", -1e6, 1e6, name="initial_pose.z")
    initial_pose_yaw: float = _parameter(0.0, "base in map", "rad", -2 * math.pi, 2 * math.pi, name="initial_pose.yaw")
    image_timeout: float = _parameter(1.0, "time without an image after which the state is DEGRADED", "s", 0.1, 60.0)
    lost_after: float = _parameter(
        3.0, "time without an image that confirms the pose after which the state is LOST", "s", 0.1, 600.0
    )
    lost_distance: float = _parameter(
        2.0,
        "straight distance from the last image that confirmed the pose, beyond which the state is LOST",
        "m",
        0.05,
        100.0,
    )
    jump_images: int = _parameter(3, "images that must agree before a jump is believed", "", 2, 20)
    accumulate_s: float = _parameter(
        2.0,
        "an image without a pose is searched for together with those without one in this time before it; 0: never",
        "s",
        0.0,
        10.0,
    )
    relocalize_timeout: float = _parameter(
        5.0, "how long ~/relocalize searches unless its request says", "s", 0.1, 60.0
    )
    global_search_period: float = _parameter(
        10.0, "while tracking, how often the whole map is searched, and not at a glance; 0: always", "s", 0.0, 3600.0
    )
    voxel_radius: float = _parameter(
        8.0,
        "while tracking, only voxels within this distance of the prediction, or as far as one must look there, are "
        "searched; 0: all",
        "m",
        0.0,
        1000.0,
    )

    odom_drift: float = _parameter(
        0.1,
        "error of odometry per distance driven",
        "m/m",
        0.0,
        1.0,
        group="How far odometry may be wrong: one standard deviation",
    )
    odom_turn_drift: float = _parameter(0.1, "error of odometry per angle turned", "rad/rad", 0.0, 1.0)
    odom_noise: float = _parameter(0.05, "error of odometry that grows with time alone", "m/sqrt(s)", 0.0, 1.0)
    odom_turn_noise: float = _parameter(
        0.05, "error of odometry's heading that grows with time alone", "rad/sqrt(s)", 0.0, 1.0
    )

    max_speed: float = _parameter(
        2.0, "how fast the robot may be", "m/s", 0.01, 50.0, group="How the robot may move where there is no odometry"
    )
    max_turn_rate: float = _parameter(3.0, "how fast it may turn", "rad/s", 0.01, 50.0)

    mode: str = _parameter(
        "localizer",
        "initializer: no transform; tell another localizer where to begin (initialpose), and watch it",
        choices=("localizer", "initializer"),
        fixed=True,
        group="Beside another localizer",
    )
    correct_other: bool = _parameter(
        False, "an initializer tells the other localizer again while it is elsewhere; false: it only says so"
    )
    other_sigma_m: float = _parameter(
        0.1, "how far the other localizer, and its map, may be off: one standard deviation", "m", 0.001, 100.0
    )
    other_sigma_rad: float = _parameter(0.05, "the same of its heading", "rad", 0.001, 3.0)

    diagnostics_period: float = _parameter(
        1.0, "how often /diagnostics is published", "s", 0.05, 60.0, group="Diagnostics"
    )

    @property
    def doubt(self) -> str:
        """Say which parameters do not go together; empty where all do."""
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
        """Whether another localizer is to be told where the robot is, and the transform is its."""
        return self.mode == "initializer"

    @property
    def on_floor(self) -> bool:
        """Whether poses are x, y and yaw: where asked for, and for another localizer, which has no more."""
        return self.two_d_mode or self.initializes


def _spec(field: dataclasses.Field[Any]) -> Spec:
    about = dict(field.metadata)
    return Spec(**about | {"name": about["name"] or field.name, "field": field.name, "default": field.default})


SPECS: Mapping[str, Spec] = {spec.name: spec for spec in map(_spec, dataclasses.fields(Settings))}


def settings_from(values: Mapping[str, Any]) -> Settings:
    """Make settings of parameter values by name; those left out have their defaults."""
    return Settings(**{SPECS[name].field: SPECS[name].held(value) for name, value in values.items()})
