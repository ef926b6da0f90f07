"""Matching of keypoints with the landmarks of a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from neumap.arrays import BoolArray, Float32Array, FloatArray, IntArray
from neumap.features.extractor import Features, joint_descriptors
from neumap.localization.query import Query
from neumap.maps.neural_map import NeuralMap
from neumap.model.codebooks import shipped_codebooks
from neumap.model.decoder import shipped_decoder
from neumap.model.transformer import CANDIDATES, SAME_PLACE_M, Sighting, leads

# MATCH_DIMENSIONS: principal axes of the map's descriptors that short lists are made with; latents have fewer.
MATCH_DIMENSIONS = 96
# DESCRIPTOR_SIMILARITY: least similarity of a keypoint and a landmark that projects near it, in a map of descriptors;
# the frozen decoder has its own.
DESCRIPTOR_SIMILARITY = 0.75
# SHORTLISTED: landmarks per keypoint that are compared in full, for the ratio test.
SHORTLISTED = 4
# MAX_RATIO: distance of the best landmark over that of the best one elsewhere at most (Lowe 2004).
MAX_RATIO = 0.95
# GROUP: columns of similarities of which top_columns takes the maximum first.
GROUP = 16
# COMPARED_AT_ONCE, SIMILARITIES_AT_ONCE: keypoints and similarities of one block at most, so that a block stays in the
# cache; above 32 MB memory is allocated anew for each block, which costs twice the computation.
COMPARED_AT_ONCE, SIMILARITIES_AT_ONCE = 128, 2**22
# MIN_LEAD: least difference of probability between the transformer's choice and any other place.
MIN_LEAD = 0.05
# MIN_SURE: least sum over keypoints of the leads by similarity alone for the transformer to be used. Otherwise, between
# two rooms that look the same, a single keypoint that prefers one of them would decide for all.
MIN_SURE = 3.0


@dataclass(frozen=True)
class Matches:
    """M matches of ``keypoint`` (M,), indices, with ``points`` (M, 3) of the map in metres; ``confidence`` (M,) is in
    0..1.
    """

    keypoint: IntArray
    points: FloatArray
    confidence: Float32Array

    def __len__(self) -> int:
        return len(self.keypoint)

    def select(self, chosen: BoolArray) -> Matches:
        """Return the matches where ``chosen`` (M,) is true."""
        return Matches(self.keypoint[chosen], self.points[chosen], self.confidence[chosen])


def pool(parts: Sequence[Matches]) -> Matches:
    """Return all matches of several matchers, most confident first."""
    keypoint = np.concatenate([p.keypoint for p in parts])
    points = np.concatenate([p.points for p in parts])
    confidence = np.concatenate([p.confidence for p in parts])
    order = np.argsort(-confidence, kind="stable")
    return Matches(keypoint[order], points[order], confidence[order])


def no_matches() -> Matches:
    """Return zero matches."""
    return Matches(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros(0, np.float32))


def rows_of_voxels(offsets: IntArray, voxels: IntArray | None) -> slice | IntArray:
    """Return the rows of ``voxels`` (None: all) in arrays ordered by voxel, as a slice where possible."""
    if voxels is None:
        return slice(None)
    if len(voxels) == 1:
        return slice(int(offsets[voxels[0]]), int(offsets[voxels[0] + 1]))
    parts = [np.arange(offsets[v], offsets[v + 1]) for v in np.unique(voxels)]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def top_columns(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Return the columns (N, ``count``) of the largest of ``scores`` (N, L) in each row, best first.

    Like ``topk``, in 0.6 of the time for many columns: the largest scores are in the groups of columns with the largest
    maxima, and only these are sorted. The columns of a group are strided, so that maxima are computed along rows.
    """
    groups = scores.shape[1] // GROUP
    if groups < GROUP * count:
        return scores.topk(count, dim=1).indices
    grouped = groups * GROUP
    best = scores[:, :grouped].reshape(-1, GROUP, groups).amax(dim=1).topk(count, dim=1).indices
    columns = (best[:, :, None] + groups * torch.arange(GROUP)).flatten(1)
    rest = torch.arange(grouped, scores.shape[1]).expand(len(scores), -1)
    columns = torch.cat([columns, rest], dim=1)
    return columns.gather(1, scores.gather(1, columns).topk(count, dim=1).indices)


def landmark_descriptors(neural_map: NeuralMap) -> tuple[Float32Array, Float32Array]:
    """Decode the descriptors and the coarse descriptors (L, 128) of a map's landmarks.

    In a map of latents they are embeddings (L, 64) and an empty array (L, 0).
    """
    codes, books = neural_map.landmarks, shipped_codebooks()
    if neural_map.decoder_id:
        embeddings = shipped_decoder().codebook.decode(codes.descriptors)
        return embeddings, np.zeros((len(codes), 0), np.float32)
    return (
        books[f"descriptor-{codes.descriptors.shape[1]}"].decode(codes.descriptors),
        books[f"coarse-{codes.coarse.shape[1]}"].decode(codes.coarse),
    )


