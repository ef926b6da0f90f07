"""Messages behave as those that rosidl generates: what ROS 2 was seen to do is written here as values."""

from __future__ import annotations

import array
import copy
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags")

from neumap.errors import MissingDependencyError
from neumap_ros.simulator import messages
from neumap_ros.simulator.messages import catalogue, message_class, service_class


@pytest.fixture(params=["1", ""], ids=["checked", "unchecked"])
def checked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setenv("ROS_PYTHON_CHECK_FIELDS", request.param)
    return bool(request.param)


def make(name: str, **fields: Any) -> Any:
    package, short = name.split("/")
    return message_class(f"{package}/msg/{short}")(**fields)


def names(kind: str) -> Iterator[str]:
    for name, module in messages.modules().items():
        if name.endswith(f".{kind}"):
            yield from (f"{name.replace('.', '/')}/{short}" for short in vars(module) if not short.startswith("__"))


def test_modules() -> None:
    modules = messages.modules()
    assert modules["std_msgs"].msg.Header is modules["std_msgs.msg"].Header is message_class("std_msgs/msg/Header")
    assert modules["neumap_ros.msg"].LocalizationStatus.LOST == 3
    assert modules["neumap_ros.srv"].Relocalize.Request().prior.pose.covariance.shape == (36,)
    assert "neumap_ros" not in modules
    assert not hasattr(modules["std_srvs.srv"], "Trigger_Request")


def test_every_message_survives_the_wire() -> None:
    classes = [message_class(name) for name in names("msg")]
    for name in names("srv"):
        classes += [service_class(name).Request, service_class(name).Response]
    assert len(classes) > 150
    for cls in classes:
        message = cls()
        assert messages.from_cdr(messages.to_cdr(message), cls) == message
        assert messages.from_rosbags(messages.to_rosbags(message)) == message
        assert copy.deepcopy(message) == message


def test_defaults() -> None:
    assert make("geometry_msgs/Pose").orientation.w == 1.0
    assert make("geometry_msgs/TransformStamped").transform.rotation.w == 1.0
    image, info = make("sensor_msgs/Image"), make("sensor_msgs/CameraInfo")
    assert image.data == array.array("B")
    assert info.d == array.array("d")
    assert info.k.dtype == np.float64
    assert info.k.tolist() == [0.0] * 9
    assert make("diagnostic_msgs/DiagnosticStatus").level == b"\x00"
    image.header.frame_id = "changed"
    assert make("sensor_msgs/Image").header.frame_id == ""


def test_constants_cannot_be_changed() -> None:
    status = message_class("diagnostic_msgs/msg/DiagnosticStatus")
    assert (status.OK, status.STALE, status().WARN) == (b"\x00", b"\x03", b"\x01")
    with pytest.raises(AttributeError):
        status.OK = 5


def test_unknown_names(checked: bool) -> None:
    with pytest.raises(AttributeError):
        make("sensor_msgs/Image").widht = 3
    with pytest.raises(TypeError):
        message_class("sensor_msgs/msg/Image")(3)
    if checked:
        with pytest.raises(AssertionError):
            make("sensor_msgs/Image", widht=3)
    else:
        assert make("sensor_msgs/Image", widht=3).width == 0


WRONG = [
    ("geometry_msgs/Point", "x", 1, int),
    ("geometry_msgs/Point", "x", np.float32(1), np.float32),
    ("sensor_msgs/Image", "height", -1, int),
    ("sensor_msgs/Image", "height", 2**32, int),
    ("sensor_msgs/Image", "height", np.int64(3), np.int64),
    ("sensor_msgs/Image", "data", np.zeros(4, np.uint8), array.array),
    ("std_msgs/Bool", "data", 1, int),
    ("std_msgs/Float32", "data", 1e39, float),
    ("std_msgs/String", "data", None, type(None)),
    ("diagnostic_msgs/DiagnosticStatus", "level", 1, int),
    ("diagnostic_msgs/DiagnosticStatus", "level", b"ab", bytes),
    ("geometry_msgs/PoseWithCovariance", "covariance", [0] * 36, np.ndarray),
    ("geometry_msgs/PoseWithCovariance", "covariance", np.zeros(36, np.float32), np.ndarray),
    ("geometry_msgs/PoseWithCovariance", "covariance", [0.0] * 35, np.ndarray),
    ("sensor_msgs/CameraInfo", "d", [0, 0], array.array),
    ("tf2_msgs/TFMessage", "transforms", ["junk"], list),
]


