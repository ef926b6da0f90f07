"""From posed images to a neural map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import scipy.sparse
import torch

from neumap.arrays import FloatArray, IntArray
from neumap.errors import ConfigError, MappingError
from neumap.features import default_settings
from neumap.features.extractor import FeatureSettings
from neumap.localization.localizer import Localizer
from neumap.localization.verdict import judge
from neumap.mapping import bundle, correspondences, landmarks, tracks
from neumap.mapping.calibration import Parts, fit_calibration, measure, more_cautious, set_aside
from neumap.mapping.code_fitting import fit_to_images
from neumap.mapping.keyframes import Keyframes, extract_keyframes
from neumap.mapping.landmarks import Landmarks, mean_descriptors
from neumap.mapping.tracks import Tracks
from neumap.mapping.triangulation import with_triangulated_depth
from neumap.maps import DECODERS, LATENT, drift
from neumap.maps.map_file import to_bytes
from neumap.maps.neural_map import (
    ANCHOR_BITS,
    MIN_VOXEL_LANDMARKS,
    SMALL_ANCHOR_BITS,
    VOXEL_M,
    Calibration,
    NeuralMap,
    lay_out,
    mismatch,
)
from neumap.model.codebooks import Codes, shipped_codebooks
from neumap.model.decoder import shipped_decoder
from neumap.progress import Progress, count_up
from neumap.records import Frame

# a point whose depth was measured needs two views, where images are sparse often the only ones; others three
MIN_VIEWS, MIN_VIEWS_TRIANGULATED = 2, 3
# fewer images than this have no third view to spare
FEW_IMAGES = 6
DEFAULT_LANDMARKS = 12_000
QUICK_BYTES = 100_000
MAX_FRAMES = 1000
ADJUSTED_TRACKS = 8000
# below this size a map stores shorter codes and coarser anchors, and this much of the drift for so many bytes
SMALL_BYTES = 300_000
# what a place of few images adds to a map
FEWEST_ADDED = 1500
BYTES_PER_VIEWPOINT, FEWEST_VIEWPOINTS, MOST_VIEWPOINTS = 800, 32, 128
# bytes of a latent, by the size of the map from which on it has so many
LATENT_BYTES = ((0, 6), (75_000, 12), (SMALL_BYTES, 16))
# FEWEST_LANDMARKS: a map of fewer is of no use, and a size for no more is refused
FEWEST_LANDMARKS = 200
# what the calibration, and more voxels than a hundred landmarks show, may add to the file
RESERVED_BYTES = 500


@dataclass(frozen=True)
class MappingSettings:
    """What ``neumap map`` can be told. ``size_bytes`` None: the default number of landmarks, whatever they take.
    ``fit``: codes are fitted to all mapping images, by :func:`~neumap.mapping.code_fitting.fit_to_images`.
    """

    decoder: str = LATENT
    size_bytes: int | None = None
    quick: bool = False
    fit: bool = False
    use_depth: bool = True
    seed: int = 0
    frame_id: str = "map"
    features: FeatureSettings = field(default_factory=default_settings)

    def __post_init__(self) -> None:
        if self.decoder not in DECODERS:
            raise ConfigError(f"unknown decoder '{self.decoder}': choose one of {', '.join(DECODERS)}")
        if self.size_bytes is not None and self.size_bytes < 15_000:
            raise ConfigError(f"a map of {self.size_bytes} bytes holds too little: give at least 15KB")
        if self.fit and self.quick:
            raise ConfigError("a quick map is not fitted: give a size instead of quick, or do not fit")
        if self.fit and self.decoder != LATENT:
            raise ConfigError(f"codes are fitted under the frozen decoder: fit with decoder {LATENT} only")
        if reason := mismatch(self.decoder, self.features):
            raise ConfigError(reason)

    @property
    def budget(self) -> int | None:
        """How many bytes the map may take."""
        return self.size_bytes or (QUICK_BYTES if self.quick else None)


@dataclass(frozen=True)
class Survey:
    """All that is known of a place before it is decided what a map of it stores.

    ``keyframes`` with the given poses and the ``adjusted`` ones (F, 4, 4), the ``tracks`` they see and the
    ``candidates`` for landmarks made of them, the field of ``drift``, and the frames set ``aside`` to calibrate on.
    """

    keyframes: Keyframes
    adjusted: FloatArray
    tracks: Tracks
    candidates: Landmarks
    drift: drift.DriftField
    aside: tuple[Frame, ...]


def build_map(frames: Sequence[Frame], settings: MappingSettings, progress: Progress = lambda *_: None) -> NeuralMap:
    """A map of posed frames, calibrated on some that are set aside.

    ``progress(stage, done, total)`` is called often. Raises :class:`~neumap.errors.MappingError` where the images
    share too little, and what the frames' readers raise.
    """
    return map_of(survey(frames, settings, progress), settings, progress)


def survey(frames: Sequence[Frame], settings: MappingSettings, progress: Progress = lambda *_: None) -> Survey:
    """Features, tracks and adjusted poses of posed frames; the part of :func:`build_map` that all sizes share."""
    np.random.seed(settings.seed)  # noqa: NPY002 (what libraries below draw from)
    torch.manual_seed(settings.seed)
    frames = thin(frames, MAX_FRAMES)
    aside = set_aside(len(frames))
    mapped = [frame for i, frame in enumerate(frames) if i not in set(aside.tolist())]
    keyframes = _extract(mapped, settings, progress)
    if not keyframes.depth_measured:
        keyframes = with_triangulated_depth(keyframes, progress)
    measured = keyframes.depth_measured or len(keyframes) < FEW_IMAGES
    found, adjusted = find_tracks(keyframes, progress, MIN_VIEWS if measured else MIN_VIEWS_TRIANGULATED)
    field = drift.fit_drift(adjusted, keyframes.map_from_camera)
    candidates = landmarks.make_landmarks(found, keyframes)
    return Survey(keyframes, adjusted, found, candidates, field, tuple(frames[i] for i in aside))


def map_of(place: Survey, settings: MappingSettings, progress: Progress = lambda *_: None) -> NeuralMap:
    """The map of a surveyed place, calibrated."""
    return calibrate(_compose(place, settings, progress), place.aside, progress)


def map_like(
    neural_map: NeuralMap, place: Survey, settings: MappingSettings, progress: Progress = lambda *_: None
) -> NeuralMap:
    """A map of a surveyed place, not calibrated, that stores landmarks in the form of ``neural_map``, and of each
    image as many.
    """
    form, share = _form_of(neural_map), len(place.keyframes) / max(neural_map.mapping_images, 1)
    chosen = _by_usefulness(place.candidates, progress)[: max(round(share * len(neural_map.landmarks)), FEWEST_ADDED)]
    viewpoints = max(round(share * len(neural_map.drift.poses)), FEWEST_VIEWPOINTS)
    field = drift.thin_field(place.drift, viewpoints)
    stored = _encode(place, chosen, form, settings.fit, progress)
    return _store(place, stored, len(chosen), form, field, settings)


def thin(frames: Sequence[Frame], most: int) -> list[Frame]:
    """At most ``most`` frames, evenly."""
    keep = np.unique(np.rint(np.linspace(0, len(frames) - 1, min(most, len(frames)))).astype(int))
    return [frames[i] for i in keep]


def _extract(frames: Sequence[Frame], settings: MappingSettings, progress: Progress) -> Keyframes:
    # images are worked on in parallel; threads inside of each would only get in the way
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        step = count_up(progress, "features", len(frames))
        return extract_keyframes(frames, settings.features, settings.use_depth, step)
    finally:
        cv2.setNumThreads(threads)


def find_tracks(keyframes: Keyframes, progress: Progress, min_views: int) -> tuple[Tracks, FloatArray]:
    """Tracks of ``min_views`` images or more with adjusted points, and the adjusted poses (F, 4, 4).

    Raises :class:`~neumap.errors.MappingError` where the images share too little.
    """
    depths = correspondences.median_depths(keyframes, default=2.0)
    pairs = correspondences.pair_by_overlap(keyframes.map_from_camera, depths, keyframes.view, nearest=6, spread=10)
    matches = correspondences.match_with_depth(keyframes, pairs, count_up(progress, "tracks", len(pairs)))
    label = tracks.group_by_leader(matches, len(keyframes.image))
    frame_points = keyframes.rays3() * keyframes.depth[:, None]
    poses = keyframes.map_from_camera[keyframes.image]
    points = np.einsum("nij,nj->ni", poses[:, :3, :3], frame_points) + poses[:, :3, 3]
    found = tracks.tracks_from_labels(label, points, keyframes.depth > 0, min_views)
    found, error = tracks.refine_points(found, keyframes, keyframes.map_from_camera)
    found = tracks.drop_outliers(found, error, max_error_px=5.0, min_views=min_views)
    if len(found) < 50:
        raise MappingError(
            f"only {len(found)} points are seen in {min_views} or more images: the images share too little, "
            "or poses and images do not belong together"
        )
    progress("adjust", 0, 1)
    visibility = scipy.sparse.csr_matrix(
        (np.ones(len(found.track), np.float32), (found.track, keyframes.image[found.keypoint])),
        shape=(len(found), len(keyframes)),
    )
    chosen = np.zeros(len(found), dtype=bool)
    # in batches of one size: the decoder that ships was trained in places whose poses were adjusted so
    adjusted_tracks = min(ADJUSTED_TRACKS, len(found))
    chosen[landmarks.choose_by_coverage(visibility, adjusted_tracks, max(32, adjusted_tracks // 40))] = True
    _, adjusted = bundle.adjust_poses(
        found.select(chosen), keyframes, prior_translation_m=0.03, prior_rotation_rad=np.deg2rad(1.0)
    )
    found, error = tracks.refine_points(found, keyframes, adjusted)
    found = tracks.drop_outliers(found, error, max_error_px=4.0, min_views=min_views)
    found, _ = tracks.refine_points(found, keyframes, adjusted, iterations=3)
    progress("adjust", 1, 1)
    return found, adjusted


@dataclass(frozen=True)
class _Form:
    """How a landmark is stored: in ``fine`` bytes of latents or of its descriptor, ``coarse`` bytes of the coarse one,
    and ``anchor_bits`` a coordinate.
    """

    latents: bool
    fine: int
    coarse: int
    anchor_bits: int

    @property
    def bytes_each(self) -> float:
        return self.fine + self.coarse + 3 * self.anchor_bits / 8


def _form_for(settings: MappingSettings) -> _Form:
    size = settings.budget
    small = size is not None and size < SMALL_BYTES
    if settings.decoder != LATENT:
        return _Form(False, *((16, 8) if small else (32, 16)), ANCHOR_BITS)
    parts = next(count for least, count in reversed(LATENT_BYTES) if (size or SMALL_BYTES) >= least)
    return _Form(True, parts, 0, SMALL_ANCHOR_BITS if small else ANCHOR_BITS)


def _form_of(neural_map: NeuralMap) -> _Form:
    codes = neural_map.landmarks
    latents = bool(neural_map.decoder_id)
    return _Form(latents, codes.descriptors.shape[1], codes.coarse.shape[1], codes.anchor_bits)


@dataclass(frozen=True)
class _Stored:
    """What a map stores of landmarks, most useful first: ``points`` (L, 3) in metres, ``descriptors`` (L, P) or
    latents, and ``coarse`` descriptors (L, Q).
    """

    points: FloatArray
    descriptors: Codes
    coarse: Codes


def _encode(place: Survey, chosen: IntArray, form: _Form, fit: bool, progress: Progress) -> _Stored:
    """The ``chosen`` candidates in a form."""
    keyframes, candidates = place.keyframes, place.candidates
    if not form.latents:
        fine, coarse = (shipped_codebooks()[n] for n in (f"descriptor-{form.fine}", f"coarse-{form.coarse}"))
        codes = fine.encode(candidates.descriptors[chosen]), coarse.encode(candidates.coarse[chosen])
        return _Stored(candidates.points[chosen], *codes)
    frozen, seen = shipped_decoder(), place.tracks.pick(candidates.track[chosen])
    embeddings = frozen.embed(keyframes.descriptors, keyframes.coarse, keyframes.size, keyframes.angle)
    if fit:
        seen = fit_to_images(seen, keyframes, place.adjusted, embeddings, progress)
    latents = frozen.codebook.encode(mean_descriptors(seen, embeddings), form.fine)
    return _Stored(seen.points, latents, latents[:, :0])


def _by_usefulness(candidates: Landmarks, progress: Progress) -> IntArray:
    """The candidates with a position, most useful first."""
    progress("choose landmarks", 0, 1)
    order = landmarks.choose_by_coverage(candidates.visibility, len(candidates))
    progress("choose landmarks", 1, 1)
    return order[np.isfinite(candidates.points[order]).all(axis=1)]


def _store(
    place: Survey, stored: _Stored, count: int, form: _Form, field: drift.DriftField, settings: MappingSettings
) -> NeuralMap:
    """The map of the first ``count`` landmarks."""
    points, descriptors, coarse = stored.points[:count], stored.descriptors[:count], stored.coarse[:count]
    grid, codes = lay_out(points, descriptors, coarse, form.anchor_bits, VOXEL_M, MIN_VOXEL_LANDMARKS)
    return NeuralMap(
        features=settings.features,
        grid=grid,
        landmarks=codes,
        drift=field,
        calibration=Calibration(),
        frame_id=settings.frame_id,
        mapping_images=len(place.keyframes),
        seed=settings.seed,
        decoder_id=shipped_decoder().decoder_id if form.latents else "",
    )


def _compose(place: Survey, settings: MappingSettings, progress: Progress = lambda *_: None) -> NeuralMap:
    """The map of the landmarks that fit into its size."""
    form, size, field = _form_for(settings), settings.budget, place.drift
    if size is not None and size < SMALL_BYTES:
        viewpoints = np.clip(size // BYTES_PER_VIEWPOINT, FEWEST_VIEWPOINTS, MOST_VIEWPOINTS)
        field = drift.thin_field(field, int(viewpoints))
    per_landmark = form.bytes_each
    most = DEFAULT_LANDMARKS if size is None else int(size / per_landmark)
    chosen = _by_usefulness(place.candidates, progress)[:most]
    stored = _encode(place, chosen, form, settings.fit, progress)

    def compose(count: int) -> NeuralMap:
        return _store(place, stored, count, form, field, settings)

    if size is None:
        return compose(len(chosen))
    few = compose(min(100, len(chosen)))
    # in a large place few landmarks leave most voxels out, and themselves with them
    empty = len(to_bytes(few)) - len(few.landmarks) * per_landmark
    count = int((size - empty - RESERVED_BYTES) / per_landmark)
    while count >= FEWEST_LANDMARKS:
        composed = compose(min(count, len(chosen)))
        excess = len(to_bytes(composed)) + RESERVED_BYTES - size
        if excess <= 0:
            return composed
        # each voxel that only many landmarks show takes a few bytes more
        count = min(count, len(chosen)) - int(np.ceil(excess / per_landmark))
    enough = size + (2.5 * FEWEST_LANDMARKS - count) * per_landmark
    raise ConfigError(f"{size} bytes are too few for this map: give at least {int(enough)}")


def calibrate(
    neural_map: NeuralMap, frames: Sequence[Frame], progress: Progress, least: Calibration | None = None
) -> NeuralMap:
    """The map with a calibrated covariance and the accuracy measured on ``frames``, none of which it was made from.

    The calibration is not less cautious than ``least``.
    """
    if not frames:
        return neural_map
    localizer = Localizer(neural_map)
    truth = np.array([frame.map_from_camera for frame in frames])
    found, parts = [], []
    for i, (frame, true) in enumerate(zip(frames, truth, strict=True)):
        query = localizer.look(frame.read_image(), frame.camera)
        found.append(localizer.solve(query))
        if found[-1] is not None and not localizer.doubt(found[-1]):
            pose, unit, drift_sigma = localizer.corrected(found[-1])
            parts.append(Parts(drift.deviations_between(pose[None], true[None])[0], unit, drift_sigma))
        progress("calibrate", i + 1, len(frames))
    calibration = fit_calibration(parts, neural_map.calibration)
    if least is not None:
        calibration = more_cautious(calibration, least)
    verdicts = [judge(one, localizer.needed(), neural_map.drift, calibration) for one in found]
    return replace(neural_map, calibration=calibration, expected=measure(verdicts, truth))
