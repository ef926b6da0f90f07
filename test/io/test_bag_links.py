"""Links of /tf as robots publish them: by two at once, slowly, stamped ahead, in namespaces."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from small_bags import (
    BASE_FROM_MAST,
    INFO,
    MAST_FROM_CAMERA,
    MS,
    OPTICAL,
    START,
    Bag,
    camera_info,
    drive,
    image,
    odom_from_base,
    odometry,
    picture,
    tf,
    transform,
)

from neumap.arrays import FloatArray
from neumap.errors import ConfigError, DataError
from neumap.geometry.se3 import make_pose, rotation_exp
from neumap.io.bags.transforms import RecordedTransforms
from neumap.records import Source

Open = Callable[..., Source]
IMAGE = "/camera/color/image_raw"


def correction(t: float) -> FloatArray:
    """Where odom is in the map: it slides and turns slowly, as odometry drifts."""
    return make_pose(rotation_exp(np.array([0.0, 0.0, 0.3 + 0.01 * t])), np.array([1.0, 2.0 + 0.02 * t, 0.0]))


def off(pose: FloatArray, x: float = 0.0, y: float = 0.0, yaw: float = 0.0) -> FloatArray:
    return make_pose(rotation_exp(np.array([0.0, 0.0, yaw])), np.array([x, y, 0.0])) @ pose


def truth(t: float) -> FloatArray:
    return correction(t) @ odom_from_base(t) @ BASE_FROM_MAST @ MAST_FROM_CAMERA


def errors_m(source: Source) -> list[float]:
    """How far each camera is from the truth."""
    out = []
    for frame in source.frames:
        assert frame.map_from_camera is not None
        true = truth((frame.stamp_ns - START) / 1e9)
        out.append(float(np.linalg.norm((frame.map_from_camera - true)[:3, 3])))
        assert np.abs((frame.map_from_camera - true)[:3, :3]).max() < 0.01
    return out


def send(
    bag: Bag,
    moments_ms: Iterable[float],
    parent: str,
    child: str,
    pose: Callable[[float], FloatArray],
    ahead_ms: float = 0.0,
    late_ms: float = 0.0,
    topic: str = "/tf",
) -> None:
    """Adds a link that is for some moments, stamped ahead of them and received late."""
    for ms in moments_ms:
        stamp, received = START + round((ms + ahead_ms) * MS), START + round((ms + late_ms) * MS)
        bag.add(topic, tf(transform(stamp, parent, child, pose(ms / 1e3))), received)


def robot(images_ms: Iterable[int] = range(0, 3200, 200), odom_ms: Iterable[float] = range(-100, 3400, 20)) -> Bag:
    """A bag of sixteen images at 5 Hz with odometry, and nothing in the map."""
    bag = drive(stamps_ms=tuple(images_ms), tf_ms=())
    send(bag, odom_ms, "odom", "base_link", odom_from_base, late_ms=2)
    return bag


# --- corrections that come slowly and are stamped ahead -------------------------------------------------------------


@pytest.mark.parametrize("hz", [1.0, 2.0, 5.0, 10.0])
@pytest.mark.parametrize("ahead_ms", [0, 200, 1000])
def test_a_correction_as_slow_as_a_laser(opened: Open, hz: float, ahead_ms: int) -> None:
    bag = robot()
    send(bag, np.arange(-300, 3600, 1e3 / hz), "map", "odom", correction, ahead_ms, late_ms=4)
    source = opened(bag)
    assert len(source.frames) == 16
    assert max(errors_m(source)) < 0.01
    assert [note for note in source.notes if "left out" in note] == []
    ahead = f"the link map -> odom of /tf is stamped {ahead_ms / 1e3 - 0.004:.2f} s ahead: taken for when it was sent"
    assert (ahead in source.notes) == (ahead_ms > 0)


def test_a_correction_that_is_sent_again_with_a_newer_stamp(opened: Open) -> None:
    # AMCL corrects when the robot has moved, and says the same with every scan between
    bag = robot()
    send(bag, range(0, 3400, 100), "map", "odom", lambda t: correction(0.6 * (t // 0.6)), ahead_ms=1000)
    source = opened(bag)
    assert len(source.frames) == 16
    # a correction goes 12 mm a time
    assert max(errors_m(source)) < 0.02


def test_a_correction_is_held_at_the_ends(opened: Open) -> None:
    bag = robot()
    send(bag, range(100, 3000, 200), "map", "odom", correction, ahead_ms=1000)
    source = opened(bag)
    assert len(source.frames) == 16
    assert max(errors_m(source)) < 0.005


def test_odometry_is_not_held(opened: Open) -> None:
    bag = robot(odom_ms=[*range(-100, 1300, 20), *range(2100, 3400, 20)])
    send(bag, range(-100, 3400, 200), "map", "odom", correction)
    source = opened(bag)
    moments = [round((frame.stamp_ns - START) / MS) for frame in source.frames]
    assert moments == [*range(0, 1400, 200), *range(2200, 3200, 200)]
    assert max(errors_m(source)) < 0.005
    (note,) = source.notes
    assert note.startswith("4 of 16 images have no pose, the link odom -> base_link of /tf has no two samples within")
    assert len(opened(bag, max_gap_s=1.0).frames) == 16


def test_odometry_as_slow_as_a_turtlebot(opened: Open) -> None:
    bag = robot(odom_ms=range(-100, 3400, 200))
    send(bag, range(-100, 3400, 200), "map", "odom", correction, ahead_ms=1000)
    source = opened(bag)
    assert len(source.frames) == 16
    assert max(errors_m(source)) < 0.01


def test_odometry_of_an_ekf_that_stamps_ahead(opened: Open) -> None:
    bag = robot(odom_ms=())
    send(bag, range(-100, 3400, 20), "odom", "base_link", odom_from_base, ahead_ms=100)
    send(bag, range(-100, 3400, 200), "map", "odom", correction)
    source = opened(bag)
    assert len(source.frames) == 16
    assert max(errors_m(source)) < 0.005
    assert source.notes == ("the link odom -> base_link of /tf is stamped 0.10 s ahead: taken for when it was sent",)


def test_a_simulation_whose_recorder_has_another_clock(opened: Open) -> None:
    # time goes half as fast in it
    bag = robot()
    send(bag, range(-300, 3600, 200), "map", "odom", correction, ahead_ms=1000)
    bag.messages = [(1_000_000_000_000_000_000 + 2 * (time_ns - START), *message) for time_ns, *message in bag.messages]
    source = opened(bag)
    assert len(source.frames) == 16
    assert max(errors_m(source)) < 0.005


def test_slow_motion_is_told(opened: Open) -> None:
    def swinging(t: float) -> FloatArray:
        return off(correction(t), y=0.2 * np.sin(6 * t))

    bag = robot()
    send(bag, range(-100, 3600, 333), "map", "odom", swinging)
    (note,) = opened(bag).notes
    assert note.startswith(
        "the link map -> odom of /tf comes at 3 Hz only: the poses between its samples may be off by "
    )


# --- two publishers -------------------------------------------------------------------------------------------------


def fought(bag: Bag, moments_ms: Iterable[float], parent: str, child: str, pose: Any, **how: float) -> Bag:
    send(bag, moments_ms, parent, child, pose, **how)
    return bag


def wheels_and_ekf() -> Bag:
    bag = robot()
    send(bag, range(-100, 3400, 100), "map", "odom", correction)
    return fought(bag, np.arange(-107, 3400, 33.3), "odom", "base_link", lambda t: off(odom_from_base(t), y=0.2))


def amcl_and_slam() -> Bag:
    bag = robot()
    send(bag, range(-100, 3400, 20), "map", "odom", correction, ahead_ms=50)
    return fought(bag, np.arange(-107, 3400, 150), "map", "odom", lambda t: off(correction(t), 0.25), ahead_ms=1000)


def two_robots() -> Bag:
    bag = robot()
    send(bag, range(-100, 3400, 100), "map", "odom", correction)
    return fought(bag, range(-90, 3400, 20), "odom", "base_link", lambda t: off(odom_from_base(-t), 3.0, 1.0))


@pytest.mark.parametrize(
    ("make", "link", "size", "rates"),
    [
        (wheels_and_ekf, "odom -> base_link", "20 cm", "30 and 50 Hz"),
        (amcl_and_slam, "map -> odom", "25 cm", r"6\.[5-8] and 50 Hz"),
        (two_robots, "odom -> base_link", r"2\d\d cm and \d+ deg", "(49|50) and 5[01] Hz"),
    ],
)
def test_two_publishers_of_one_link(opened: Open, make: Callable[[], Bag], link: str, size: str, rates: str) -> None:
    with pytest.raises(
        DataError,
        match=f"^the link {link} of /tf goes to and fro by {size}, as if two published it, at {rates}: a bag does not "
        r"tell who; take the poses of one of them from a topic of odometry or poses \(--pose-topic\), or record again "
        "with the other one off$",
    ):
        opened(make())


def test_the_poses_of_one_of_them_can_be_taken(opened: Open) -> None:
    bag = wheels_and_ekf()
    for ms in range(-100, 3400, 20):
        t = ms / 1e3
        bag.add("/slam/odometry", odometry(START + ms * MS, "map", "base_link", correction(t) @ odom_from_base(t)))
    source = opened(bag, pose_topic="/slam/odometry")
    assert len(source.frames) == 16
    assert max(errors_m(source)) < 0.01


def test_a_topic_on_which_two_publish(opened: Open) -> None:
    bag = robot()
    for ms, y in [*((ms, 0.0) for ms in range(-100, 3400, 20)), *((ms, 0.1) for ms in range(-90, 3400, 50))]:
        bag.add("/odom", odometry(START + ms * MS, "odom", "base_link", off(odom_from_base(ms / 1e3), y=y)))
    with pytest.raises(
        DataError, match=r"^/odom goes to and fro by 10 cm, as if two published it, at 20 and 50 Hz: give"
    ):
        opened(bag)


def test_a_static_transform_beside_a_moving_one(opened: Open) -> None:
    # somebody forgot the static_transform_publisher of the first days
    bag = robot()
    send(bag, range(-100, 3400, 200), "map", "odom", correction)
    for ms in (-90, 1500):
        bag.add("/tf_static", tf(transform(START + ms * MS, "map", "odom", np.eye(4))))
    source = opened(bag)
    assert max(errors_m(source)) < 0.005
    assert source.notes == ("the link map -> odom is on /tf and on /tf_static: /tf counts",)


def test_links_that_are_not_asked_for_may_be_fought_over(opened: Open) -> None:
    bag = robot()
    send(bag, range(-100, 3400, 100), "map", "odom", correction)
    for x in (0.0, 1.0):
        send(bag, np.arange(-100, 3400, 50) + 10 * x, "base_link", "wheel", lambda t, x=x: off(np.eye(4), x))
    assert max(errors_m(opened(bag))) < 0.005


@pytest.mark.parametrize("name", ["noise", "doubled", "agree", "jumps", "stands", "stands noisily"])
def test_one_publisher_is_not_taken_for_two(opened: Open, name: str) -> None:
    rng = np.random.default_rng(0)
    bag = robot(odom_ms=() if name.startswith("stands") or name == "noise" else range(-100, 3400, 20))

    def noisy(t: float) -> FloatArray:
        x, y, yaw = rng.normal(0, 0.003, 3)
        return off(odom_from_base(0.0 if name.startswith("stands") else t), x, y, yaw)

    def jumping(t: float) -> FloatArray:
        return off(correction(t), 0.3 * (round(t * 5) % 7 > 2))

    if name in ("noise", "stands noisily"):
        send(bag, range(-100, 3400, 20), "odom", "base_link", noisy)
    if name == "stands":
        send(bag, range(-100, 3400, 20), "odom", "base_link", lambda t: odom_from_base(0.0))
    if name == "doubled":
        send(bag, range(-100, 3400, 20), "odom", "base_link", odom_from_base)
    if name == "agree":
        send(bag, np.arange(-93, 3400, 31), "odom", "base_link", odom_from_base)
    send(bag, range(-100, 3400, 200), "map", "odom", jumping if name == "jumps" else correction, ahead_ms=1000)
    assert len(opened(bag).frames) == 16


# --- namespaces -----------------------------------------------------------------------------------------------------


def in_namespace(bag: Bag, topics: Iterable[str], space: str) -> Bag:
    bag.messages = [(t, f"{space}{name}" if name in topics else name, *rest) for t, name, *rest in bag.messages]
    return bag


def fleet() -> Bag:
    """Two robots, one elsewhere, each with the same names of frames on its own topics."""
    bag = robot()
    send(bag, range(-100, 3400, 100), "map", "odom", correction)
    bag.drop("/odom")
    in_namespace(bag, {IMAGE, INFO, "/tf", "/tf_static"}, "/robot1")
    bag.add("/robot2/tf_static", tf(transform(START, "base_link", OPTICAL, np.eye(4))))
    send(bag, range(-100, 3400, 20), "odom", "base_link", lambda t: odom_from_base(-t), topic="/robot2/tf")
    send(bag, range(-100, 3400, 20), "map", "odom", lambda t: off(correction(t), 5.0), topic="/robot2/tf")
    return bag


def test_transforms_in_the_namespace_of_the_images(opened: Open) -> None:
    source = opened(fleet())
    assert len(source.frames) == 16
    assert max(errors_m(source)) < 0.005


def test_static_transforms_may_be_outside_of_it(opened: Open) -> None:
    bag = fleet()
    bag.messages = [
        (t, "/tf_static" if name == "/robot1/tf_static" else name, *rest) for t, name, *rest in bag.messages
    ]
    assert max(errors_m(opened(bag))) < 0.005


def test_the_only_namespace_is_taken(opened: Open) -> None:
    bag = robot()
    send(bag, range(-100, 3400, 100), "map", "odom", correction)
    source = opened(in_namespace(bag, {"/tf", "/tf_static"}, "/robot1"))
    assert max(errors_m(source)) < 0.005


def test_topics_of_other_names_have_to_be_named(opened: Open) -> None:
    bag = robot()
    send(bag, range(-100, 3400, 100), "map", "odom", correction)
    bag.drop("/odom")
    bag.messages = [(t, "/offline/transforms" if name == "/tf" else name, *rest) for t, name, *rest in bag.messages]
    with pytest.raises(DataError, match="/tf does not connect map with"):
        opened(bag)
    for option in ("tf_topic", "pose_topic"):
        assert max(errors_m(opened(bag, **{option: "/offline/transforms"}))) < 0.005


def test_several_namespaces_have_to_be_chosen_from(opened: Open) -> None:
    bag = fleet()
    for at, ms in enumerate(range(0, 3200, 200)):
        bag.add("/camera/image_raw", image(START + ms * MS, picture(at)))
        bag.add("/camera/camera_info", camera_info(START + ms * MS))
    bag.drop(f"/robot1{IMAGE}", f"/robot1{INFO}")
    with pytest.raises(
        ConfigError, match="several topics hold transforms: /robot1/tf, /robot2/tf; choose one with --tf-topic"
    ):
        opened(bag)
    assert max(errors_m(opened(bag, tf_topic="/robot1/tf"))) < 0.005
    with pytest.raises(ConfigError, match=r"--tf-topic: the bag .* has no topic /robot3/tf"):
        opened(bag, tf_topic="/robot3/tf")


def without(bag: Bag, space: str) -> Bag:
    """The fleet's images without a namespace, and no /tf of one robot."""
    bag.drop(f"{space}/tf")
    bag.messages = [
        (t, name.removeprefix("/robot1") if name in (f"/robot1{IMAGE}", f"/robot1{INFO}") else name, *rest)
        for t, name, *rest in bag.messages
    ]
    return bag


