"""Converts ROS messages to the inputs of a session, for the node and for replay.

Messages are read by their fields, so that those of rclpy and of rosbags are treated alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from neumap.arrays import BoolArray, ImageArray
from neumap.io.camera_info import calibration_of
from neumap.io.image_messages import gray_of, named_rectified
from neumap.io.images import read_mask
from neumap.io.stamps import stamp_of
from neumap.io.trajectories import row_of
from neumap.io.transform_messages import transforms_of
from neumap.tracking.cameras import of_camera
from neumap.tracking.requests import PoseClaim
from neumap.tracking.session import Session
from neumap.tracking.settings import Settings
from neumap.tracking.transforms import TransformBuffer


class LiveInputs:
    """Passes messages to a session; each method is the callback of a topic."""

    def __init__(
        self,
        session: Session,
        transforms: TransformBuffer,
        image_topics: Mapping[str, str],
        read_gray: Callable[[Any], ImageArray] = gray_of,
    ) -> None:
        """Feed ``session`` and ``transforms``. ``image_topics`` gives each camera's topic, whose name may mark images
        as rectified; ``read_gray`` decodes an image message, in the worker.
        """
        self._session, self._transforms, self._read_gray = session, transforms, read_gray
        self._rectified = {camera: named_rectified(topic) for camera, topic in image_topics.items()}

    def image(self, message: Any, camera: str = "") -> None:
        """Take a sensor_msgs/Image or CompressedImage."""
        header, rectified = message.header, self._rectified[camera]
        self._session.see(stamp_of(header), header.frame_id, lambda: self._read_gray(message), rectified, camera)

    def camera_info(self, message: Any, camera: str = "") -> None:
        """Take a sensor_msgs/CameraInfo."""
        self._session.calibrate(stamp_of(message.header), calibration_of(message), camera)

    def tf(self, message: Any, is_static: bool = False) -> None:
        """Take a tf2_msgs/TFMessage of /tf."""
        for each in transforms_of(message.transforms):
            self._transforms.add(*each, is_static)

    def tf_static(self, message: Any) -> None:
        """Take a tf2_msgs/TFMessage of /tf_static."""
        self.tf(message, is_static=True)

    def initial_pose(self, message: Any) -> None:
        """Take a geometry_msgs/PoseWithCovarianceStamped that claims the robot's pose."""
        self._session.claim(claim_of(message))


def read_masks(settings: Settings) -> dict[str, BoolArray]:
    """Read the masks (H, W) by camera name. Raises :class:`~neumap.errors.DataError` if one cannot be read."""
    names = settings.camera_names if settings.mask else ()
    return {camera: read_mask(of_camera(settings.mask, camera)) for camera in names}


def claim_of(message: Any) -> PoseClaim:
    """Convert a geometry_msgs/PoseWithCovarianceStamped to a claim."""
    row = row_of(message.pose.pose)
    return PoseClaim(message.header.frame_id, row[:3], row[3:], message.pose.covariance)
