"""The bytes of a TFMessage tell what its fields tell."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neumap.errors import DataError
from neumap.io.bags.messages import typestore
from neumap.io.bags.topics import TF
from neumap.io.transform_messages import transforms_in, transforms_of

NUMBER = st.floats(allow_nan=False)
LINK = st.tuples(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(0, 2**32 - 1),
    st.tuples(*[NUMBER] * 7),
)


def tf_message(*links: tuple[str, str, int, int, tuple[float, ...]]) -> Any:
    """Make a TFMessage of parent, child, seconds, nanoseconds and x y z qx qy qz qw."""

    def make(kind: str, **fields: Any) -> Any:
        return typestore().types[kind](**fields)

    def transform(parent: str, child: str, sec: int, nanosec: int, row: tuple[float, ...]) -> Any:
        stamp = make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
        return make(
            "geometry_msgs/msg/TransformStamped",
            header=make("std_msgs/msg/Header", stamp=stamp, frame_id=parent),
            child_frame_id=child,
            transform=make(
                "geometry_msgs/msg/Transform",
                translation=make("geometry_msgs/msg/Vector3", **dict(zip("xyz", row[:3], strict=True))),
                rotation=make("geometry_msgs/msg/Quaternion", **dict(zip("xyzw", row[3:], strict=True))),
            ),
        )

    return make(TF, transforms=[transform(*link) for link in links])


def cdr(tf: Any, little_endian: bool = True) -> bytes:
    """Encode a TFMessage as another library does."""
    return bytes(typestore().serialize_cdr(tf, TF, little_endian=little_endian))


@settings(max_examples=200, deadline=None)
@given(st.lists(LINK, max_size=8))
def test_bytes_tell_what_fields_tell(links: list[Any]) -> None:
    tf = tf_message(*links)
    assert transforms_in(cdr(tf)) == list(transforms_of(tf.transforms))


def test_a_link_is_read_with_its_values() -> None:
    row = (1.0, -2.0, 0.5, 0.0, 0.6, 0.0, 0.8)
    (link,) = transforms_in(cdr(tf_message(("odom", "base_link", 1_700_000_000, 5, row))))
    assert link == ("odom", "base_link", 1_700_000_000_000_000_005, row[:3], row[3:])


def test_damaged_bytes_are_refused_wherever_they_end() -> None:
    whole = cdr(tf_message(*[("odom", "base_link", 5, 7, (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0))] * 2))
    for length in range(len(whole)):
        with pytest.raises(DataError):
            transforms_in(whole[:length])


def test_other_encodings_are_left_to_others() -> None:
    tf = tf_message(("odom", "base_link", 5, 7, (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)))
    with pytest.raises(DataError, match="plain CDR in little endian"):
        transforms_in(cdr(tf, little_endian=False))