@pytest.mark.parametrize(("name", "field", "value", "kept"), WRONG)
def test_wrong_values_are_refused_only_where_fields_are_checked(
    checked: bool, name: str, field: str, value: Any, kept: type
) -> None:
    message = make(name)
    if checked:
        with pytest.raises(AssertionError):
            setattr(message, field, value)
    else:
        setattr(message, field, value)
        assert type(getattr(message, field)) is kept


def test_wrong_message_in_a_message() -> None:
    with pytest.raises(AssertionError):
        make("geometry_msgs/Pose", check_fields=True, position=make("geometry_msgs/Vector3"))
    pose = make("geometry_msgs/Pose", check_fields=False, position=make("geometry_msgs/Vector3"))
    with pytest.raises(TypeError, match="position"):
        messages.to_cdr(pose)


@pytest.mark.parametrize(
    ("name", "field", "value", "error"),
    [
        ("geometry_msgs/Point", "x", 1, TypeError),
        ("geometry_msgs/Point", "x", np.float32(1), TypeError),
        ("sensor_msgs/Image", "height", np.int64(3), SystemError),
        ("sensor_msgs/Image", "height", -1, SystemError),
        ("std_msgs/String", "data", 5, TypeError),
        ("diagnostic_msgs/DiagnosticStatus", "level", 1, TypeError),
        ("geometry_msgs/PoseWithCovariance", "covariance", np.eye(6), TypeError),
        ("geometry_msgs/PoseWithCovariance", "covariance", [0.0] * 35, TypeError),
    ],
)
def test_what_ros_would_send_as_garbage_is_not_sent(name: str, field: str, value: Any, error: type[Exception]) -> None:
    message = make(name, check_fields=False)
    setattr(message, field, value)
    with pytest.raises(error, match=field):
        messages.to_cdr(message)


def test_accepted_values_are_kept_as_ros_keeps_them(checked: bool) -> None:
    data, covariance = array.array("B", [1, 2]), np.zeros(36)
    image, pose = make("sensor_msgs/Image"), make("geometry_msgs/PoseWithCovariance")
    for given in (b"ab", bytearray(b"ab"), memoryview(b"ab"), [97, 98], (97, 98)):
        image.data = given
        assert image.data == array.array("B", b"ab")
    image.data, pose.covariance = data, covariance
    assert (image.data is data) == (pose.covariance is covariance) == checked
    pose.covariance = [0.5] * 36
    assert pose.covariance.tolist() == [0.5] * 36
    assert make("sensor_msgs/CameraInfo", d=[1, 2]).d == array.array("d", [1.0, 2.0])
    with pytest.raises(AssertionError):
        make("sensor_msgs/CameraInfo", k=np.eye(3))


def test_types_have_their_idl_names() -> None:
    assert message_class("sensor_msgs/msg/Image").get_fields_and_field_types()["data"] == "sequence<uint8>"
    assert message_class("sensor_msgs/msg/CameraInfo").get_fields_and_field_types()["k"] == "double[9]"
    assert message_class("geometry_msgs/msg/PoseStamped").get_fields_and_field_types() == {
        "header": "std_msgs/Header",
        "pose": "geometry_msgs/Pose",
    }
    assert message_class("geometry_msgs/msg/PoseStamped").__slots__ == ["_header", "_pose", "_check_fields"]
    assert message_class("geometry_msgs/msg/PoseStamped").__module__ == "geometry_msgs.msg._pose_stamped"


def test_repr_and_equality() -> None:
    time = make("builtin_interfaces/Time", sec=1, nanosec=2)
    assert repr(time) == "builtin_interfaces.msg.Time(sec=1, nanosec=2)"
    assert repr(make("sensor_msgs/CompressedImage", data=b"ab")).endswith("format='', data=[97, 98])")
    assert time == make("builtin_interfaces/Time", sec=1, nanosec=2)
    assert time != make("builtin_interfaces/Duration", sec=1, nanosec=2)
    assert make("sensor_msgs/CameraInfo") == make("sensor_msgs/CameraInfo")
    assert make("sensor_msgs/CameraInfo", k=[1.0] + [0.0] * 8) != make("sensor_msgs/CameraInfo")
    with pytest.raises(TypeError):
        hash(time)


