"""Launch the localizer and activate it. Replaces Nav2's localization_launch.py.

    ros2 launch neumap_ros localize.launch.py map:=/path/to/room.neumap image:=/camera/image_raw \
        camera_info:=/camera/camera_info

With several cameras:

    ros2 launch neumap_ros localize.launch.py map:=/path/to/room.neumap camera_names:=front,rear \
        image:=/front/image_raw,/rear/image_raw camera_info:=/front/camera_info,/rear/camera_info

Arguments override ``params_file``. See docs/ros.md and docs/nav2.md.
"""

# ruff: noqa: I001 - `launch` is ROS' package, not this folder

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    Shutdown,
    TimerAction,
)
from launch.event_handlers import OnProcessExit, OnProcessStart
from launch.events import matches_action
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

YES_OR_NO = ["true", "True", "false", "False"]

# Seconds. After a crash the middleware keeps the dead process in its graph for a while and would deliver requests to it
# only. The new process needs some seconds to start; the request is repeated until a transition is seen.
RESPAWN_DELAY_S = 2.0
ASK_RESPAWNED_AFTER_S = 5.0
ASK_AGAIN_AFTER_S = 20.0


class Autostart:
    """Configures each process of a lifecycle node once and activates it on success.

    After a failed transition, whose reason the node has logged, the node keeps running and can be configured manually;
    it is then not activated automatically.
    """

    def __init__(self, node):
        self._node = node
        self._process = 0
        self._heard = False
        self._activate_next = False

    def handlers(self):
        """Return the event handlers, which must be added before the node."""
        return [
            RegisterEventHandler(OnProcessStart(target_action=self._node, on_start=self._on_start)),
            RegisterEventHandler(
                OnStateTransition(
                    target_lifecycle_node=self._node, entities=[OpaqueFunction(function=self._on_transition)]
                )
            ),
        ]

    def _on_start(self, _event, _context):
        self._process += 1
        self._heard = False
        self._activate_next = True
        if self._process == 1:
            return [self._request(Transition.TRANSITION_CONFIGURE)]
        return [self._later(ASK_RESPAWNED_AFTER_S)]

    def _on_transition(self, context):
        event = context.locals.event
        self._heard = True
        if not self._activate_next or event.start_state != "configuring":
            return []
        self._activate_next = False
        if event.goal_state == "inactive":
            return [self._request(Transition.TRANSITION_ACTIVATE)]
        return []

    def _ask(self, _context, process):
        if self._heard or process != self._process:
            return []
        return [self._request(Transition.TRANSITION_CONFIGURE), self._later(ASK_AGAIN_AFTER_S)]

    def _later(self, period):
        return TimerAction(period=period, actions=[OpaqueFunction(function=self._ask, args=[self._process])])

    def _request(self, transition_id):
        event = ChangeState(lifecycle_node_matcher=matches_action(self._node), transition_id=transition_id)
        return EmitEvent(event=event)


class EndWithoutStart:
    """Ends the launch with status 1 if the node dies before it is active, as from a parameter of a wrong type.

    Otherwise launch would wait forever for the services of the dead node. If the node dies later, whatever else was
    launched keeps running.
    """

    def __init__(self, node):
        self._node = node
        self._was_active = False

    def handlers(self):
        """Return the event handlers, which must be added before the node."""
        return [
            RegisterEventHandler(
                OnStateTransition(
                    target_lifecycle_node=self._node,
                    goal_state="active",
                    entities=[OpaqueFunction(function=self._on_active)],
                )
            ),
            RegisterEventHandler(OnProcessExit(target_action=self._node, on_exit=self._on_exit)),
        ]

    def _on_active(self, _context):
        self._was_active = True

    def _on_exit(self, event, context):
        if self._was_active or context.is_shutdown:
            return []
        if event.returncode == 0:
            return [Shutdown(reason="the localizer has ended")]
        # launch has no other way to a nonzero exit status
        raise RuntimeError(f"the localizer has died with exit code {event.returncode}")


def camera_remappings(names, images, camera_infos):
    """Return the remappings of the camera topics; without names there is one unnamed camera. Empty lists leave the
    topics unchanged. Raises RuntimeError if the number of topics differs from that of the cameras.
    """
    names, remappings = names or [""], []
    for topic, given in (("image", images), ("camera_info", camera_infos)):
        if len(given) not in (0, len(names)):
            raise RuntimeError(
                f"{topic}:= has {len(given)} topics for {len(names)} cameras: give one for each of camera_names, "
                "separated by commas"
            )
        for name, target in zip(names, given, strict=False):
            of_camera = f"{name}/{topic}" if name else topic
            remappings.append((of_camera, target))
            if topic == "image":
                remappings.append((f"{of_camera}/compressed", f"{target}/compressed"))
    return remappings


