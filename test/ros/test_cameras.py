"""Two cameras, one of which sees nothing: each by its own topics, and the poses are right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from client import Client
from conftest import World
from diagnostic_msgs.msg import DiagnosticArray
from node_process import CONFIGURE, NodeProcess
from player import CAMERA_INFO, IMAGE, Player, Recording, Timed
from rclpy.serialization import serialize_message

Start = Callable[..., NodeProcess]
NAMES = "camera_names:=['front','rear']"
SIM = ("-p", "use_sim_time:=true", "-p", "image_transport:=compressed")
# every image is searched, so that each has a status
ALL = ("-p", "max_image_rate:=0.0", "-p", "max_cpu:=256.0")
# of the front camera here, of the rear one by remapping
BLANK, BLANK_INFO = "front/image/compressed", "front/camera_info"
REMAPPED = "back/image_raw/compressed"


def blank(message: Any) -> Any:
    message.data = cv2.imencode(".png", np.full((240, 320), 128, np.uint8))[1].tobytes()
    message.format = "png"
    return message


def test_two_cameras(start: Start, world: World, recording: Recording, client: Client) -> None:
    messages = []
    for each in recording.messages:
        if each.topic == CAMERA_INFO:
            messages.append(each._replace(topic=BLANK_INFO))
        elif each.topic == IMAGE:
            messages.append(Timed(each.time_ns, BLANK, each.kind, serialize_message(blank(each.message))))
        messages.append(each)
    remaps = ("-r", f"rear/image/compressed:={REMAPPED}")
    node = start(*SIM, *ALL, "-p", NAMES, "-p", f"map:={world.map}", *remaps)
    offsets = "image_time_offset"
    assert node.set({offsets: [0.0, 0.0, 0.0]}) == {}
    assert not node.change(CONFIGURE)
    assert f"not configured: {offsets} has 3 numbers: give one, or one for each of camera_names" in node.output
    assert "letters" in node.set({"camera_names": ["/front"]})["camera_names"]
    assert node.set({offsets: [0.0, 0.0]}) == {}
    diagnoses = client.listen(DiagnosticArray, "/diagnostics")
    names = {IMAGE: REMAPPED, CAMERA_INFO: "rear/camera_info"}
    player = Player(client, Recording(messages, recording.truth), node, names)
    player.seek(0)
    node.activate()
    player.step_to(2.6)
    off_m = np.array([recording.error_m(pose) for pose in node.poses])
    assert len(off_m) > 8, node.told
    assert off_m.max() < 0.03, off_m.round(3)
    assert [state for state, _ in node.told] == ["UNINITIALIZED"] * (len(node.told) - 1) + ["TRACKING"]
    assert client.until(lambda: any("TRACKING" in each.status[0].message for each in diagnoses))
    tracking = [each.status[0] for each in diagnoses if "TRACKING" in each.status[0].message]
    values = {each.key: each.value for each in tracking[-1].values}
    assert "blank, dark or blurred" in values["the last image of camera front"]
    assert values["the last image of camera rear"] == "gave a pose"
