"""The status of a localizer on /diagnostics."""

from __future__ import annotations

from dataclasses import dataclass

from neumap.tracking.cameras import CameraHealth
from neumap.tracking.rates import WINDOW_S
from neumap.tracking.session import Session
from neumap.tracking.tracker import State

# of diagnostic_msgs/DiagnosticStatus
OK, WARN, ERROR = 0, 1, 2


@dataclass(frozen=True)
class Diagnosis:
    """One diagnostic_msgs/DiagnosticStatus: ``level`` OK, WARN or ERROR, and ``values`` as pairs of key and value."""

    level: int
    message: str
    values: tuple[tuple[str, str], ...] = ()


def _of(camera: CameraHealth) -> str:
    """Return a suffix with the camera's name; empty for a single camera."""
    return f" of camera {camera.name}" if camera.name else ""


def diagnose(session: Session | None) -> Diagnosis:
    """Return the diagnosis of a session; None: not configured."""
    if session is None or not session.active:
        return Diagnosis(WARN, "not configured" if session is None else "not active")
    status = session.status()
    level = {State.TRACKING: OK, State.LOST: ERROR}.get(status.state, WARN)
    disputed, rates, apart_m = session.disputed(), session.rates, status.other_distance_m
    cameras, silent = session.cameras, [camera.name for camera in session.cameras if camera.silent]
    values = (
        ("map", str(session.map.path)),
        ("map id", status.map_id),
        ("seconds since last fix", f"{status.age_s:.2f}"),
        ("latency of the last image in seconds", f"{session.latency_s:.2f}"),
        (f"latency of 95 of 100 images in seconds, of the last {WINDOW_S:g} s", f"{rates.latency_s:.2f}"),
        *((f"images per second{_of(camera)}", f"{camera.came_hz:.1f}") for camera in cameras),
        *((f"the last image{_of(camera)}", camera.told or "gave a pose") for camera in cameras),
        ("images processed per second", f"{rates.searched_hz:.1f}"),
        ("work on an image in seconds, median", f"{rates.cost_s:.3f}"),
        ("images processed", str(status.images_processed)),
        ("images dropped", str(status.images_dropped)),
        *([] if apart_m < 0 else [("metres from the other localizer", f"{apart_m:.2f}")]),
    )
    said = ": ".join(filter(None, [status.state.name, status.reason]))
    quiet = [f"no image from camera {' nor '.join(silent)}"] if silent else []
    troubles = [*disputed, *quiet, *([session.other] if status.other_disagrees else [])]
    return Diagnosis(max(level, WARN) if troubles else level, "; ".join([said, *troubles]), values)
