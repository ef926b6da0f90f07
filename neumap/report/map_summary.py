"""Describes the contents of a map, as text and for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neumap.arrays import FloatArray
from neumap.geometry.se3 import quat_from_matrix
from neumap.io.files import PathLike
from neumap.maps.map_file import VERSION
from neumap.maps.neural_map import ExpectedAccuracy, NeuralMap
from neumap.maps.recording import Recording

if TYPE_CHECKING:
    from neumap.mapping.odometry import Straightened

# _FEW_IMAGES: with fewer held-out images the covariance is not calibrated.
_FEW_IMAGES = 8
# _LISTED_STRETCHES: most stretches of a drive without loop closure in a report. _LISTED_VOXELS: most voxels in the
# line of landmarks per voxel. _BYTES_OF_A_VOXEL: of its cell and its offset in the file.
_LISTED_STRETCHES, _LISTED_VOXELS, _BYTES_OF_A_VOXEL = 5, 12, 16
# _LISTED: most recordings, cameras and weak voxels in a line. _FEW_SHARE: voxels with less than this share of the
# median number of landmarks are weak. _CLOCK_NS: stamps before 2001 are of a simulation or a computer without a clock.
_LISTED, _FEW_SHARE, _CLOCK_NS = 3, 0.2, 10**18


def drive_texts(drive: Straightened) -> list[str]:
    """Describe the correction of a drive with odometry: loop closures, the drift removed, and what to drive again."""
    median_m, end_m = float(np.median(drive.moved_m)), float(drive.moved_m[-1])
    taken = f"drift taken out: {end_m:.2f} m at the end of the drive, {median_m:.2f} m (median)"
    lines = [f"{len(drive.loops)} loops, by {len(np.unique(drive.loops[:, 1]))} images; {taken}"]
    start_ns = drive.frames[0].stamp_ns
    for first_ns, last_ns in drive.loose[:_LISTED_STRETCHES]:
        first_s, last_s = (1e-9 * (stamp_ns - start_ns) for stamp_ns in (first_ns, last_ns))
        lines.append(
            f"drive again what was driven {first_s:.0f} to {last_s:.0f} s after the start, and come back to where that "
            "began: no loop tells how far odometry drifted there"
        )
    if len(drive.loose) > _LISTED_STRETCHES:
        lines.append(f"... and {len(drive.loose) - _LISTED_STRETCHES} other stretches")
    return [*lines, "the accuracy expected is that within the map: of drift left in all images it knows nothing"]


def as_dict(neural_map: NeuralMap, path: PathLike) -> dict[str, Any]:
    """Return a map loaded from ``path`` for JSON: metres, degrees, shares from 0 to 1, null where unknown."""
    m = neural_map
    low, high = m.bounds
    return {
        "id": m.map_id,
        "format_version": VERSION,
        "decoder": m.decoder,
        "frame_id": m.frame_id,
        "size_bytes": Path(path).stat().st_size,
        "mapping_images": m.mapping_images,
        "seed": m.seed,
        "recordings": [asdict(recording) for recording in m.recordings],
        "voxels": len(m.grid),
        "voxel_size_m": m.grid.size_m,
        "landmarks": len(m.landmarks),
        "landmarks_per_voxel": np.diff(m.landmarks.offsets).tolist(),
        "voxel": voxel_dicts(m),
        "bounds": {"low": low.tolist(), "high": high.tolist()},
        "features": {"extractor": m.features.extractor, **asdict(m.features)},
        "calibration": asdict(m.calibration),
        "drift": _drift_dict(m),
        "expected": {name: None if value != value else value for name, value in asdict(m.expected).items()},
    }


def voxel_dicts(neural_map: NeuralMap) -> list[dict[str, Any]]:
    """Return for each voxel its corners in the map frame, metres, its number of landmarks and its bytes in the file."""
    codes, grid = neural_map.landmarks, neural_map.grid
    each = codes.descriptors.shape[1] + codes.coarse.shape[1] + 3 * codes.anchor_bits / 8
    return [
        {
            "low": corner.tolist(),
            "high": (corner + grid.size_m).tolist(),
            "landmarks": count,
            "bytes": int(np.ceil(count * each)) + _BYTES_OF_A_VOXEL,
        }
        for corner, count in zip(grid.corners, np.diff(codes.offsets).tolist(), strict=True)
    ]


def voxels_text(neural_map: NeuralMap) -> str:
    """Return a table of the voxels."""
    rows: list[tuple[str, ...]] = [("voxel", "x, m", "y, m", "z, m", "landmarks", "size")]
    for number, voxel in enumerate(voxel_dicts(neural_map)):
        spans = [f"{low:.2f} to {high:.2f}" for low, high in zip(voxel["low"], voxel["high"], strict=True)]
        rows.append((str(number), *spans, str(voxel["landmarks"]), size_text(voxel["bytes"])))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def report_text(rows: Iterable[tuple[str, str]]) -> str:
    """Format rows of a name and a text, one per line."""
    return "\n".join(f"{name:<12}{text}" for name, text in rows)


def as_text(neural_map: NeuralMap, path: PathLike) -> str:
    """Return a summary for users of a map loaded from ``path``."""
    m, (low, high) = neural_map, neural_map.bounds
    spans = ", ".join(f"{axis} {a:.2f} to {b:.2f} m" for axis, a, b in zip("xyz", low, high, strict=True))
    recordings = [
        (_recording_text(each), f"{each.width} x {each.height}, {each.focal_px:g} px") for each in m.recordings
    ]
    made_of = [f"{m.mapping_images} images", *(text for text, _ in recordings[:_LISTED])]
    cameras = list(dict.fromkeys(camera for _, camera in recordings))
    rows = [
        ("map", f"{path}, {size_text(Path(path).stat().st_size)}, id {m.map_id}"),
        ("place", f"{' x '.join(f'{side:.1f}' for side in high - low)} m, in the frame {m.frame_id}: {spans}"),
        ("made of", "; ".join([*made_of, *(["..."] if len(recordings) > _LISTED else [])])),
        *([("camera", f"{' and '.join(cameras[:_LISTED])} of focal length")] if cameras else []),
        ("landmarks", f"{len(m.landmarks)} in {len(m.grid)} voxel{'s' * (len(m.grid) != 1)} of {m.grid.size_m:g} m"),
        ("expected", expected_text(m.expected)),
        ("weak", _weak_text(m)),
    ]
    return report_text(rows)


def _recording_text(recording: Recording) -> str:
    """Return the name of a recording and, if its stamps are those of a clock, its time."""
    if recording.first_ns < _CLOCK_NS:
        return recording.name
    first, last = (datetime.fromtimestamp(ns // 10**9, timezone.utc) for ns in (recording.first_ns, recording.last_ns))
    until = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M}"
    return f"{recording.name} ({first:%Y-%m-%d %H:%M} to {until} UTC)"


def _weak_text(neural_map: NeuralMap) -> str:
    """List the voxels with few landmarks, the emptiest first."""
    counts = np.diff(neural_map.landmarks.offsets)
    usual = float(np.median(counts))
    weak = [int(index) for index in np.argsort(counts, kind="stable") if counts[index] < _FEW_SHARE * usual]
    if not weak:
        return "no voxel has far fewer landmarks than others"
    corners = neural_map.grid.corners
    told = [
        f"about ({', '.join(f'{c:.1f}' for c in corners[i] + neural_map.grid.size_m / 2)}): {counts[i]}" for i in weak
    ]
    more = f", and {len(weak) - _LISTED} more" if len(weak) > _LISTED else ""
    return f"few landmarks {'; '.join(told[:_LISTED])}{more}; usual are {usual:.0f}"


def internals_text(neural_map: NeuralMap) -> str:
    """Return the internals of a map, for developers."""
    m, counts = neural_map, np.diff(neural_map.landmarks.offsets).tolist()
    drift = _drift_dict(m)
    rows = [
        ("format", f"{VERSION}, seed {m.seed}"),
        ("decoder", m.decoder + (f" {m.decoder_id}" if m.decoder_id else "")),
        ("a voxel", ", ".join(map(str, counts[:_LISTED_VOXELS])) + (", ..." if len(counts) > _LISTED_VOXELS else "")),
        ("features", ", ".join([m.features.extractor, *_numbers(asdict(m.features))])),
        ("covariance", ", ".join(_numbers(asdict(m.calibration)))),
        (
            "drift",
            f"{drift['samples']} viewpoints, at most {100 * drift['largest_m']:.1f} cm, {drift['largest_deg']:.2f} deg",
        ),
    ]
    return report_text(rows)


def _drift_dict(neural_map: NeuralMap) -> dict[str, Any]:
    drift = neural_map.drift
    deviations = np.linalg.norm(drift.deviations.reshape(-1, 2, 3), axis=2)
    largest_m, largest_rad = deviations.max(axis=0) if len(deviations) else (0.0, 0.0)
    return {
        "samples": len(drift.poses),
        "length_m": drift.length_m,
        "angle_deg": float(np.rad2deg(drift.angle_rad)),
        "largest_m": float(largest_m),
        "largest_deg": float(np.rad2deg(largest_rad)),
    }


def _numbers(values: Mapping[str, float]) -> list[str]:
    return [f"{name} {value:g}" for name, value in values.items()]


def expected_text(expected: ExpectedAccuracy) -> str:
    """Return the accuracy measured while mapping as a line."""
    if not expected.images:
        return "not measured: fewer than 12 images, so none was set aside; the covariance is not calibrated"
    found = f"{expected.localized:.0%} of {expected.images} images localized"
    if expected.localized:
        found = (
            f"median {100 * expected.median_m:.1f} cm, {expected.median_deg:.2f} deg; "
            f"within 5 cm, 5 deg {expected.within_5cm_5deg:.0%}; "
            f"within 25 cm, 10 deg {expected.within_25cm_10deg:.0%}; {found}"
        )
    if expected.images < _FEW_IMAGES:
        found += " (too few to rely on: the covariance is not calibrated)"
    return found


def pose_text(pose: FloatArray) -> str:
    """Format a transform (4, 4) as the numbers that ``neumap transform --by`` takes, and its yaw."""
    quaternion = quat_from_matrix(pose[:3, :3])
    numbers = [*pose[:3, 3], *(quaternion if quaternion[3] >= 0 else -quaternion)]
    yaw = np.rad2deg(np.arctan2(pose[1, 0], pose[0, 0]))
    return f"{' '.join(f'{each + 0:.4f}' for each in numbers)} (x y z qx qy qz qw; yaw {yaw:.1f} deg)"


def size_text(size_bytes: int) -> str:
    """Format a size as ``98.2 KB`` or ``1.20 MB``, powers of 1000."""
    return f"{size_bytes / 1e6:.2f} MB" if size_bytes >= 1_000_000 else f"{size_bytes / 1e3:.1f} KB"
