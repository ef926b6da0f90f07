"""From keypoints and a map's codes to matches: where in the map each keypoint is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from neumap.arrays import BoolArray, Float32Array, FloatArray, IntArray
from neumap.features.sift import Features
from neumap.localization.query import Query
from neumap.maps.neural_map import NeuralMap
from neumap.model import attention
from neumap.model.codebooks import joint_descriptors, shipped_codebooks
from neumap.model.decoder import shipped_decoder
from neumap.model.network import token_geometry, unpack_weights

MATCH_DIMENSIONS = 96
# where a pose says that a landmark is, a keypoint at least so much like it is that landmark; a frozen decoder brings a
# similarity of its own for that
MIN_SIMILARITY = 0.75
CANDIDATES = 4
# columns of similarities that are looked through together
GROUP = 16
# of so many keypoints, and so many similarities at most, are computed together: more are written to memory and read
# again, and above 32 MB that memory is new each time, which costs twice what computing them does
AT_ONCE, MOST_AT_ONCE = 128, 2**22
# a runner-up this close to the best is the same place, and says nothing about ambiguity
SAME_PLACE_M = 0.15
MAX_RATIO = 0.95
# by how much an answer must be likelier than any other place
MIN_ATTENTION = 0.05
# what similarities alone must tell apart, summed over keypoints: between two rooms that look the same one keypoint that
# happens to prefer one would else decide for all
MIN_SURE = 3.0
# matches of a network that are less certain than this only slow PnP down
MIN_CONFIDENCE, MAX_SIGMA_M = 0.1, 0.2
# of a tracked and adjusted point
LANDMARK_SIGMA_M = 0.01


@dataclass(frozen=True)
class Matches:
    """M matches: keypoint ``keypoint`` (M,) is at ``points`` (M, 3) metres in the map, with ``confidence`` (M,) in 0..1
    that it is right at all, and a standard deviation ``sigma_m`` (M,) of the point where it is.
    """

    keypoint: IntArray
    points: FloatArray
    confidence: Float32Array
    sigma_m: Float32Array

    def __len__(self) -> int:
        return len(self.keypoint)

    def select(self, chosen: BoolArray) -> Matches:
        """Those where ``chosen`` (M,)."""
        return Matches(self.keypoint[chosen], self.points[chosen], self.confidence[chosen], self.sigma_m[chosen])


def pool(parts: Sequence[Matches]) -> Matches:
    """All matches of several matchers, most confident first."""
    keypoint = np.concatenate([p.keypoint for p in parts])
    points = np.concatenate([p.points for p in parts])
    confidence = np.concatenate([p.confidence for p in parts])
    sigma_m = np.concatenate([p.sigma_m for p in parts])
    order = np.argsort(-confidence, kind="stable")
    return Matches(keypoint[order], points[order], confidence[order], sigma_m[order])


def no_matches() -> Matches:
    """Of no keypoints, or no codes."""
    line = np.zeros(0, np.float32)
    return Matches(np.zeros(0, np.int64), np.zeros((0, 3)), line, line)


class Matcher(Protocol):
    """What matches keypoints with places in the map."""

    def match(self, query: Query, asked: IntArray, voxels: IntArray | None = None) -> Matches:
        """Matches of the query's keypoints ``asked`` (A,) with what some ``voxels`` hold (indices into the map's grid;
        None: all).
        """
        ...


def rows_of_voxels(offsets: IntArray, voxels: IntArray | None) -> slice | IntArray:
    """Which rows of arrays ordered by voxel belong to ``voxels`` (None: all); without a copy of those arrays where they
    are together.
    """
    if voxels is None:
        return slice(None)
    if len(voxels) == 1:
        return slice(int(offsets[voxels[0]]), int(offsets[voxels[0] + 1]))
    parts = [np.arange(offsets[v], offsets[v + 1]) for v in np.unique(voxels)]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def top_columns(scores: torch.Tensor, count: int) -> torch.Tensor:
    """The columns (N, ``count``) of the largest of ``scores`` (N, L) in each row, best first.

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
    """The descriptors and the coarse descriptors (L, 128) of a map's landmarks, out of their codes.

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
    """Whether this processor multiplies bfloat16 matrices in hardware; elsewhere they are slower than float32."""
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
        self._embeddings = joint_descriptors(self.looks, coarse)
        _, axes = np.linalg.eigh((self._embeddings.T @ self._embeddings).astype(np.float64))
        self._basis = torch.from_numpy(np.ascontiguousarray(axes[:, ::-1][:, :MATCH_DIMENSIONS], dtype=np.float32))
        self._frozen = shipped_decoder() if neural_map.decoder_id else None
        self.min_similarity = self._frozen.min_similarity if self._frozen else MIN_SIMILARITY
        self._type = torch.bfloat16 if has_fast_bfloat16() else torch.float32
        self._table = (torch.from_numpy(self._embeddings) @ self._basis).to(self._type)

    def embed(self, features: Features) -> tuple[Float32Array, Float32Array]:
        """The embeddings (N, D) and looks (N, E) of an image's features, as of :class:`Query`."""
        if self._frozen is None:
            return joint_descriptors(features.descriptors, features.coarse), features.descriptors
        embedded = self._frozen.embed(features.descriptors, features.coarse, features.size, features.angle)
        return embedded, embedded

    def shortlist(
        self, embeddings: Float32Array, voxels: IntArray | None, count: int
    ) -> tuple[Float32Array, FloatArray] | None:
        """Similarities (N, ``count``) of the landmarks most like each of the keypoints ``embeddings`` (N, D), best
        first, and their points (N, ``count``, 3); None where there are not so many landmarks, or no keypoints.
        """
        rows = rows_of_voxels(self.offsets, voxels)
        table = self._table[rows]
        if len(table) < count or not len(embeddings):
            return None
        with torch.inference_mode():
            # not with numpy: its own threads and torch's would wait for each other
            shortened = (torch.from_numpy(embeddings) @ self._basis).to(self._type)
            parts = torch.split(shortened, min(AT_ONCE, max(1, MOST_AT_ONCE // len(table))))
            index = torch.cat([top_columns(part @ table.T, count) for part in parts]).numpy()
        index = index + (rows.start or 0) if isinstance(rows, slice) else rows[index]
        similarity = np.einsum("nd,nkd->nk", embeddings, self._embeddings[index])
        order = np.argsort(-similarity, axis=1, kind="stable")
        index = np.take_along_axis(index, order, axis=1)
        return np.take_along_axis(similarity, order, axis=1), self.points[index]

    def match(self, query: Query, asked: IntArray, voxels: IntArray | None = None) -> Matches:
        """See :class:`Matcher`; the most confident first."""
        found = self.shortlist(query.embeddings[asked], voxels, CANDIDATES)
        if found is None:
            return no_matches()
        similarity, candidates = found
        distance = np.sqrt(np.maximum(2 - 2 * similarity, 1e-9))
        elsewhere = np.linalg.norm(candidates - candidates[:, :1], axis=2) > SAME_PLACE_M
        second = np.where(elsewhere, distance, np.inf).min(axis=1)
        ratio = distance[:, 0] / np.where(np.isfinite(second), second, distance[:, -1])
        row = np.argsort(ratio, kind="stable")[: int((ratio < MAX_RATIO).sum())]
        confidence = np.clip(2 * (1 - ratio[row]), 0, 1).astype(np.float32)
        return Matches(asked[row], candidates[row, 0], confidence, np.full(len(row), LANDMARK_SIGMA_M, np.float32))


class AttentionMatcher:
    """The frozen attention on each keypoint's most similar landmarks: the likeliest one, and by how much it leads."""

    def __init__(self, landmarks: LandmarkIndex) -> None:
        self._landmarks = landmarks
        self._attention = shipped_decoder().attention

    def match(self, query: Query, asked: IntArray, voxels: IntArray | None = None) -> Matches:
        """See :class:`Matcher`."""
        found = self._landmarks.shortlist(query.embeddings[asked], voxels, attention.CANDIDATES)
        if found is None:
            return no_matches()
        similarity, candidates = found
        # relative to the scene: far from a map's origin single precision is centimetres
        points = torch.from_numpy((candidates - candidates[0, 0]).astype(np.float32))
        with torch.inference_mode():
            alike = torch.from_numpy(similarity)
            sure, _ = attention.leads(self._attention.start(alike), points)
            if sure.sum() < MIN_SURE:
                return no_matches()
            seen = torch.from_numpy(query.rays[asked].astype(np.float32))
            lead, best = attention.leads(self._attention(alike, points, seen)[-1], points)
        confidence, choice = lead.numpy(), best.numpy()
        likely = np.flatnonzero(confidence > MIN_ATTENTION)
        return Matches(
            keypoint=asked[likely],
            points=candidates[likely, choice[likely]],
            confidence=confidence[likely],
            sigma_m=np.full(len(likely), LANDMARK_SIGMA_M, np.float32),
        )


class SceneMatcher:
    """A transformer trained on this scene: each keypoint's two most likely anchors, moved by the residual."""

    def __init__(self, neural_map: NeuralMap) -> None:
        if neural_map.network is None:
            raise ValueError("the map holds no network")
        codes = neural_map.network.codes
        self._network = unpack_weights(neural_map.network.weights)
        self._offsets = codes.offsets
        fine, coarse = landmark_descriptors(neural_map)
        self._descriptors = torch.from_numpy(joint_descriptors(fine[codes.landmark], coarse[codes.landmark]))
        points = neural_map.landmarks.points(neural_map.grid)[codes.landmark]
        self._anchors = torch.from_numpy(points.astype(np.float32))
        corners = np.repeat(neural_map.grid.corners, np.diff(codes.offsets), axis=0)
        in_voxel = torch.from_numpy(((points - corners) / neural_map.grid.size_m).astype(np.float32))
        latents = torch.from_numpy(codes.latent.astype(np.float32) * codes.scale)
        with torch.inference_mode():
            self._codes = self._network.codes(self._descriptors[None], in_voxel[None], latents[None])[0]

    def match(self, query: Query, asked: IntArray, voxels: IntArray | None = None) -> Matches:
        """See :class:`Matcher`. All voxels are decoded in one batch, the smaller ones padded."""
        features = query.features.select(asked)
        chosen = np.arange(len(self._offsets) - 1) if voxels is None else np.unique(voxels)
        chosen = chosen[np.diff(self._offsets)[chosen] >= 2]
        if not len(chosen) or not len(features):
            return no_matches()
        lengths = np.diff(self._offsets)[chosen]
        column = np.arange(lengths.max())
        present = column < lengths[:, None]
        rows = torch.from_numpy(np.where(present, self._offsets[chosen][:, None] + column, 0))
        descriptors = torch.from_numpy(joint_descriptors(features.descriptors, features.coarse))
        with torch.inference_mode():
            codes = self._codes[rows]
            padding = None if present.all() else torch.from_numpy(present)
            choice = self._network(
                descriptors, torch.from_numpy(token_geometry(features)), codes, self._descriptors[rows], padding
            )
            probability, best = choice.logits[..., :-1].softmax(dim=-1).topk(2, dim=-1)
            trust = self._network.confidence_logit(choice.tokens, probability).sigmoid()
            v = torch.arange(len(chosen))[:, None, None]
            offset, sigma = self._network.offset(choice.tokens[:, :, None].expand(-1, -1, 2, -1), codes[v, best])
            points = self._anchors[rows[v, best]] + offset
            confidence = trust[..., None] * probability / probability.sum(dim=-1, keepdim=True).clamp_min(1e-6)
        keypoint = np.broadcast_to(np.arange(len(features))[None, :, None], confidence.shape)
        useful = (confidence.numpy() > MIN_CONFIDENCE) & (sigma.numpy() < MAX_SIGMA_M)
        return Matches(
            asked[keypoint[useful]],
            points.numpy()[useful].astype(np.float64),
            confidence.numpy()[useful],
            sigma.numpy()[useful],
        )