def test_static_transforms_are_those_beside_the_others(opened: Open) -> None:
    assert max(errors_m(opened(without(fleet(), "/robot2")))) < 0.005


def test_static_transforms_beside_the_images(opened: Open) -> None:
    bag = fleet()
    bag.messages = [(t, "/tf" if name == "/robot1/tf" else name, *rest) for t, name, *rest in bag.messages]
    assert max(errors_m(opened(bag, tf_topic="/tf"))) < 0.005


# --- what motion capture lost ---------------------------------------------------------------------------------------


def test_zeros_of_motion_capture(opened: Open) -> None:
    zero = {*range(500, 560, 20), *range(1200, 1220, 20)}
    bag = robot(odom_ms=())
    send(bag, range(-100, 3400, 20), "map", "base_link", lambda t: seen_by_capture(t, zero))
    source = opened(bag)
    assert len(source.frames) == 16
    assert max(errors_m(source)) < 0.01
    (left_out,) = source.left_out
    assert left_out == (
        "of the link map -> base_link of /tf 4 of 175 poses are left out: zero, far from those beside them, as of an "
        "object not seen"
    )


def seen_by_capture(t: float, zero: set[int]) -> FloatArray:
    return np.eye(4) if round(1e3 * t) in zero else correction(t) @ odom_from_base(t)


def test_slow_motion_is_told_whichever_images_ask() -> None:
    transforms = RecordedTransforms()
    times_ns = np.arange(0, 4_000_000_000, 333_000_000)
    for stamp_ns in times_ns.tolist():
        moved = make_pose(np.eye(3), np.array([0.2 * np.sin(6e-9 * stamp_ns), 0.0, 0.0]))
        transforms.add([transform(START + stamp_ns, "map", "odom", moved)], is_static=False)
    transforms.lookup("map", "odom", START + times_ns)
    assert transforms.notes == ()
    for _ in range(2):
        transforms.lookup("map", "odom", START + times_ns[:-1] + 166 * MS)
    (note,) = transforms.notes
    assert "comes at 3 Hz only" in note