def listed(argument):
    """Split a comma-separated argument."""
    return [part.strip() for part in argument.split(",") if part.strip()]


def localizer(context):
    """Return the node with the given arguments, and the actions that manage it."""
    given = context.launch_configurations
    overrides = {}
    if given["map"]:
        overrides["map"] = ParameterValue(os.path.expanduser(given["map"]), value_type=str)
    if given["use_sim_time"]:
        overrides["use_sim_time"] = given["use_sim_time"].lower() == "true"
    if given["mode"]:
        overrides["mode"] = ParameterValue(given["mode"], value_type=str)
    if given["image_transport"]:
        overrides["image_transport"] = ParameterValue(given["image_transport"], value_type=str)

    names = listed(given["camera_names"])
    if names:
        overrides["camera_names"] = names

    # set only the node's own logger: at debug the middleware's messages would hide its own
    level = given["log_level"]
    logger = ".".join([*filter(None, given["namespace"].split("/")), "neumap_localizer"])
    respawn = given["use_respawn"].lower() == "true"
    node = LifecycleNode(
        package="neumap_ros",
        executable="localizer",
        name="neumap_localizer",
        namespace=given["namespace"],
        output="screen",
        respawn=respawn,
        respawn_delay=RESPAWN_DELAY_S,
        parameters=[os.path.expanduser(given["params_file"]), *([overrides] if overrides else [])],
        arguments=["--ros-args", "--log-level", f"{logger}:={level}"],
        remappings=[
            # tf2 uses absolute names; relative ones give each namespaced robot its own.
            ("/tf", "tf"),
            ("/tf_static", "tf_static"),
            *camera_remappings(names, listed(given["image"]), listed(given["camera_info"])),
        ],
    )
    autostart = given["autostart"].lower() == "true"
    return [
        *(Autostart(node).handlers() if autostart else []),
        *([] if respawn else EndWithoutStart(node).handlers()),
        node,
    ]


def generate_launch_description():
    """Declare the arguments and launch the node."""
    params_file = os.path.join(get_package_share_directory("neumap_ros"), "config", "localize.yaml")
    return LaunchDescription(
        [
            SetEnvironmentVariable("RCUTILS_LOGGING_BUFFERED_STREAM", "1"),
            DeclareLaunchArgument("namespace", default_value="", description="namespace of the node and its topics"),
            DeclareLaunchArgument(
                "map", default_value="", description="path of the .neumap file; empty: from params_file"
            ),
            DeclareLaunchArgument(
                "use_sim_time",
                default_value="",
                choices=["", *YES_OR_NO],
                description="use the time of /clock (simulator, ros2 bag play --clock); empty: from params_file",
            ),
            DeclareLaunchArgument(
                "autostart", default_value="true", choices=YES_OR_NO, description="configure and activate the node"
            ),
            DeclareLaunchArgument("params_file", default_value=params_file, description="path of the parameter file"),
            DeclareLaunchArgument(
                "use_respawn", default_value="false", choices=YES_OR_NO, description="restart the node if it dies"
            ),
            DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn, error or fatal"),
            DeclareLaunchArgument(
                "camera_names",
                default_value="",
                description="names of several cameras, such as front,rear; empty: from params_file",
            ),
            DeclareLaunchArgument(
                "image",
                default_value="",
                description="image topic without /compressed, or a comma-separated list in the order of "
                "camera_names; empty: image, or NAME/image",
            ),
            DeclareLaunchArgument(
                "camera_info",
                default_value="",
                description="camera_info topic, or a list as for image; empty: camera_info, or NAME/camera_info",
            ),
            DeclareLaunchArgument(
                "image_transport",
                default_value="",
                choices=["", "raw", "compressed"],
                description="image topic to subscribe to: raw or compressed; empty: from params_file",
            ),
            DeclareLaunchArgument(
                "mode",
                default_value="",
                choices=["", "localizer", "initializer"],
                description="initializer: run beside AMCL or another localizer; empty: from params_file",
            ),
            OpaqueFunction(function=localizer),
        ]
    )
