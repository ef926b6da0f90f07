"""Starts the localizer and brings it to the state "active", in the place of Nav2's localization_launch.py.

    ros2 launch neumap_ros localize.launch.py map:=/path/to/room.neumap image:=/camera/image_raw \
        camera_info:=/camera/camera_info

With several cameras:

    ros2 launch neumap_ros localize.launch.py map:=/path/to/room.neumap camera_names:=front,rear \
        image:=/front/image_raw,/rear/image_raw camera_info:=/front/camera_info,/rear/camera_info

What is set in ``params_file`` counts unless an argument that overrides it is given. See docs/ros.md and docs/nav2.md.
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

# After a crash the middleware believes for a while in the dead process, and would deliver requests to it alone. The
# new process is up after some seconds; it is asked again where nothing was heard of it.
RESPAWN_DELAY_S = 2.0
ASK_RESPAWNED_AFTER_S = 5.0
ASK_AGAIN_AFTER_S = 20.0


class Autostart:
    """Configures each process of a lifecycle node once and, where that succeeds, activates it.

    A transition that fails is left as it is: the node has logged why, goes on running and can be configured by hand.
    So can it after that, without being activated unasked.
    """

    def __init__(self, node):
        self._node = node
        self._process = 0
        self._heard = False
        self._activate_next = False

    def handlers(self):
        """The actions that watch the node; to be executed before the node itself."""
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
    """Ends the launch, with status 1, where the node dies before it was active: of a parameter of a wrong type, say.

    Launch would wait for the services of the dead node for ever. A node that dies later leaves alone what else was
    launched with it.
    """

    def __init__(self, node):
        self._node = node
        self._was_active = False

    def handlers(self):
        """The actions that watch the node; to be executed before the node itself."""
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
        # launch knows no other way to a status that is not 0
        raise RuntimeError(f"the localizer has died with exit code {event.returncode}")


def camera_remappings(names, images, camera_infos):
    """What the topics of cameras are remapped to: of as many names, or of one camera without; raises where the numbers
    of topics are others. Empty topics stay.
    """
    names, remappings = names or [""], []
    for topic, given in (("image", images), ("camera_info", camera_infos)):
        if len(given) not in (0, len(names)):
            raise RuntimeError(
                f"{topic}:= has {len(given)} topics for {len(names)} cameras: give one for each of camera_names, with "
                "commas between them"
            )
        for name, target in zip(names, given, strict=False):
            of_camera = f"{name}/{topic}" if name else topic
            remappings.append((of_camera, target))
            if topic == "image":
                remappings.append((f"{of_camera}/compressed", f"{target}/compressed"))
    return remappings


def listed(argument):
    """The parts of an argument, between commas."""
    return [part.strip() for part in argument.split(",") if part.strip()]


def localizer(context):
    """The node as the arguments want it, and what starts it."""
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

    # of the node's own logger: at debug the middleware's would bury it
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
            # tf2 uses absolute names; relative ones let several robots each have their own.
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
    """The arguments, then the node."""
    params_file = os.path.join(get_package_share_directory("neumap_ros"), "config", "localize.yaml")
    return LaunchDescription(
        [
            SetEnvironmentVariable("RCUTILS_LOGGING_BUFFERED_STREAM", "1"),
            DeclareLaunchArgument("namespace", default_value="", description="namespace of the node and its topics"),
            DeclareLaunchArgument(
                "map", default_value="", description="path of the .neumap file; empty: as in params_file"
            ),
            DeclareLaunchArgument(
                "use_sim_time",
                default_value="",
                choices=["", *YES_OR_NO],
                description="take the time from /clock (a simulator, ros2 bag play --clock); empty: as in params_file",
            ),
            DeclareLaunchArgument(
                "autostart", default_value="true", choices=YES_OR_NO, description="configure and activate the node"
            ),
            DeclareLaunchArgument("params_file", default_value=params_file, description="path of the parameter file"),
            DeclareLaunchArgument(
                "use_respawn", default_value="false", choices=YES_OR_NO, description="start the node again if it dies"
            ),
            DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn, error or fatal"),
            DeclareLaunchArgument(
                "camera_names",
                default_value="",
                description="names of several cameras, such as front,rear; empty: as in params_file",
            ),
            DeclareLaunchArgument(
                "image",
                default_value="",
                description="topic of the images, or one for each of camera_names, with commas between them; with "
                "image_transport:=compressed, without its /compressed; empty: image, or NAME/image",
            ),
            DeclareLaunchArgument(
                "camera_info",
                default_value="",
                description="topic of the camera's calibration, or topics as with image; empty: camera_info, or "
                "NAME/camera_info",
            ),
            DeclareLaunchArgument(
                "image_transport",
                default_value="",
                choices=["", "raw", "compressed"],
                description="which image topic is subscribed; empty: as in params_file",
            ),
            DeclareLaunchArgument(
                "mode",
                default_value="",
                choices=["", "localizer", "initializer"],
                description="initializer: beside AMCL or another localizer; empty: as in params_file",
            ),
            OpaqueFunction(function=localizer),
        ]
    )
