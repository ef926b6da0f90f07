"""Shows a map and the results of images or a replay in rerun, in its viewer or in a file."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from neumap.arrays import FloatArray
from neumap.errors import ConfigError, UnreadableError
from neumap.geometry.se3 import poses_of, quat_from_matrix
from neumap.installation import need_extras
from neumap.io.bags.messages import STATUS, typestore
from neumap.io.bags.reader import BagReader
from neumap.io.files import PathLike, check_output
from neumap.io.images import jpeg_of
from neumap.io.parameter_file import NODE
from neumap.io.stamps import stamp_of
from neumap.io.trajectories import row_of
from neumap.maps.neural_map import NeuralMap
from neumap.records import Camera, Frame, PoseEstimate
from neumap.report.pictures import COLOURS
from neumap.report.replay_figure import STATE_COLOURS

# LENGTH_M: size of cameras and axes in the view, metres.
LENGTH_M = 0.3
# ELLIPSOID_90: sqrt of the 90 % quantile of chi squared with three degrees of freedom.
ELLIPSOID_90 = 2.5003
# _COLOURS: of the states of the node, and of a single localized image.
_COLOURS = STATE_COLOURS | {"LOCALIZED": COLOURS.good}
# _OUTPUT: the topics of a replay's bag that are shown; group 1 is the camera, where there are several.
_OUTPUT = re.compile(rf"/pose|/{NODE}/(?:status|(?:(.+)/)?(?:inliers|image/compressed))")


@contextmanager
def viewing(neural_map: NeuralMap, out: PathLike | None) -> Iterator[View]:
    """Show a map, and what the block adds, in rerun's viewer, or write it atomically to a file ``out``.

    Raises :class:`~neumap.errors.MissingDependencyError` without rerun, :class:`~neumap.errors.ConfigError` if there is
    neither a screen nor a file or the file does not end in .rrd, and :class:`~neumap.errors.DataError` if it cannot be
    written.
    """
    if out is not None:
        if Path(out).suffix != ".rrd":
            raise ConfigError(f"{out} is no name for a recording of rerun: end it in .rrd")
        check_output(out, device=False)
    elif sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise ConfigError("there is no screen: give --out FILE.rrd, and open it with 'rerun FILE.rrd' elsewhere")
    need_extras("a view", "rerun")
    import rerun

    stream = rerun.RecordingStream("neumap")
    if out is None:
        stream.spawn(default_blueprint=_layout())
        view = View(stream, neural_map)
        yield view
        view.finish()
        return
    path = Path(out)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        stream.save(temporary, default_blueprint=_layout())
        view = View(stream, neural_map)
        yield view
        view.finish()
        stream.disconnect()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def replay_in(path: Path) -> Path | None:
    """Return the bag in the output folder of a replay; None if the folder is no such output."""
    bag = path / "replay"
    return bag if bag.is_dir() and (path / "states.txt").is_file() else None


class View:
    """Writes to a stream of rerun: metres in the frame of a map, stamps in nanoseconds, pixels."""

    def __init__(self, stream: Any, neural_map: NeuralMap) -> None:
        """Show the map: landmarks coloured by height, voxels, and mapping cameras."""
        import rerun

        self._rerun, self._stream = rerun, stream
        self._poses: list[FloatArray] = []
        self._covariances: list[FloatArray] = []
        points, grid, cameras = neural_map.landmarks.points(neural_map.grid), neural_map.grid, neural_map.drift.poses
        low, high = np.percentile(points[:, 2], (2, 98))
        shade = np.clip(255 * (points[:, 2] - low) / max(high - low, 1e-9), 0, 255).astype(np.uint8)
        colours = cv2.applyColorMap(shade[:, None], cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]
        self._log("map", rerun.ViewCoordinates.RIGHT_HAND_Z_UP)
        self._log("map/landmarks", rerun.Points3D(points, colors=colours, radii=rerun.Radius.ui_points(1.5)))
        edges = {"colors": _rgba(COLOURS.faint), "fill_mode": "majorwireframe"}
        sizes = np.full((len(grid), 3), grid.size_m)
        self._log("map/voxels", rerun.Boxes3D(mins=grid.corners, sizes=sizes, **edges))
        at, ahead = cameras[:, :3, 3], LENGTH_M * cameras[:, :3, 2]
        self._log("map/mapping_cameras", rerun.Arrows3D(origins=at, vectors=ahead, colors=_rgba(COLOURS.bad)))
        lanes = {"values": list(_COLOURS), "colors": [_rgba(colour) for colour in _COLOURS.values()]}
        self._log("state", rerun.StateConfiguration(**lanes))

    def answer(self, frames: Sequence[Frame], estimate: PoseEstimate) -> None:
        """Show the estimate of a moment, and the first of its images that can be read, with its camera."""
        stamp_ns, pose = frames[0].moment_ns, estimate.map_from_camera
        for frame in frames:
            with suppress(UnreadableError):
                self.image(stamp_ns, jpeg_of(frame.read_image()))
                self.inliers(stamp_ns, estimate.points_map, estimate.keypoints_px)
                self.pose(
                    stamp_ns, None if pose is None else pose @ frame.rig_from_camera, estimate.covariance, frame.camera
                )
                break
        self.state(stamp_ns, estimate.status.value, estimate.reason, estimate.inliers)

    def replay(self, bag_path: Path) -> None:
        """Show the outputs in the bag of a replay, each camera in a view of its own. Raises
        :class:`~neumap.errors.DataError` for a bag that is damaged.
        """
        names = {value: name for name, value in vars(typestore().types[STATUS]).items() if name.isupper()}
        with BagReader(bag_path) as bag:
            shown = {topic: own[1] for topic in bag.topics if (own := _OUTPUT.fullmatch(topic.name))}
            cameras = sorted({camera for topic, camera in shown.items() if camera})
            if cameras:
                self._stream.send_blueprint(_layout(cameras))
            for message in bag.messages(shown):
                decoded, topic, camera = bag.decode(message), message.topic.name, shown[message.topic] or ""
                stamp_ns = stamp_of(decoded.header)
                if topic == "/pose":
                    row, covariance = row_of(decoded.pose.pose), np.reshape(decoded.pose.covariance, (6, 6))
                    self.pose(stamp_ns, poses_of([row])[0], covariance)
                elif topic.endswith("/status"):
                    self.state(stamp_ns, names[decoded.state], decoded.reason, decoded.inliers)
                elif topic.endswith("/inliers"):
                    rows = np.frombuffer(bytes(decoded.data), "<f4").reshape(-1, decoded.point_step // 4)
                    self.inliers(stamp_ns, rows[:, :3], rows[:, 3:5], camera)
                else:
                    self.image(stamp_ns, bytes(decoded.data), camera)

    def image(self, stamp_ns: int, encoded: bytes, camera: str = "") -> None:
        """Show an image, JPEG or PNG, of a camera."""
        kind = "image/png" if encoded.startswith(b"\x89PNG") else "image/jpeg"
        self._log(_entity(camera), self._rerun.EncodedImage(contents=encoded, media_type=kind), stamp_ns)

    def inliers(
        self, stamp_ns: int, points: npt.NDArray[np.floating], pixels: npt.NDArray[np.floating], camera: str = ""
    ) -> None:
        """Show the inliers of a camera's image: ``points`` (N, 3) in the map, ``pixels`` (N, 2) in the image."""
        colour, size = _rgba("#ff5fd2"), self._rerun.Radius.ui_points(3)
        self._log(f"{_entity(camera)}/inliers", self._rerun.Points2D(pixels, colors=colour, radii=size), stamp_ns)
        self._log("map/inliers", self._rerun.Points3D(points, colors=colour, radii=size), stamp_ns)

    def pose(
        self, stamp_ns: int, pose: FloatArray | None, covariance: FloatArray | None, camera: Camera | None = None
    ) -> None:
        """Show the ``pose`` (4, 4) of a ``camera``, or else of the base, in the map, with its covariance (6, 6) in
        ROS order; None: lost.
        """
        rerun, name = self._rerun, "map/base" if camera is None else "map/camera"
        if pose is None or covariance is None:
            self._log(name, rerun.Clear(recursive=True), stamp_ns)
            return
        self._log(name, rerun.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]), stamp_ns)
        shape = rerun.TransformAxes3D(axis_length=LENGTH_M)
        if camera is not None:
            size = [camera.width, camera.height]
            shape = rerun.Pinhole(image_from_camera=camera.matrix, resolution=size, image_plane_distance=LENGTH_M)
        self._log(name, shape, stamp_ns)
        self._poses.append(pose)
        self._covariances.append(covariance)

    def state(self, stamp_ns: int, state: str, reason: str, inliers: int) -> None:
        """Show the state from this stamp on, its reason, and the number of inliers."""
        self._log("state", self._rerun.StateChange(state=state), stamp_ns)
        self._log("plot/inliers", self._rerun.Scalars([float(inliers)]), stamp_ns)
        if reason:
            self._log("reasons", self._rerun.TextLog(f"{state}: {reason}"), stamp_ns)

    def finish(self) -> None:
        """Show all poses together, with the ellipsoids of 90 % of their positions."""
        if not self._poses:
            return
        at = np.array(self._poses)[:, :3, 3]
        variances, axes = np.linalg.eigh(np.array(self._covariances)[:, :3, :3])
        # eigenvectors may be left-handed
        axes[:, :, 0] *= np.linalg.det(axes)[:, None]
        turns = np.array([quat_from_matrix(each) for each in axes])
        sizes = ELLIPSOID_90 * np.sqrt(np.maximum(variances, 0))
        # white, on the viewer's black
        dots = {"colors": _rgba("#ffffff"), "radii": self._rerun.Radius.ui_points(3)}
        shapes = self._rerun.Ellipsoids3D(
            centers=at, half_sizes=sizes, quaternions=turns, colors=_rgba(COLOURS.fair), fill_mode="majorwireframe"
        )
        self._log("map/estimates/ellipsoids_of_90_percent", shapes)
        self._log("map/estimates/positions", self._rerun.Points3D(at, **dots))

    def _log(self, entity: str, content: Any, stamp_ns: int | None = None) -> None:
        if stamp_ns is not None:
            self._stream.set_time("stamp", timestamp=np.datetime64(stamp_ns, "ns"))
        self._stream.log(entity, content, static=stamp_ns is None)


def _rgba(colour: str) -> int:
    return int(f"{colour[1:]}ff", 16)


def _entity(camera: str) -> str:
    return f"image/{camera}" if camera else "image"


def _layout(cameras: Sequence[str] = ("",)) -> Any:
    """The map, and beside it the image of each camera, states, inliers and reasons."""
    import rerun.blueprint as show

    images = [show.Spatial2DView(origin=_entity(each), name=f"{each} image and inliers".lstrip()) for each in cameras]
    beside = show.Vertical(
        show.Horizontal(*images) if len(images) > 1 else images[0],
        show.StateTimelineView(origin="state", name="state"),
        show.TimeSeriesView(origin="plot", name="inliers"),
        show.TextLogView(origin="reasons", name="reasons"),
        row_shares=[4, 1, 2, 2],
    )
    above = show.Spatial3DView(origin="map", name="map")
    return show.Blueprint(show.Horizontal(above, beside, column_shares=[3, 2]), collapse_panels=True)
