"""Reads and writes .neumap files: safetensors with a JSON header. Loading runs no code and checks all content."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from neumap.errors import MapFileError
from neumap.features import EXTRACTORS, extractor_class
from neumap.features.extractor import FeatureSettings
from neumap.geometry import se3
from neumap.maps import DESCRIPTOR, LATENT
from neumap.maps.drift import DriftField
from neumap.maps.neural_map import (
    ANCHOR_BITS,
    Calibration,
    ExpectedAccuracy,
    LandmarkCodes,
    NeuralMap,
    VoxelGrid,
    mismatch,
)
from neumap.maps.recording import LONGEST_NAME, Recording
from neumap.model.codebooks import shipped_codebooks
from neumap.model.weights import EXTRACTOR_KEY, shipped_weights

# FORMAT: name of the format in the header; VERSION: the only version read; HEADER_KEY: key of the header in the
# safetensors metadata.
FORMAT, VERSION, HEADER_KEY = "neumap", 4, "neumap"
# SUFFIX: conventional suffix of map files. SWAPPED: end of the message for a path that is no map.
SUFFIX, SWAPPED = ".neumap", "give a .neumap file there, and images where a source of them is asked for"
# TINY, ABSURD: limits of positive numbers in a map; others would overflow in computations.
TINY, ABSURD = 1e-9, 1e9
# VIEWPOINT_LIMIT: viewpoints of a drift field at most, since each query computes the distance to all of them.
VIEWPOINT_LIMIT = 100_000
# FEWEST_ANCHOR_BITS: bits of an anchor's coordinate at least; fewer would displace landmarks by decimetres.
FEWEST_ANCHOR_BITS = 4

Tensors = dict[str, npt.NDArray[Any]]
Record = TypeVar("Record")

# LAYOUT: name: (dtype, shape) of the tensors; a letter is a length that is the same wherever it occurs.
LAYOUT: dict[str, tuple[str, tuple[int | str, ...]]] = {
    "voxel.cells": ("int32", ("V", 3)),
    "voxel.origin": ("float32", (3,)),
    "landmark.offsets": ("int32", ("V+1",)),
    "landmark.descriptors": ("uint8", ("L", "P")),
    "landmark.coarse": ("uint8", ("L", "Q")),
    "drift.positions": ("float32", ("S", 3)),
    "drift.quat_xyzw": ("float32", ("S", 4)),
    "drift.deviations": ("float32", ("S", 6)),
    "drift.scale": ("float32", (6,)),
}


def to_bytes(neural_map: NeuralMap) -> bytes:
    """Return the content of a map's file; equal maps give equal bytes."""
    return _serialized(neural_map)[0]


def _serialized(neural_map: NeuralMap) -> tuple[bytes, str]:
    """Return the content of a map's file, and the map id in it."""
    m = neural_map
    tensors: Tensors = {
        "voxel.cells": m.grid.cells.astype(np.int32),
        "voxel.origin": m.grid.origin.astype(np.float32),
        "landmark.offsets": m.landmarks.offsets.astype(np.int32),
        "landmark.anchors": pack_bits(m.landmarks.anchors, m.landmarks.anchor_bits),
        "landmark.descriptors": m.landmarks.descriptors,
        "landmark.coarse": m.landmarks.coarse,
        "drift.positions": m.drift.poses[:, :3, 3].astype(np.float32),
        "drift.quat_xyzw": se3.quat_from_matrix(m.drift.poses[:, :3, :3]).astype(np.float32),
        "drift.deviations": m.drift.deviations.astype(np.float32),
        "drift.scale": m.drift.scale.astype(np.float32),
    }
    header: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "decoder_id": m.decoder_id,
        "anchor_bits": m.landmarks.anchor_bits,
        "frame_id": m.frame_id,
        "voxel_size_m": m.grid.size_m,
        "mapping_images": m.mapping_images,
        "seed": m.seed,
        "recordings": [asdict(recording) for recording in m.recordings],
        "features": {EXTRACTOR_KEY: m.features.extractor, **asdict(m.features)},
        "drift": {"length_m": m.drift.length_m, "angle_rad": m.drift.angle_rad, "noise": m.drift.noise},
        "calibration": asdict(m.calibration),
        # JSON has no NaN
        "expected": {k: None if v != v else v for k, v in asdict(m.expected).items()},
    }
    tensors = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    header["map_id"] = content_id(tensors, header)
    content = bytes(save(tensors, {HEADER_KEY: json.dumps(header, sort_keys=True, allow_nan=False)}))
    return content, str(header["map_id"])