def test_services_cannot_be_made() -> None:
    trigger = service_class("std_srvs/srv/Trigger")
    assert trigger.Response(success=True).success
    assert type(trigger.Request()).__name__ == "Trigger_Request"
    with pytest.raises(NotImplementedError):
        trigger()


BYTES = [
    ("std_msgs/String", {"data": "abc"}, "000100000400000061626300"),
    ("std_msgs/Empty", {}, "0001000000"),
    ("builtin_interfaces/Time", {"sec": 1, "nanosec": 2}, "000100000100000002000000"),
    (
        "sensor_msgs/Image",
        {"height": 1, "width": 2, "step": 2, "encoding": "mono8", "data": b"\x05\x06"},
        "00010000000000000000000001000000000000000100000002000000060000006d6f6e6f3800000002000000020000000506",
    ),
]


@pytest.mark.parametrize(("name", "fields", "expected"), BYTES)
def test_cdr_is_that_of_ros(name: str, fields: dict[str, Any], expected: str) -> None:
    message = make(name, **fields)
    assert messages.to_cdr(message).hex() == expected
    assert messages.from_cdr(bytes.fromhex(expected), type(message)) == message


def test_what_is_received_can_be_changed() -> None:
    info = make("sensor_msgs/CameraInfo", d=[1.0], k=[1.0] * 9)
    received = messages.from_cdr(messages.to_cdr(info), type(info))
    received.k[0], received.d[0] = 5.0, 6.0
    assert (received.k[0], received.d[0], info.k[0], info.d[0]) == (5.0, 6.0, 1.0, 1.0)


def test_bad_bytes() -> None:
    header = message_class("std_msgs/msg/Header")
    good = messages.to_cdr(header(frame_id="abcdef"))
    assert messages.from_cdr(b"", header) == header()
    assert messages.from_cdr(good + b"abcd", header).frame_id == "abcdef"
    for bad in (good[:4], good[:-4], good[:1]):
        with pytest.raises(messages.RMWError, match="std_msgs/msg/Header"):
            messages.from_cdr(bad, header)
    with pytest.raises(TypeError):
        messages.from_cdr("x", header)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        messages.from_cdr(good, str)
    with pytest.raises(AttributeError):
        messages.to_cdr(header)


def test_strings_on_the_wire() -> None:
    string = message_class("std_msgs/msg/String")
    assert messages.from_cdr(messages.to_cdr(string(data="ä\x00b")), string).data == "ä"
    with pytest.raises(UnicodeEncodeError):
        messages.to_cdr(string(data="\ud800"))


def test_large_arrays_are_not_copied_for_rosbags() -> None:
    image = make("sensor_msgs/Image", height=480, width=640, step=640, data=bytes(480 * 640))
    wire = messages.to_rosbags(image)
    assert np.shares_memory(wire.data, np.frombuffer(image.data, np.uint8))
    back = messages.from_rosbags(wire)
    assert back == image
    assert not np.shares_memory(np.frombuffer(back.data, np.uint8), wire.data)


def test_parameters_keep_their_kinds_of_lists() -> None:
    value = make("rcl_interfaces/ParameterValue")
    value.byte_array_value, value.bool_array_value = [b"\x01", b"\x02"], [True, False]
    value.integer_array_value, value.string_array_value = [1, -2], ["a", "b"]
    back = messages.from_cdr(messages.to_cdr(value), type(value))
    assert back == value
    assert back.byte_array_value == [b"\x01", b"\x02"]
    assert back.bool_array_value == [True, False]
    assert back.integer_array_value == array.array("q", [1, -2])


def test_names_of_types() -> None:
    assert messages.type_name(message_class("std_msgs/msg/Header")) == "std_msgs/msg/Header"
    assert messages.type_name(service_class("std_srvs/srv/Trigger")) == "std_srvs/srv/Trigger"
    assert messages.is_message_class(message_class("std_msgs/msg/Header"))
    assert messages.is_service_class(service_class("std_srvs/srv/Trigger"))
    for other in (str, None, message_class("std_msgs/msg/Header")(), service_class("std_srvs/srv/Trigger")):
        assert not messages.is_message_class(other)
    with pytest.raises(AttributeError):
        messages.type_name(str)
    with pytest.raises(KeyError):
        message_class("std_msgs/msg/Nope")


def test_without_rosbags_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rosbags.typesys", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'neumap\[bags\]'"):
        catalogue.typestore.__wrapped__()
