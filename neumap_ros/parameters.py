"""The node's parameters: one table of what there is, and the settings that follow from it.

Names are those of nav2_amcl where the meaning is the same. Importing this module does not need ROS 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neumap.tracking.tracker import TrackerSettings

if TYPE_CHECKING:
    from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
    from rclpy.node import Node
    from rclpy.parameter import Parameter

Value = bool | int | float | str


@dataclass(frozen=True)
class Spec:
    """One parameter. Numbers lie from ``low`` to ``high``, strings are one of ``choices`` where there are any;
    ``fixed`` ones are read when the node is configured and can be changed only while it is not.
    """

    name: str
    default: Value
    description: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    fixed: bool = False


TABLE = (
    Spec("map", "", "path of the .neumap file to localize in", fixed=True),
    Spec("base_frame_id", "base_link", "frame of the robot's base, whose pose is published", fixed=True),
    Spec("odom_frame_id", "odom", "frame of the odometry; empty: there is none, map -> base is published", fixed=True),
    Spec("global_frame_id", "map", "frame of the map", fixed=True),
    Spec("camera_frame_id", "", "optical frame of the camera; empty: the frame_id of the images", fixed=True),
    Spec("image_transport", "raw", "which image topic is subscribed", choices=("raw", "compressed"), fixed=True),
    Spec("threads", 0, "threads for one image; 0: as many as the machine has", "", 0, 256, fixed=True),
    Spec("tf_broadcast", True, "publish the transform from the map to odometry (or to the base)"),
    Spec("tf_publish_rate", 20.0, "how often that transform is published", "Hz", 1.0, 200.0),
    Spec("transform_tolerance", 0.2, "how far ahead of now it is stamped", "s", 0.0, 10.0),
    Spec("transform_timeout", 0.3, "how long an image waits for transforms at its stamp", "s", 0.0, 5.0),
    Spec(
        "max_image_rate",
        5.0,
        "images searched per second, up to a quarter more; 0: as many as there is time for",
        "Hz",
        0.0,
        100.0,
    ),
    Spec("image_timeout", 1.0, "without an image for so long the state is DEGRADED", "s", 0.1, 60.0),
    Spec("lost_after", 3.0, "without an image that confirms the pose for so long the state is LOST", "s", 0.1, 600.0),
    Spec(
        "lost_distance",
        2.0,
        "so far, in a straight line, from the last image that confirmed the pose the state is LOST",
        "m",
        0.05,
        100.0,
    ),
    Spec("jump_images", 3, "so many images must agree before a jump is believed", "", 2, 20),
    Spec(
        "voxel_radius", 8.0, "while tracking, search only so near to the prediction; 0: the whole map", "m", 0.0, 1000.0
    ),
    Spec("odom_drift", 0.1, "error of odometry per distance driven, standard deviation", "m/m", 0.0, 1.0),
    Spec("odom_turn_drift", 0.1, "error of odometry per angle turned, standard deviation", "rad/rad", 0.0, 1.0),
    Spec("odom_noise", 0.05, "error of odometry that grows with time alone", "m/sqrt(s)", 0.0, 1.0),
    Spec("odom_turn_noise", 0.05, "error of odometry's heading that grows with time alone", "rad/sqrt(s)", 0.0, 1.0),
    Spec("max_speed", 2.0, "how fast the robot may be where there is no odometry", "m/s", 0.01, 50.0),
    Spec("max_turn_rate", 3.0, "how fast it may turn where there is no odometry", "rad/s", 0.01, 50.0),
    Spec("relocalize_timeout", 5.0, "how long ~/relocalize searches unless its request says", "s", 0.1, 60.0),
    Spec("set_initial_pose", False, "begin with initial_pose as a claim, which an image confirms or refuses"),
    Spec("initial_pose.x", 0.0, "base in map", "m", -1e6, 1e6),
    Spec("initial_pose.y", 0.0, "base in map", "m", -1e6, 1e6),
    Spec("initial_pose.z", 0.0, "base in map", "m", -1e6, 1e6),
    Spec("initial_pose.yaw", 0.0, "base in map", "rad", -2 * math.pi, 2 * math.pi),
)
SPECS: Mapping[str, Spec] = {spec.name: spec for spec in TABLE}


@dataclass(frozen=True)
class Settings:
    """All parameters, as of one moment."""

    map: str
    base_frame_id: str
    odom_frame_id: str
    global_frame_id: str
    camera_frame_id: str
    image_transport: str
    threads: int
    tf_broadcast: bool
    tf_publish_rate: float
    transform_tolerance: float
    transform_timeout: float
    max_image_rate: float
    voxel_radius: float
    relocalize_timeout: float
    set_initial_pose: bool
    initial_xyz_yaw: tuple[float, float, float, float]
    tracker: TrackerSettings


def settings_from(values: Mapping[str, Any]) -> Settings:
    """Settings of parameter values by name, all of :data:`TABLE`."""
    v = values
    return Settings(
        map=v["map"],
        base_frame_id=v["base_frame_id"],
        odom_frame_id=v["odom_frame_id"],
        global_frame_id=v["global_frame_id"],
        camera_frame_id=v["camera_frame_id"],
        image_transport=v["image_transport"],
        threads=v["threads"],
        tf_broadcast=v["tf_broadcast"],
        tf_publish_rate=v["tf_publish_rate"],
        transform_tolerance=v["transform_tolerance"],
        transform_timeout=v["transform_timeout"],
        max_image_rate=v["max_image_rate"],
        voxel_radius=v["voxel_radius"],
        relocalize_timeout=v["relocalize_timeout"],
        set_initial_pose=v["set_initial_pose"],
        initial_xyz_yaw=(v["initial_pose.x"], v["initial_pose.y"], v["initial_pose.z"], v["initial_pose.yaw"]),
        tracker=TrackerSettings(
            image_timeout_s=v["image_timeout"],
            lost_after_s=v["lost_after"],
            lost_distance_m=v["lost_distance"],
            jump_images=v["jump_images"],
            odom_drift=v["odom_drift"],
            odom_turn_drift=v["odom_turn_drift"],
            odom_noise=v["odom_noise"],
            odom_turn_noise=v["odom_turn_noise"],
            max_speed=v["max_speed"],
            max_turn_rate=v["max_turn_rate"],
        ),
    )


def doubt(spec: Spec, value: Any, configured: bool) -> str:
    """Why ``value`` cannot be set at run time; empty where it can. ``configured``: whether the node is."""
    if spec.fixed and configured:
        return f"{spec.name} is read when the node is configured: clean it up, set {spec.name}, configure it again"
    if spec.choices and value not in spec.choices:
        return f"{spec.name} is '{value}' instead of one of {', '.join(spec.choices)}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{spec.name} must be a finite number"
    if spec.name.endswith("frame_id"):
        if spec.name in ("base_frame_id", "global_frame_id") and not value:
            return f"{spec.name} must not be empty"
        if value.startswith("/") or " " in value:
            return f"{spec.name} is '{value}': frames of tf2 have no leading slash and no spaces"
    return ""


def declare(node: Node) -> None:
    """Declares all of :data:`TABLE` that the node does not have yet.

    Raises rclpy's own exceptions for overrides of the wrong type or out of range, which name the parameter.
    """
    for spec in TABLE:
        if not node.has_parameter(spec.name):
            node.declare_parameter(spec.name, spec.default, descriptor(spec))


def descriptor(spec: Spec) -> ParameterDescriptor:
    """What ``ros2 param describe`` shows, and the range that rclpy enforces."""
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    unit = f" [{spec.unit}]" if spec.unit else ""
    described = ParameterDescriptor(
        description=spec.description + unit,
        additional_constraints=f"one of {', '.join(spec.choices)}" if spec.choices else "",
    )
    if spec.low is not None and spec.high is not None:
        if isinstance(spec.default, int):
            described.integer_range = [IntegerRange(from_value=int(spec.low), to_value=int(spec.high), step=1)]
        else:
            described.floating_point_range = [
                FloatingPointRange(from_value=float(spec.low), to_value=float(spec.high), step=0.0)
            ]
    return described


def read(node: Node) -> Settings:
    """The settings that the node's parameters make now."""
    return settings_from({spec.name: node.get_parameter(spec.name).value for spec in TABLE})


def check(node: Node) -> str:
    """The first :func:`doubt` about what the node's parameters are, from a parameter file for example."""
    doubts = (doubt(spec, node.get_parameter(spec.name).value, False) for spec in TABLE)
    return next(filter(None, doubts), "")


def verdict(changes: Iterable[Parameter], configured: bool) -> SetParametersResult:
    """Whether parameters may be changed so; the reason names the first that may not."""
    from rcl_interfaces.msg import SetParametersResult

    reasons = (doubt(SPECS[p.name], p.value, configured) for p in changes if p.name in SPECS)
    reason = next(filter(None, reasons), "")
    return SetParametersResult(successful=not reason, reason=reason)