@cache
def has_fast_bfloat16() -> bool:
    """Return whether the processor multiplies bfloat16 matrices in hardware; otherwise float32 is faster."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


class LandmarkIndex:
    """Matches keypoints with their nearest landmarks in one map, by Lowe's ratio test.

    A map of latents compares embeddings of the frozen decoder, another one descriptors. Short lists are made in the
    principal subspace of the map's landmarks, and then compared in full.
    """

    def __init__(self, neural_map: NeuralMap) -> None:
        self.points = neural_map.landmarks.points(neural_map.grid)
        self.offsets = neural_map.landmarks.offsets
        self.looks, coarse = landmark_descriptors(neural_map)
        self.embeddings = joint_descriptors(self.looks, coarse)
        _, axes = np.linalg.eigh((self.embeddings.T @ self.embeddings).astype(np.float64))
        self._basis = torch.from_numpy(np.ascontiguousarray(axes[:, ::-1][:, :MATCH_DIMENSIONS], dtype=np.float32))
        self._frozen = shipped_decoder() if neural_map.decoder_id else None
        self.min_similarity = self._frozen.min_similarity if self._frozen else DESCRIPTOR_SIMILARITY
        self._type = torch.bfloat16 if has_fast_bfloat16() else torch.float32
        self._table = (torch.from_numpy(self.embeddings) @ self._basis).to(self._type)

    def embed(self, features: Features) -> tuple[Float32Array, Float32Array]:
        """Return the embeddings (N, D) and looks (N, E) of features, as in :class:`Query`."""
        if self._frozen is None:
            return joint_descriptors(features.descriptors, features.coarse), features.descriptors
        embedded = self._frozen.embed(features.descriptors, features.coarse, features.size, features.angle)
        return embedded, embedded

    def shortlist(
        self, embeddings: Float32Array, voxels: IntArray | None, count: int
    ) -> tuple[Float32Array, IntArray] | None:
        """Return the similarities and the indices, each (N, ``count``), of the landmarks in ``voxels`` most similar to
        the keypoints ``embeddings`` (N, D), best first; None if there are fewer landmarks, or no keypoints.
        """
        rows = rows_of_voxels(self.offsets, voxels)
        table = self._table[rows]
        if len(table) < count or not len(embeddings):
            return None
        with torch.inference_mode():
            # not numpy: its threads and those of torch would compete
            shortened = (torch.from_numpy(embeddings) @ self._basis).to(self._type)
            parts = torch.split(shortened, min(COMPARED_AT_ONCE, max(1, SIMILARITIES_AT_ONCE // len(table))))
            index = torch.cat([top_columns(part @ table.T, count) for part in parts]).numpy()
        index = index + (rows.start or 0) if isinstance(rows, slice) else rows[index]
        similarity = np.einsum("nd,nkd->nk", embeddings, self.embeddings[index])
        order = np.argsort(-similarity, axis=1, kind="stable")
        return np.take_along_axis(similarity, order, axis=1), np.take_along_axis(index, order, axis=1)

    def match(self, query: Query, asked: IntArray, voxels: IntArray | None = None) -> Matches:
        """Match the query's keypoints ``asked`` (A,) with the landmarks in ``voxels``, indices into the map's grid
        (None: all); most confident first.
        """
        found = self.shortlist(query.embeddings[asked], voxels, SHORTLISTED)
        if found is None:
            return no_matches()
        similarity, candidates = found[0], self.points[found[1]]
        distance = np.sqrt(np.maximum(2 - 2 * similarity, 1e-9))
        elsewhere = np.linalg.norm(candidates - candidates[:, :1], axis=2) > SAME_PLACE_M
        second = np.where(elsewhere, distance, np.inf).min(axis=1)
        ratio = distance[:, 0] / np.where(np.isfinite(second), second, distance[:, -1])
        row = np.argsort(ratio, kind="stable")[: int((ratio < MAX_RATIO).sum())]
        confidence = np.clip(2 * (1 - ratio[row]), 0, 1).astype(np.float32)
        return Matches(asked[row], candidates[row, 0], confidence)


class TransformerMatcher:
    """Matches keypoints by the frozen transformer, which chooses among the most similar landmarks of each."""

    def __init__(self, landmarks: LandmarkIndex) -> None:
        self._landmarks = landmarks
        self._transformer = shipped_decoder().transformer

    def match(self, query: Query, asked: IntArray, voxels: IntArray | None = None) -> Matches:
        """Match the query's keypoints ``asked`` (A,), as :meth:`LandmarkIndex.match`; confidence is the lead."""
        embeddings = query.embeddings[asked]
        found = self._landmarks.shortlist(embeddings, voxels, CANDIDATES)
        if found is None:
            return no_matches()
        similarity, code = found
        points = self._landmarks.points[code]
        sight = Sighting(
            similarity=torch.from_numpy(similarity),
            code=torch.from_numpy(code),
            # relative to one landmark: far from the map's origin single precision is only good to centimetres
            points=torch.from_numpy((points - points[0, 0]).astype(np.float32)),
            latents=torch.from_numpy(self._landmarks.embeddings[code]),
            embeddings=torch.from_numpy(embeddings),
            rays=torch.from_numpy(query.rays[asked].astype(np.float32)),
        )
        with torch.inference_mode():
            sure, _ = leads(self._transformer.start(sight.similarity), sight.points)
            if sure.sum() < MIN_SURE:
                return no_matches()
            lead, best = leads(self._transformer(sight)[-1], sight.points)
        confidence, choice = lead.numpy(), best.numpy()
        likely = np.flatnonzero(confidence > MIN_LEAD)
        return Matches(asked[likely], points[likely, choice[likely]], confidence[likely])
