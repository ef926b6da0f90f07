"""Between ROS messages and plain arrays.

Python's generated messages check no types unless asked to, so everything that goes into a field is converted here:
an int or a float32 in a float64 field would be published as garbage.
"""

from __future__ import annotations

from array import array

import cv2
import numpy as np
from cv_bridge import CvBridge, CvBridgeError
from geometry_msgs.msg import Pose, PoseWithCovarianceStamped, Transform, TransformStamped
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from tf_transformations import quaternion_from_matrix, quaternion_matrix

from neumap.arrays import FloatArray, ImageArray
from neumap.errors import DataError
from neumap.geometry import se3
from neumap.geometry.cameras import make_camera
from neumap.records import Camera
from neumap.tracking.tracker import Fix

QUATERNION_NORM_TOLERANCE = 1e-2
# bytes of a pixel, and which of the encodings are of two bytes a value; others are refused
PIXEL_BYTES = {
    "mono8": 1,
    "8UC1": 1,
    "bgr8": 3,
    "8UC3": 3,
    "rgb8": 3,
    "bgra8": 4,
    "8UC4": 4,
    "rgba8": 4,
    "mono16": 2,
    "bayer_rggb8": 1,
    "bayer_bggr8": 1,
    "bayer_gbrg8": 1,
    "bayer_grbg8": 1,
    "yuv422": 2,
    "uyvy": 2,
    "yuv422_yuy2": 2,
    "yuyv": 2,
}
# what cv_bridge knows by another name, or says nothing about the colours of
SAME_AS = {"8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8", "uyvy": "yuv422", "yuyv": "yuv422_yuy2"}


def stamp_ns(header: Header) -> int:
    """Integer nanoseconds of a header's stamp."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def set_stamp(header: Header, stamp: int) -> None:
    """Sets a header's stamp to integer nanoseconds."""
    header.stamp.sec, header.stamp.nanosec = divmod(int(stamp), 1_000_000_000)


def pose_message(pose: FloatArray) -> Pose:
    """The message of a 4x4 transform."""
    message = Pose()
    message.position.x, message.position.y, message.position.z = (float(v) for v in pose[:3, 3])
    x, y, z, w = (float(v) for v in quaternion_from_matrix(pose))
    message.orientation.x, message.orientation.y, message.orientation.z, message.orientation.w = x, y, z, w
    return message


def covariance_list(covariance: FloatArray) -> list[float]:
    """36 floats, row by row: a 6x6 array would be accepted by the field and published as something else."""
    return [float(v) for v in np.asarray(covariance, dtype=np.float64).reshape(-1)]


def stamped_pose(fix: Fix, frame_id: str) -> PoseWithCovarianceStamped:
    """The message of a fix."""
    message = PoseWithCovarianceStamped()
    message.header.frame_id = frame_id
    set_stamp(message.header, fix.stamp_ns)
    message.pose.pose = pose_message(fix.map_from_base)
    message.pose.covariance = covariance_list(fix.covariance)
    return message


def stamped_transform(pose: FloatArray, stamp: int, parent: str, child: str) -> TransformStamped:
    """The message of a 4x4 transform that takes points of ``child`` to ``parent``."""
    message = TransformStamped()
    message.header.frame_id = parent
    set_stamp(message.header, stamp)
    message.child_frame_id = child
    as_pose = pose_message(pose)
    for axis in "xyz":
        setattr(message.transform.translation, axis, getattr(as_pose.position, axis))
    message.transform.rotation = as_pose.orientation
    return message


def matrix_of(transform: Transform) -> FloatArray:
    """The 4x4 matrix of a transform from tf2, which has normalized it."""
    t, q = transform.translation, transform.rotation
    matrix = np.asarray(quaternion_matrix([q.x, q.y, q.z, q.w]), dtype=np.float64)
    matrix[:3, 3] = t.x, t.y, t.z
    return matrix


