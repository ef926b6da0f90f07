"""Decoders: from keypoints and a map's codes to hypotheses of where in the map each keypoint is.

All decoders answer through :class:`Hypotheses`, so that one PnP can draw on any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from neumap.arrays import BoolArray, Float32Array, FloatArray, IntArray
from neumap.features.sift import Features
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
# the transformer's guesses less certain than this only slow PnP down
MIN_CONFIDENCE, MAX_SIGMA_M = 0.1, 0.2
# of a tracked and adjusted point
LANDMARK_SIGMA_M = 0.01


@dataclass(frozen=True)
class Hypotheses:
    """H guesses: keypoint ``keypoint`` (H,) is at ``points`` (H, 3) metres in the map, with ``confidence`` (H,) in 0..1
    that it is right at all, and a standard deviation ``sigma_m`` (H,) of the point where it is.
    """

    keypoint: IntArray
    points: FloatArray
    confidence: Float32Array
    sigma_m: Float32Array

    def __len__(self) -> int:
        return len(self.keypoint)

    def select(self, chosen: BoolArray) -> Hypotheses:
        """Those where ``chosen`` (H,)."""
        return Hypotheses(self.keypoint[chosen], self.points[chosen], self.confidence[chosen], self.sigma_m[chosen])


def pool(parts: Sequence[Hypotheses]) -> Hypotheses:
    """All hypotheses of several decoders, most confident first."""
    keypoint = np.concatenate([p.keypoint for p in parts])
    points = np.concatenate([p.points for p in parts])
    confidence = np.concatenate([p.confidence for p in parts])
    sigma_m = np.concatenate([p.sigma_m for p in parts])
    order = np.argsort(-confidence, kind="stable")
    return Hypotheses(keypoint[order], points[order], confidence[order], sigma_m[order])


def no_hypotheses() -> Hypotheses:
    """Of no keypoints, or no codes."""
    line = np.zeros(0, np.float32)
    return Hypotheses(np.zeros(0, np.int64), np.zeros((0, 3)), line, line)


class Decoder(Protocol):
    """What turns keypoints into hypotheses with the codes of some voxels."""

    def decode(self, features: Features, voxels: IntArray | None, rays: FloatArray | None) -> Hypotheses:
        """Hypotheses of ``features`` from the codes of ``voxels`` (indices into the map's grid; None: all).

        ``rays`` (N, 2) are the keypoints' undistorted normalized coordinates.
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


class NearestDecoder:
    """Nearest landmark with Lowe's ratio test; the landmark's anchor is the coordinate.

    In a map for the frozen decoder, landmarks and keypoints are compared by its embeddings: one head of attention from
    keypoints to codes. Else by descriptors: a short list is found in the principal subspace of the map's own, and
    compared in full.
    """

    def __init__(self, neural_map: NeuralMap) -> None:
        self.points = neural_map.landmarks.points(neural_map.grid)
        self.offsets = neural_map.landmarks.offsets
        self.descriptors, coarse = landmark_descriptors(neural_map)
        self._joint = joint_descriptors(self.descriptors, coarse)
        _, axes = np.linalg.eigh((self._joint.T @ self._joint).astype(np.float64))
        self._basis = torch.from_numpy(np.ascontiguousarray(axes[:, ::-1][:, :MATCH_DIMENSIONS], dtype=np.float32))
        self._frozen = shipped_decoder() if neural_map.decoder_id else None
        self.min_similarity = self._frozen.min_similarity if self._frozen else MIN_SIMILARITY
        self._type = torch.bfloat16 if has_fast_bfloat16() else torch.float32
        self._table = (torch.from_numpy(self._joint) @ self._basis).to(self._type)

    def describe(self, features: Features) -> Features:
        """The features as this map compares them, which is what :meth:`decode` takes."""
        if self._frozen is None:
            return features
        embedded = self._frozen.embed(features.descriptors, features.coarse, features.size, features.angle)
        return replace(features, descriptors=embedded, coarse=embedded[:, :0])

    def shortlist(
        self, features: Features, voxels: IntArray | None, count: int
    ) -> tuple[Float32Array, FloatArray] | None:
        """Similarities (N, ``count``) of the landmarks most like each keypoint, best first, and their points
        (N, ``count``, 3); None where there are not so many landmarks, or no keypoints.
        """
        rows = rows_of_voxels(self.offsets, voxels)
        table = self._table[rows]
        if len(table) < count or not len(features):
            return None
        query = joint_descriptors(features.descriptors, features.coarse)
        with torch.inference_mode():
            # not with numpy: its own threads and torch's would wait for each other
            shortened = (torch.from_numpy(query) @ self._basis).to(self._type)
            parts = torch.split(shortened, min(AT_ONCE, max(1, MOST_AT_ONCE // len(table))))
            index = torch.cat([top_columns(part @ table.T, count) for part in parts]).numpy()
        index = index + (rows.start or 0) if isinstance(rows, slice) else rows[index]
        similarity = np.einsum("nd,nkd->nk", query, self._joint[index])
        order = np.argsort(-similarity, axis=1, kind="stable")
        index = np.take_along_axis(index, order, axis=1)
        return np.take_along_axis(similarity, order, axis=1), self.points[index]

    def decode(self, features: Features, voxels: IntArray | None = None, rays: FloatArray | None = None) -> Hypotheses:
        """See :class:`Decoder`; the most confident first."""
        found = self.shortlist(features, voxels, CANDIDATES)
        if found is None:
            return no_hypotheses()
        similarity, candidates = found
        distance = np.sqrt(np.maximum(2 - 2 * similarity, 1e-9))
        elsewhere = np.linalg.norm(candidates - candidates[:, :1], axis=2) > SAME_PLACE_M
        second = np.where(elsewhere, distance, np.inf).min(axis=1)
        ratio = distance[:, 0] / np.where(np.isfinite(second), second, distance[:, -1])
        keypoint = np.argsort(ratio, kind="stable")[: int((ratio < MAX_RATIO).sum())]
        confidence = np.clip(2 * (1 - ratio[keypoint]), 0, 1).astype(np.float32)
        sigma_m = np.full(len(keypoint), LANDMARK_SIGMA_M, np.float32)
        return Hypotheses(keypoint, candidates[keypoint, 0], confidence, sigma_m)


class AttentionDecoder:
    """The frozen attention on each keypoint's most similar landmarks: the likeliest one, and by how much it leads."""

    def __init__(self, nearest: NearestDecoder) -> None:
        self._nearest = nearest
        self._attention = shipped_decoder().attention

    def decode(self, features: Features, voxels: IntArray | None = None, rays: FloatArray | None = None) -> Hypotheses:
        """See :class:`Decoder`; ``features`` as the nearest decoder describes them. Raises ValueError without rays."""
        if rays is None:
            raise ValueError("attention needs the keypoints' rays")
        found = self._nearest.shortlist(features, voxels, attention.CANDIDATES)
        if found is None:
            return no_hypotheses()
        similarity, candidates = found
        # relative to the scene: far from a map's origin single precision is centimetres
        points = torch.from_numpy((candidates - candidates[0, 0]).astype(np.float32))
        with torch.inference_mode():
            alike = torch.from_numpy(similarity)
            sure, _ = attention.leads(self._attention.start(alike), points)
            if sure.sum() < MIN_SURE:
                return no_hypotheses()
            seen = torch.from_numpy(rays.astype(np.float32))
            lead, best = attention.leads(self._attention(alike, points, seen)[-1], points)
        confidence, choice = lead.numpy(), best.numpy()
        likely = np.flatnonzero(confidence > MIN_ATTENTION)
        return Hypotheses(
            keypoint=likely,
            points=candidates[likely, choice[likely]],
            confidence=confidence[likely],
            sigma_m=np.full(len(likely), LANDMARK_SIGMA_M, np.float32),
        )


class TransformerDecoder:
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

    def decode(self, features: Features, voxels: IntArray | None = None, rays: FloatArray | None = None) -> Hypotheses:
        """See :class:`Decoder`. All voxels are decoded in one batch, the smaller ones padded."""
        chosen = np.arange(len(self._offsets) - 1) if voxels is None else np.unique(voxels)
        chosen = chosen[np.diff(self._offsets)[chosen] >= 2]
        if not len(chosen) or not len(features):
            return no_hypotheses()
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
        return Hypotheses(
            np.ascontiguousarray(keypoint[useful]),
            points.numpy()[useful].astype(np.float64),
            confidence.numpy()[useful],
            sigma.numpy()[useful],
        )
