"""From keypoints and a map's codes to matches: where in the map each keypoint is."""

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

# MATCH_DIMENSIONS: principal axes of a map's own landmarks that short lists are made by; of latents they are all.
MATCH_DIMENSIONS = 96
# DESCRIPTOR_SIMILARITY: where a pose says that a landmark is, a keypoint at least so similar shows it, in a map of
# descriptors; the frozen decoder brings a similarity of its own.
DESCRIPTOR_SIMILARITY = 0.75
# SHORTLISTED: landmarks that each keypoint is compared with in full; the second best tells how clear the best is.
SHORTLISTED = 4
# MAX_RATIO: a landmark that is more than this share as far in looks as the best one elsewhere is no match (Lowe's
# test).
MAX_RATIO = 0.95
# GROUP: columns of similarities whose maximum is taken before any of them is looked at.
GROUP = 16
# COMPARED_AT_ONCE: keypoints compared together, with SIMILARITIES_AT_ONCE at most: more are written to memory and read
# again, and above 32 MB that memory is new each time, which costs twice what computing them does.
COMPARED_AT_ONCE, SIMILARITIES_AT_ONCE = 128, 2**22
# MIN_LEAD: by how much an answer of the transformer must be likelier than any other place.
MIN_LEAD = 0.05
# MIN_SURE: what similarities alone must tell apart, summed over keypoints, for the transformer to be believed: between
# two rooms that look the same one keypoint that happens to prefer one would else decide for all.
MIN_SURE = 3.0


@dataclass(frozen=True)
class Matches:
    """M matches: keypoint ``keypoint`` (M,) is at ``points`` (M, 3) metres in the map, with ``confidence`` (M,) in 0..1
    that it is right.
    """

    keypoint: IntArray
    points: FloatArray
    confidence: Float32Array

    def __len__(self) -> int:
        return len(self.keypoint)

    def select(self, chosen: BoolArray) -> Matches:
        """Return those where ``chosen`` (M,)."""
        return Matches(self.keypoint[chosen], self.points[chosen], self.confidence[chosen])


def pool(parts: Sequence[Matches]) -> Matches:
    """Return all matches of several matchers, most confident first."""
    keypoint = np.concatenate([p.keypoint for p in parts])
    points = np.concatenate([p.points for p in parts])
    confidence = np.concatenate([p.confidence for p in parts])
    order = np.argsort(-confidence, kind="stable")
    return Matches(keypoint[order], points[order], confidence[order])


def no_matches() -> Matches:
    """Return matches of no keypoints, or with no codes."""
    return Matches(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros(0, np.float32))


def rows_of_voxels(offsets: IntArray, voxels: IntArray | None) -> slice | IntArray:
    """Tell which rows of arrays ordered by voxel belong to ``voxels`` (None: all); without a copy of those arrays where
    they are together.
    """
    if voxels is None:
        return slice(None)
    if len(voxels) == 1:
        return slice(int(offsets[voxels[0]]), int(offsets[voxels[0] + 1]))
    parts = [np.arange(offsets[v], offsets[v + 1]) for v in np.unique(voxels)]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def top_columns(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Return the columns (N, ``count``) of the largest of ``scores`` (N, L) in each row, best first.

    As ``topk``, in 0.6 of the time where there are many: the largest are in the groups of columns with the largest
    maxima, and only these are looked through. A group's columns are far apart, so that maxima are taken row by row.
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
    """Return the descriptors and the coarse descriptors (L, 128) of a map's landmarks, out of their codes.

    In a map for the frozen decoder they are embeddings (L, 64) and nothing (L, 0).
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
    """Tell whether this processor multiplies bfloat16 matrices in hardware; elsewhere they are slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


class LandmarkIndex:
    """The landmarks of one map as keypoints are compared with them, and matching by them: the nearest landmark, with
    Lowe's ratio test.

    In a map for the frozen decoder, landmarks and keypoints are compared by its embeddings. Else by descriptors: a
    short list is found in the principal subspace of the map's own, and compared in full.
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
        """Make the embeddings (N, D) and looks (N, E) of an image's features, as of :class:`Query`."""
        if self._frozen is None:
            return joint_descriptors(features.descriptors, features.coarse), features.descriptors
        embedded = self._frozen.embed(features.descriptors, features.coarse, features.size, features.angle)
        return embedded, embedded

    def shortlist(
        self, embeddings: Float32Array, voxels: IntArray | None, count: int
    ) -> tuple[Float32Array, IntArray] | None:
        """Return similarities (N, ``count``) of the landmarks most like each of the keypoints ``embeddings`` (N, D),
        best first, and which (N, ``count``) these are; None where there are not so many landmarks, or no keypoints.
        """
        rows = rows_of_voxels(self.offsets, voxels)
        table = self._table[rows]
        if len(table) < count or not len(embeddings):
            return None
        with torch.inference_mode():
            # not with numpy: its own threads and torch's would wait for each other
            shortened = (torch.from_numpy(embeddings) @ self._basis).to(self._type)
            parts = torch.split(shortened, min(COMPARED_AT_ONCE, max(1, SIMILARITIES_AT_ONCE // len(table))))
            index = torch.cat([top_columns(part @ table.T, count) for part in parts]).numpy()
        index = index + (rows.start or 0) if isinstance(rows, slice) else rows[index]
        similarity = np.einsum("nd,nkd->nk", embeddings, self.embeddings[index])
        order = np.argsort(-similarity, axis=1, kind="stable")
        return np.take_along_axis(similarity, order, axis=1), np.take_along_axis(index, order, axis=1)

    def match(self, query: Query, asked: IntArray, voxels: IntArray | None = None) -> Matches:
        """Return the nearest landmarks of the query's keypoints ``asked`` (A,), most confident first, among those of
        some ``voxels`` (indices into the map's grid; None: all).
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
    """The frozen transformer on each keypoint's most similar landmarks: the likeliest one, and by how much it leads."""

    def __init__(self, landmarks: LandmarkIndex) -> None:
        self._landmarks = landmarks
        self._transformer = shipped_decoder().transformer

    def match(self, query: Query, asked: IntArray, voxels: IntArray | None = None) -> Matches:
        """Return the likeliest landmarks of the query's keypoints ``asked`` (A,), as of :meth:`LandmarkIndex.match`."""
        embeddings = query.embeddings[asked]
        found = self._landmarks.shortlist(embeddings, voxels, CANDIDATES)
        if found is None:
            return no_matches()
        similarity, code = found
        points = self._landmarks.points[code]
        told = Sighting(
            similarity=torch.from_numpy(similarity),
            code=torch.from_numpy(code),
            # relative to the scene: far from a map's origin single precision is centimetres
            points=torch.from_numpy((points - points[0, 0]).astype(np.float32)),
            latents=torch.from_numpy(self._landmarks.embeddings[code]),
            embeddings=torch.from_numpy(embeddings),
            rays=torch.from_numpy(query.rays[asked].astype(np.float32)),
        )
        with torch.inference_mode():
            sure, _ = leads(self._transformer.start(told.similarity), told.points)
            if sure.sum() < MIN_SURE:
                return no_matches()
            lead, best = leads(self._transformer(told)[-1], told.points)
        confidence, choice = lead.numpy(), best.numpy()
        likely = np.flatnonzero(confidence > MIN_LEAD)
        return Matches(asked[likely], points[likely, choice[likely]], confidence[likely])