def prior_of(message: PoseWithCovarianceStamped, frame_id: str) -> tuple[FloatArray, FloatArray]:
    """Pose (4, 4) and covariance (6, 6) that a message claims for the base in ``frame_id``.

    Variances of zero mean that somebody did not say; they become what RViz gives: 0.5 m and 15 degrees. Raises
    :class:`~neumap.errors.DataError` for another frame, values that are not finite, a quaternion that is none
    or a covariance that is none.
    """
    if message.header.frame_id.lstrip("/") != frame_id:
        raise DataError(f"the pose is in the frame '{message.header.frame_id}': give it in '{frame_id}'")
    p, q = message.pose.pose.position, message.pose.pose.orientation
    numbers = np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w], dtype=np.float64)
    covariance = np.array(message.pose.covariance, dtype=np.float64).reshape(6, 6)
    if not (np.isfinite(numbers).all() and np.isfinite(covariance).all()):
        raise DataError("the pose or its covariance holds values that are not finite")
    if abs(np.linalg.norm(numbers[3:]) - 1) > QUATERNION_NORM_TOLERANCE:
        raise DataError(f"the quaternion's norm is {np.linalg.norm(numbers[3:]):.3g} instead of 1")
    covariance = 0.5 * (covariance + covariance.T)
    unsaid = np.diag(covariance) == 0
    covariance[unsaid, unsaid] = np.where(np.arange(6) < 3, 0.25, 0.0685)[unsaid]
    if np.linalg.eigvalsh(covariance).min() <= 0:
        raise DataError("the covariance is not positive definite")
    return se3.make_pose(se3.matrix_from_quat(numbers[3:]), numbers[:3]), covariance


def initial_pose(xyz_yaw: tuple[float, float, float, float], frame_id: str) -> PoseWithCovarianceStamped:
    """The message that claims a pose of the base: metres, and radians about the vertical."""
    message = PoseWithCovarianceStamped()
    message.header.frame_id = frame_id
    turn = se3.rotation_exp(np.array([0.0, 0.0, xyz_yaw[3]]))
    message.pose.pose = pose_message(se3.make_pose(turn, np.array(xyz_yaw[:3])))
    return message


def camera_of(message: CameraInfo) -> Camera:
    """The camera of a CameraInfo. Raises :class:`~neumap.errors.CalibrationError` for what cannot be used."""
    return make_camera(message.width, message.height, message.k, message.distortion_model, message.d)


def calibration_of(message: CameraInfo) -> tuple[int, int, str, bytes, bytes]:
    """All that :func:`camera_of` reads of a CameraInfo, to be compared with that of another.

    Whole messages differ in their stamps; and before 2025 their arrays were equal where any number in them was
    (rosidl_python issue 223).
    """
    k, d = (np.asarray(numbers, dtype=np.float64).tobytes() for numbers in (message.k, message.d))
    return message.width, message.height, message.distortion_model, k, d


def gray_of(message: Image | CompressedImage, bridge: CvBridge) -> ImageArray:
    """An image message as (H, W) uint8 grey. Raises :class:`~neumap.errors.DataError` for one that is damaged."""
    if isinstance(message, CompressedImage):
        return _decompressed(message)
    message = _tight(message)
    encoding = SAME_AS.get(message.encoding, message.encoding)
    if encoding == "mono8":
        return np.asarray(bridge.imgmsg_to_cv2(message))
    message.encoding = encoding
    try:
        return np.asarray(bridge.imgmsg_to_cv2(message, "mono8"))
    except (CvBridgeError, cv2.error, TypeError, ValueError) as error:
        raise DataError(f"the image cannot be converted from {encoding} to grey: {error}") from None


def _decompressed(message: CompressedImage) -> ImageArray:
    # straight to grey: JPEG then skips the colours, and the pixels are those that mapping reads from a file
    data = np.frombuffer(message.data, dtype=np.uint8)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION) if data.size else None
    except cv2.error:
        image = None
    if image is None:
        raise DataError(f"the compressed image of {data.size} bytes cannot be decoded: it is damaged")
    return np.asarray(image, dtype=np.uint8)


def _tight(message: Image) -> Image:
    """The image in rows without padding and in this machine's byte order, which cv_bridge does not get right in all
    cases; the message itself where it is so already.
    """
    size = PIXEL_BYTES.get(message.encoding)
    if size is None:
        raise DataError(f"images of the encoding '{message.encoding}' are not understood: {', '.join(PIXEL_BYTES)} are")
    row = message.width * size
    if not (message.width and message.height) or message.step < row:
        raise DataError(
            f"an image of {message.width}x{message.height} pixels with rows of {message.step} bytes is none"
        )
    if len(message.data) < message.step * message.height:
        raise DataError(f"the image holds {len(message.data)} bytes instead of {message.step * message.height}")
    swap = bool(message.is_bigendian) and message.encoding == "mono16"
    if message.step == row and not swap and not message.is_bigendian:
        return message
    rows = np.frombuffer(message.data, np.uint8, message.step * message.height).reshape(message.height, message.step)
    pixels = np.ascontiguousarray(rows[:, :row])
    if swap:
        pixels = pixels.view(">u2").astype("<u2").view(np.uint8)
    tight = Image(header=message.header, height=message.height, width=message.width, step=row)
    tight.encoding = message.encoding
    tight.data = array("B", pixels.tobytes())
    return tight
