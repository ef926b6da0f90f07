"""Make a neural map from posed images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neumap.errors import ConfigError
from neumap.mapping.calibration import calibrate
from neumap.mapping.encoding import SMALL_BYTES, EncodedLandmarks, LandmarkForm, encode, form_for
from neumap.mapping.selection import by_usefulness
from neumap.mapping.settings import MappingSettings
from neumap.mapping.survey import Survey, survey
from neumap.mapping.work import NOWHERE, Work
from neumap.maps import LATENT
from neumap.maps.drift import DriftField, thin_field
from neumap.maps.map_file import to_bytes
from neumap.maps.neural_map import MIN_VOXEL_LANDMARKS, VOXEL_M, NeuralMap, lay_out
from neumap.model.weights import shipped_weights
from neumap.progress import Progress, ignore
from neumap.records import Frame

# DEFAULT_LANDMARKS: landmarks of a map without a size limit; more hardly help in a room. LANDMARKS_PER_IMAGE: landmarks
# per image of a drive, if that makes more.
DEFAULT_LANDMARKS, LANDMARKS_PER_IMAGE = 12_000, 12
# FEWEST_LANDMARKS: a map with fewer is useless, so smaller sizes are rejected.
FEWEST_LANDMARKS = 200
# BYTES_PER_VIEWPOINT: bytes of a small map per viewpoint of the drift field, which has FEWEST_VIEWPOINTS to
# MOST_VIEWPOINTS.
BYTES_PER_VIEWPOINT, FEWEST_VIEWPOINTS, MOST_VIEWPOINTS = 800, 32, 128
# RESERVED_BYTES: bytes for the calibration, the recording, and the voxels that a hundred landmarks do not show.
RESERVED_BYTES = 600


def build_map(
    frames: Sequence[Frame],
    settings: MappingSettings | None = None,
    progress: Progress = ignore,
    work: Work = NOWHERE,
) -> NeuralMap:
    """Make a map of posed frames, calibrated on some that are set aside; ``settings`` None: the defaults.

    ``progress(stage, done, total)`` is called often. With a folder of ``work`` less memory is used and earlier results
    are reused; the map is the same. Raises :class:`~neumap.errors.MappingError` if the images overlap too little,
    :class:`~neumap.errors.ConfigError` if the size is too small for them, and what the frames' readers raise.
    """
    settings = settings or MappingSettings()
    return map_of(survey(frames, settings, progress, work), settings, progress)


def map_of(place: Survey, settings: MappingSettings, progress: Progress = ignore) -> NeuralMap:
    """Make the calibrated map of a surveyed place. Raises what :func:`build_map` raises."""
    return calibrate(_within_budget(place, settings, progress), place.aside, progress)


def _within_budget(place: Survey, settings: MappingSettings, progress: Progress) -> NeuralMap:
    """Make the map with as many landmarks as fit into its size."""
    form, size, drift = form_for(settings), settings.budget, place.drift
    if size is not None and size < SMALL_BYTES:
        drift = thin_field(drift, int(np.clip(size // BYTES_PER_VIEWPOINT, FEWEST_VIEWPOINTS, MOST_VIEWPOINTS)))
    default = max(DEFAULT_LANDMARKS, LANDMARKS_PER_IMAGE * len(place.keyframes))
    most = default if size is None else int(size / form.bytes_each)
    chosen = by_usefulness(place.candidates, most, progress)
    encoded = encode(place, chosen, form, progress)
    if size is None:
        return compose(place, encoded, form, drift, settings)

    def compose_first(count: int) -> NeuralMap:
        return compose(place, encoded.first(count), form, drift, settings)

    few = compose_first(100)
    # in a large place voxels with few landmarks are dropped, with these landmarks
    empty = len(to_bytes(few)) - len(few.landmarks) * form.bytes_each
    count = int((size - empty - RESERVED_BYTES) / form.bytes_each)
    while count >= FEWEST_LANDMARKS:
        composed = compose_first(count)
        excess = len(to_bytes(composed)) + RESERVED_BYTES - size
        if excess <= 0:
            return composed
        # more landmarks keep more voxels, of a few bytes each
        count = min(count, len(chosen)) - int(np.ceil(excess / form.bytes_each))
    enough = size + (2.5 * FEWEST_LANDMARKS - count) * form.bytes_each
    raise ConfigError(f"{size} bytes are too few for this map: give at least {int(enough)}")


def compose(
    place: Survey, encoded: EncodedLandmarks, form: LandmarkForm, drift: DriftField, settings: MappingSettings
) -> NeuralMap:
    """Make the map, not calibrated, of encoded landmarks, most useful first."""
    grid, codes = lay_out(
        encoded.points, encoded.descriptors, encoded.coarse, form.anchor_bits, VOXEL_M, MIN_VOXEL_LANDMARKS
    )
    return NeuralMap(
        features=settings.features,
        grid=grid,
        landmarks=codes,
        drift=drift,
        frame_id=settings.frame_id,
        mapping_images=len(place.keyframes),
        seed=settings.seed,
        decoder_id=shipped_weights().decoder_id if form.decoder == LATENT else "",
    )