def pack_bits(values: npt.NDArray[np.uint16], bits: int) -> npt.NDArray[np.uint8]:
    """Pack ``values`` (N, 3) of ``bits`` bits each into bytes, without gaps, most significant bit first."""
    single = np.unpackbits(values.astype(">u2").view(np.uint8).reshape(-1, 2), axis=1)[:, 16 - bits :]
    return np.packbits(single)


def unpack_bits(packed: npt.NDArray[np.uint8], bits: int, count: int) -> npt.NDArray[np.uint16]:
    """Unpack values (``count``, 3) of :func:`pack_bits`. Raises ValueError for another number of bytes."""
    if len(packed) != (3 * count * bits + 7) // 8:
        raise ValueError(f"its anchors are not {3 * count} numbers of {bits} bits")
    single = np.unpackbits(packed, count=3 * count * bits).reshape(-1, bits)
    padded = np.zeros((3 * count, 16), np.uint8)
    padded[:, 16 - bits :] = single
    return np.packbits(padded, axis=1).view(">u2").astype(np.uint16).reshape(count, 3)


def content_id(tensors: Tensors, header: dict[str, Any]) -> str:
    """Return the map id: a hash of all tensors and of the header without the id."""
    digest = hashlib.sha256()
    rest = {key: value for key, value in header.items() if key != "map_id"}
    digest.update(json.dumps(rest, sort_keys=True).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"\0{name}\0{value.dtype.str}\0{value.shape}\0".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()[:16]


def save_map(path: str | os.PathLike[str], neural_map: NeuralMap) -> NeuralMap:
    """Write a map atomically, and return it with its id.

    Raises :class:`~neumap.errors.MapFileError` if the file cannot be written.
    """
    path = Path(path)
    content, map_id = _serialized(neural_map)
    temporary: str | None = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = file.name
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise MapFileError(f"cannot write the map to {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
    return replace(neural_map, map_id=map_id)


def is_map(path: str | os.PathLike[str]) -> bool:
    """Return whether a file begins as a map does; it may be truncated."""
    path, start = Path(path), f'{{"__metadata__":{{"{HEADER_KEY}":'.encode()
    if not path.is_file():
        return False
    with path.open("rb") as file:
        # the header's length comes first
        return file.read(8 + len(start))[8:] == start


def load_map(path: str | os.PathLike[str]) -> NeuralMap:
    """Read and check a map. Raises :class:`~neumap.errors.MapFileError` for a file that is not a valid map."""
    path = Path(path)
    try:
        if not path.exists():
            raise MapFileError(f"there is no map file {path}")
        if not path.is_file():
            raise MapFileError(f"{path} is not a file, and so no map: {SWAPPED}")
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            header = _header(path, metadata)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        if path.suffix != SUFFIX and not is_map(path):
            raise MapFileError(f"{path} is not a map: {SWAPPED}") from error
        raise MapFileError(f"{path} is not a map, or a truncated one ({error})") from error
    except (OSError, TypeError, ValueError, AttributeError) as error:
        # AttributeError: numpy lacks some dtypes of safetensors
        raise MapFileError(f"cannot read the map {path}: {error}") from error
    if content_id(tensors, header) != header.get("map_id"):
        raise MapFileError(
            f"{path} was altered or damaged: its content does not match its id; map again or copy it anew"
        )
    try:
        return _assemble(tensors, header)
    except KeyError as error:
        raise MapFileError(f"{path} is not a valid map: its header has no {error}") from error
    except (TypeError, ValueError, AttributeError, IndexError, OverflowError, np.linalg.LinAlgError) as error:
        raise MapFileError(f"{path} is not a valid map: {error}") from error


def _header(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    try:
        header = json.loads(metadata[HEADER_KEY])
        known = header["format"] == FORMAT and isinstance(header["version"], int) and header["version"] >= 1
    except (KeyError, TypeError, ValueError, RecursionError):
        known = False
    if not known:
        raise MapFileError(f"{path} is a safetensors file, but not a neumap map")
    if header["version"] > VERSION:
        raise MapFileError(
            f"{path} was made by a newer neumap (map format {header['version']}, this one reads {VERSION}): "
            "upgrade neumap"
        )
    if header["version"] < VERSION:
        raise MapFileError(
            f"{path} was made by an older neumap (map format {header['version']}, this one reads {VERSION}): "
            "make the map again"
        )
    return dict(header)


def _number(name: str, value: object, lowest: float = 0.0) -> float:
    """Return a number from JSON after checking that it is from ``lowest`` to ``ABSURD``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not lowest <= value <= ABSURD:
        raise ValueError(f"its {name} is {value!r}")
    return value


def _record(kind: type[Record], values: dict[str, Any], lowest: float = 0.0) -> Record:
    """Make a dataclass of numbers from JSON, each of its declared type and at least ``lowest``.

    Null stands for an unknown number; only :class:`ExpectedAccuracy` may have some.
    """
    names = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    if set(values) != set(names):
        raise ValueError(f"its {kind.__name__} has {sorted(values)} instead of {sorted(names)}")
    made = {}
    for name, value in values.items():
        whole = names[name].type in ("int", int)
        if value is None and kind is ExpectedAccuracy and not whole:
            made[name] = float("nan")
            continue
        number = _number(f"{kind.__name__}.{name}", value, lowest)
        made[name] = int(number) if whole else float(number)
    return kind(**made)


def _check_layout(
    tensors: Tensors, layout: dict[str, tuple[str, tuple[int | str, ...]]], lengths: dict[str, int]
) -> None:
    """Check types, shapes and that values are finite; ``lengths`` collects the values of the letters."""
    for name, (dtype, shape) in layout.items():
        if name not in tensors:
            raise ValueError(f"it has no {name}")
        value = tensors[name]
        if value.dtype != np.dtype(dtype) or value.ndim != len(shape):
            raise ValueError(f"{name} is {value.dtype} of shape {value.shape}")
        for actual, expected in zip(value.shape, shape, strict=True):
            if isinstance(expected, str) and expected.endswith("+1"):
                expected, actual = expected[:-2], actual - 1
            wanted = lengths.setdefault(expected, actual) if isinstance(expected, str) else expected
            if actual != wanted:
                raise ValueError(f"{name} has shape {value.shape}")
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ValueError(f"{name} holds values that are not finite")


def _check_offsets(name: str, offsets: npt.NDArray[Any], total: int) -> None:
    if offsets[0] != 0 or offsets[-1] != total or (np.diff(offsets.astype(np.int64)) < 0).any():
        raise ValueError(f"{name} does not cut {total} codes into voxels")


def _assemble(tensors: Tensors, header: dict[str, Any]) -> NeuralMap:
    lengths: dict[str, int] = {}
    _check_layout(tensors, LAYOUT, lengths)
    bits, anchors = _assemble_anchors(tensors, header, lengths)
    voxel_size_m = float(_number("voxel_size_m", header["voxel_size_m"], TINY))
    if not isinstance(header["frame_id"], str) or not header["frame_id"]:
        raise ValueError(f"its frame_id is {header['frame_id']!r}")
    if not isinstance(header["seed"], int):
        raise ValueError(f"its seed is {header['seed']!r}")
    if unknown := set(tensors) - set(LAYOUT) - {"landmark.anchors"}:
        raise ValueError(f"it holds {min(unknown)} besides")
    if lengths["V"] < 1 or lengths["L"] < 1:
        raise ValueError("it holds no landmarks")
    features = _assemble_features(header["features"])
    decoder_id = _check_decoder(header, lengths, features)
    _check_offsets("landmark.offsets", tensors["landmark.offsets"], lengths["L"])
    return NeuralMap(
        features=features,
        grid=VoxelGrid(
            cells=tensors["voxel.cells"].astype(np.int64),
            size_m=voxel_size_m,
            origin=tensors["voxel.origin"].astype(np.float64),
        ),
        landmarks=LandmarkCodes(
            anchors=anchors,
            descriptors=tensors["landmark.descriptors"],
            coarse=tensors["landmark.coarse"],
            offsets=tensors["landmark.offsets"].astype(np.int64),
            anchor_bits=bits,
        ),
        drift=_assemble_drift(tensors, header["drift"]),
        calibration=_record(Calibration, header["calibration"], TINY),
        expected=_record(ExpectedAccuracy, header["expected"]),
        frame_id=header["frame_id"],
        mapping_images=int(_number("mapping_images", header["mapping_images"])),
        seed=header["seed"],
        decoder_id=decoder_id,
        map_id=str(header["map_id"]),
        recordings=_assemble_recordings(header.get("recordings", [])),
    )


def _assemble_recordings(each: list[dict[str, Any]]) -> tuple[Recording, ...]:
    if not isinstance(each, list):
        raise ValueError(f"its recordings are {each!r}")
    return tuple(_assemble_recording(dict(values)) for values in each)


def _assemble_recording(values: dict[str, Any]) -> Recording:
    name, stamps = values.get("name"), [values.get("first_ns"), values.get("last_ns")]
    if not isinstance(name, str) or not name.isprintable() or len(name) > LONGEST_NAME:
        raise ValueError(f"the name of a recording is {name!r}")
    if not all(type(stamp) is int and abs(stamp) < 2**63 for stamp in stamps):
        raise ValueError(f"the stamps of the recording {name} are {stamps}")
    for number in ("width", "height", "focal_px"):
        _number(number, values.get(number), 1.0)
    return Recording(**values)


def _assemble_anchors(
    tensors: Tensors, header: dict[str, Any], lengths: dict[str, int]
) -> tuple[int, npt.NDArray[np.uint16]]:
    """Return the bits of an anchor's coordinate, and the anchors (L, 3)."""
    bits = header["anchor_bits"]
    if not isinstance(bits, int) or not FEWEST_ANCHOR_BITS <= bits <= ANCHOR_BITS:
        raise ValueError(f"its anchor_bits are {bits!r}")
    _check_layout(tensors, {"landmark.anchors": ("uint8", ("bytes of anchors",))}, lengths)
    return bits, unpack_bits(tensors["landmark.anchors"], bits, lengths["L"])


def _assemble_features(values: dict[str, Any]) -> FeatureSettings:
    values = dict(values)
    name = values.pop(EXTRACTOR_KEY)
    if name not in EXTRACTORS:
        raise ValueError(f"its features are of an extractor that this neumap does not know, {name!r}")
    return _record(extractor_class(name).settings_class, values)


def _check_decoder(header: dict[str, Any], lengths: dict[str, int], features: FeatureSettings) -> str:
    """Return the id of the frozen decoder that the map needs; empty for a map of descriptors."""
    decoder_id = header["decoder_id"]
    if not isinstance(decoder_id, str):
        raise ValueError(f"its decoder id is {decoder_id!r}")
    if reason := mismatch(LATENT if decoder_id else DESCRIPTOR, features):
        raise ValueError(reason)
    if decoder_id:
        shipped = shipped_weights()
        if decoder_id != shipped.decoder_id:
            raise ValueError(
                f"it was made for decoder {decoder_id}, and this neumap has {shipped.decoder_id}: "
                "map again, or use the neumap that made it"
            )
        if not 1 <= lengths["P"] <= len(shipped.words) or lengths["Q"]:
            raise ValueError(f"there are no latents of {lengths['P']} + {lengths['Q']} bytes")
        return str(decoder_id)
    for kind, letter in (("descriptor", "P"), ("coarse", "Q")):
        if f"{kind}-{lengths[letter]}" not in shipped_codebooks():
            raise ValueError(f"there is no codebook for {kind}s of {lengths[letter]} bytes")
    return ""


def _assemble_drift(tensors: Tensors, header: dict[str, Any]) -> DriftField:
    quaternions = tensors["drift.quat_xyzw"].astype(np.float64)
    if len(quaternions) > VIEWPOINT_LIMIT:
        raise ValueError(f"its drift field has {len(quaternions)} viewpoints")
    if (np.abs(np.linalg.norm(quaternions, axis=1) - 1) > 0.01).any() or (tensors["drift.scale"] < 0).any():
        raise ValueError("its drift field holds values that cannot be")
    field = DriftField(
        poses=se3.make_pose(se3.matrix_from_quat(quaternions), tensors["drift.positions"].astype(np.float64)),
        deviations=tensors["drift.deviations"].astype(np.float64),
        scale=tensors["drift.scale"].astype(np.float64),
        length_m=float(_number("drift.length_m", header["length_m"], TINY)),
        angle_rad=float(_number("drift.angle_rad", header["angle_rad"], TINY)),
        noise=float(_number("drift.noise", header["noise"], TINY)),
    )
    field.check()
    return field
