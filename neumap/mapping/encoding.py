"""Encode landmarks as the codes that a map stores."""

from __future__ import annotations

from dataclasses import dataclass

from neumap.arrays import Float32Array, FloatArray, IntArray
from neumap.mapping.keyframes import Keyframes
from neumap.mapping.settings import MappingSettings
from neumap.mapping.survey import Survey
from neumap.mapping.tracks import mean_descriptors
from neumap.maps import DESCRIPTOR, LATENT
from neumap.maps.neural_map import ANCHOR_BITS, SMALL_ANCHOR_BITS, NeuralMap
from neumap.model.codebooks import Codes, shipped_codebooks
from neumap.model.decoder import FrozenDecoder, shipped_decoder
from neumap.model.encoder import EMBEDDING
from neumap.progress import Progress, count_up, ignore

# SMALL_BYTES: maps below this size store shorter codes and coarser anchors, since more landmarks matter more there.
SMALL_BYTES = 300_000
# LATENT_BYTES: pairs of the least size of a map and the bytes of its latents.
LATENT_BYTES = ((0, 6), (75_000, 12), (SMALL_BYTES, 16))
# DESCRIPTOR_BYTES, SMALL_DESCRIPTOR_BYTES: bytes of a descriptor and of a coarse one, in usual and in small maps.
DESCRIPTOR_BYTES, SMALL_DESCRIPTOR_BYTES = (32, 16), (16, 8)


@dataclass(frozen=True)
class LandmarkForm:
    """The format of a landmark: its ``decoder``, the bytes of the latent or descriptor, ``fine``, and of the coarse
    descriptor, ``coarse``, and the ``anchor_bits`` of a coordinate.
    """

    decoder: str
    fine: int
    coarse: int
    anchor_bits: int

    @property
    def bytes_each(self) -> float:
        """The bytes of a landmark in the file."""
        return self.fine + self.coarse + 3 * self.anchor_bits / 8


def form_for(settings: MappingSettings) -> LandmarkForm:
    """Return the form of landmarks for a map's size and decoder."""
    size = settings.budget
    small = size is not None and size < SMALL_BYTES
    if settings.decoder == DESCRIPTOR:
        return LandmarkForm(DESCRIPTOR, *(SMALL_DESCRIPTOR_BYTES if small else DESCRIPTOR_BYTES), ANCHOR_BITS)
    parts = next(count for least, count in reversed(LATENT_BYTES) if (size or SMALL_BYTES) >= least)
    return LandmarkForm(LATENT, parts, 0, SMALL_ANCHOR_BITS if small else ANCHOR_BITS)


def form_of(neural_map: NeuralMap) -> LandmarkForm:
    """Return the form of the landmarks of a map."""
    codes = neural_map.landmarks
    return LandmarkForm(neural_map.decoder, codes.descriptors.shape[1], codes.coarse.shape[1], codes.anchor_bits)


@dataclass(frozen=True)
class EncodedLandmarks:
    """L encoded landmarks: ``points`` (L, 3) in metres, ``descriptors`` (L, P) or latents, ``coarse`` descriptors
    (L, Q).
    """

    points: FloatArray
    descriptors: Codes
    coarse: Codes

    def first(self, count: int) -> EncodedLandmarks:
        """Return the first ``count`` of them."""
        return EncodedLandmarks(self.points[:count], self.descriptors[:count], self.coarse[:count])


@dataclass(frozen=True)
class _Embedded:
    """The embeddings (N, 64) of all keypoints, computed when they are indexed."""

    keyframes: Keyframes
    frozen: FrozenDecoder

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.keyframes.image), EMBEDDING

    def __getitem__(self, rows: IntArray, /) -> Float32Array:
        k = self.keyframes
        return self.frozen.embed(k.descriptors[rows], k.coarse[rows], k.size[rows], k.angle[rows])


def encode(place: Survey, chosen: IntArray, form: LandmarkForm, progress: Progress = ignore) -> EncodedLandmarks:
    """Encode the ``chosen`` candidates (L,) of a place in the given form and order."""
    keyframes, seen = place.keyframes, place.tracks.pick(place.candidates.track[chosen])
    step = count_up(progress, "describe", len(seen.keypoint) * (2 if form.decoder == DESCRIPTOR else 1))
    if form.decoder == DESCRIPTOR:
        fine, coarse = (shipped_codebooks()[n] for n in (f"descriptor-{form.fine}", f"coarse-{form.coarse}"))
        codes = (
            book.encode(mean_descriptors(seen, looks, step))
            for book, looks in ((fine, keyframes.descriptors), (coarse, keyframes.coarse))
        )
        return EncodedLandmarks(seen.points, *codes)
    frozen = shipped_decoder()
    means = mean_descriptors(seen, _Embedded(keyframes, frozen), step)
    latents = frozen.codebook.encode(means, form.fine, count_up(progress, "encode", len(seen)))
    return EncodedLandmarks(seen.points, latents, latents[:, :0])
