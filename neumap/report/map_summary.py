"""What is in a map, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neumap.io.files import PathLike
from neumap.maps.map_file import VERSION
from neumap.maps.neural_map import ExpectedAccuracy, NeuralMap

if TYPE_CHECKING:
    from neumap.mapping.odometry import Straightened

# _FEW_IMAGES: fewer set aside say little, and leave the covariance as it was.
_FEW_IMAGES = 8
# _LISTED_STRETCHES: of a drive, that no loop ties down. _LISTED_VOXELS: whose landmarks are told in a line.
# _BYTES_OF_A_VOXEL: in the file, its cell and its offset.
_LISTED_STRETCHES, _LISTED_VOXELS, _BYTES_OF_A_VOXEL = 5, 12, 16


def drive_texts(drive: Straightened) -> list[str]:
    """Tell what became of a drive whose poses were odometry's: loops, the drift taken out, and what to drive again."""
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
    return lines


def as_dict(neural_map: NeuralMap, path: PathLike) -> dict[str, Any]:
    """Tell what is in a map that was loaded from ``path``, for JSON: metres, degrees, shares from 0 to 1, null where
    not known.
    """
    m = neural_map
    deviations = np.linalg.norm(m.drift.deviations.reshape(-1, 2, 3), axis=2)
    largest_m, largest_rad = deviations.max(axis=0) if len(deviations) else (0.0, 0.0)
    low, high = m.bounds
    return {
        "id": m.map_id,
        "format_version": VERSION,
        "decoder": m.decoder,
        "frame_id": m.frame_id,
        "size_bytes": Path(path).stat().st_size,
        "mapping_images": m.mapping_images,
        "seed": m.seed,
        "voxels": len(m.grid),
        "voxel_size_m": m.grid.size_m,
        "landmarks": len(m.landmarks),
        "landmarks_per_voxel": np.diff(m.landmarks.offsets).tolist(),
        "voxel": voxel_dicts(m),
        "bounds": {"low": low.tolist(), "high": high.tolist()},
        "features": {"extractor": m.features.extractor, **asdict(m.features)},
        "calibration": asdict(m.calibration),
        "drift": {
            "samples": len(m.drift.poses),
            "length_m": m.drift.length_m,
            "angle_deg": float(np.rad2deg(m.drift.angle_rad)),
            "largest_m": float(largest_m),
            "largest_deg": float(np.rad2deg(largest_rad)),
        },
        "expected": {name: None if value != value else value for name, value in asdict(m.expected).items()},
    }


def voxel_dicts(neural_map: NeuralMap) -> list[dict[str, Any]]:
    """Tell of each voxel its corners in metres in the map frame, its landmarks, and the bytes it takes in the file."""
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
    """Write a table of the voxels."""
    rows: list[tuple[str, ...]] = [("voxel", "x, m", "y, m", "z, m", "landmarks", "size")]
    for number, voxel in enumerate(voxel_dicts(neural_map)):
        spans = [f"{low:.2f} to {high:.2f}" for low, high in zip(voxel["low"], voxel["high"], strict=True)]
        rows.append((str(number), *spans, str(voxel["landmarks"]), size_text(voxel["bytes"])))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def report_text(rows: Iterable[tuple[str, str]]) -> str:
    """Write a name and a text a line."""
    return "\n".join(f"{name:<12}{text}" for name, text in rows)


def as_text(neural_map: NeuralMap, path: PathLike) -> str:
    """Write what is in a map that was loaded from ``path``, to read."""
    info = as_dict(neural_map, path)
    low, high = info["bounds"]["low"], info["bounds"]["high"]
    per_voxel = info["landmarks_per_voxel"]
    listed = ", ".join(map(str, per_voxel[:_LISTED_VOXELS])) + (", ..." if len(per_voxel) > _LISTED_VOXELS else "")
    drift = info["drift"]
    rows = [
        ("map", f"{path}, {size_text(info['size_bytes'])}, format {info['format_version']}"),
        ("id", info["id"]),
        ("frame", info["frame_id"]),
        ("made of", f"{info['mapping_images']} images, seed {info['seed']}"),
        ("decoder", info["decoder"]),
        ("voxels", f"{info['voxels']} of {info['voxel_size_m']:g} m"),
        ("landmarks", f"{info['landmarks']}" + (f" ({listed} a voxel)" if len(per_voxel) > 1 else "")),
        ("bounds", ", ".join(f"{axis} {a:.2f} to {b:.2f} m" for axis, a, b in zip("xyz", low, high, strict=True))),
        ("features", ", ".join([neural_map.features.extractor, *_numbers(asdict(neural_map.features))])),
        ("covariance", ", ".join(_numbers(info["calibration"]))),
        (
            "drift",
            f"{drift['samples']} viewpoints, at most {100 * drift['largest_m']:.1f} cm, {drift['largest_deg']:.2f} deg",
        ),
        ("expected", expected_text(neural_map.expected)),
    ]
    return report_text(rows)


def _numbers(values: Mapping[str, float]) -> list[str]:
    return [f"{name} {value:g}" for name, value in values.items()]


def expected_text(expected: ExpectedAccuracy) -> str:
    """Write the accuracy that was measured while mapping, in a line."""
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


def size_text(size_bytes: int) -> str:
    """Write ``98.2 KB`` or ``1.20 MB``, of 1000 bytes."""
    return f"{size_bytes / 1e6:.2f} MB" if size_bytes >= 1_000_000 else f"{size_bytes / 1e3:.1f} KB"
