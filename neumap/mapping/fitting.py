"""The network and latents that are trained on the scene itself (``--decoder scratch``), and how.

Every keypoint of known 3D point in the mapping images is an example: its descriptors, disturbed as another view would
disturb them, must choose the anchor nearest to its point and the residual to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from neumap.arrays import IntArray
from neumap.localization.matching import landmark_descriptors
from neumap.mapping.keyframes import Keyframes
from neumap.mapping.tracks import Tracks
from neumap.maps.neural_map import NeuralMap
from neumap.model.codebooks import joint_descriptors
from neumap.model.network import (
    LATENT,
    RESIDUAL_M,
    NetworkCodes,
    NeuMapTransformer,
    SceneNetwork,
    keypoint_geometry,
    pack_weights,
)
from neumap.progress import Progress

# an anchor further from a keypoint's point than this is not an answer
REACH_M = RESIDUAL_M
CORRECT_M = 0.05


@dataclass(frozen=True)
class FitSettings:
    """How long and how hard to train. Steps are fixed, not seconds, so that the same seed gives the same map."""

    codes_per_voxel: int = 1024
    steps: int = 600
    batch: int = 2048
    learning_rate: float = 2e-3
    descriptor_noise: float = 0.35
    warmup: float = 0.05
    seed: int = 0


@dataclass(frozen=True)
class Examples:
    """N keypoints of known point: ``keypoint`` (N,) in the keyframes, ``points`` (N, 3) in the map."""

    keypoint: IntArray
    points: Tensor


def gather_examples(keyframes: Keyframes, tracks: Tracks) -> Examples:
    """All keypoints with a tracked point, and those with depth; the track's point where there are both.

    ``keyframes`` must carry the adjusted poses.
    """
    poses = keyframes.map_from_camera[keyframes.image]
    points = np.einsum("nij,nj->ni", poses[:, :3, :3], keyframes.rays3() * keyframes.depth[:, None]) + poses[:, :3, 3]
    known = keyframes.depth > 0
    points[tracks.keypoint] = tracks.points[tracks.track]
    known[tracks.keypoint] = True
    keypoint = np.flatnonzero(known)
    return Examples(keypoint, torch.from_numpy(points[keypoint].astype(np.float32)))


def choose_codes(neural_map: NeuralMap, per_voxel: int) -> tuple[IntArray, IntArray]:
    """Which landmarks (K,) become codes of the network, at most ``per_voxel`` each, and their offsets (V + 1,).

    Landmarks are stored most useful first, so it is the first of each voxel.
    """
    starts, ends = neural_map.landmarks.offsets[:-1], neural_map.landmarks.offsets[1:]
    chosen = [np.arange(a, min(b, a + per_voxel)) for a, b in zip(starts, ends, strict=True)]
    return np.concatenate(chosen), np.concatenate([[0], np.cumsum([len(c) for c in chosen])])


def fit_network(
    neural_map: NeuralMap,
    keyframes: Keyframes,
    tracks: Tracks,
    settings: FitSettings,
    progress: Progress = lambda *_: None,
) -> SceneNetwork:
    """Train network and latents for a map's landmarks on its keyframes (with adjusted poses).

    Cross-entropy over anchors, L1 on the residual, a Laplace likelihood of its spread, and binary cross-entropy on
    whether the choice was right; AdamW with warm-up and a cosine schedule. One voxel a step.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    torch.manual_seed(settings.seed)
    landmark, offsets = choose_codes(neural_map, settings.codes_per_voxel)
    fine, coarse = landmark_descriptors(neural_map)
    code_descriptors = torch.from_numpy(joint_descriptors(fine[landmark], coarse[landmark]))
    anchors = torch.from_numpy(neural_map.landmarks.points(neural_map.grid)[landmark].astype(np.float32))
    corner = torch.from_numpy(np.repeat(neural_map.grid.corners, np.diff(offsets), axis=0).astype(np.float32))
    in_voxel = (anchors - corner) / neural_map.grid.size_m
    examples = gather_examples(keyframes, tracks)
    shape = torch.from_numpy(keypoint_geometry(keyframes.size, keyframes.angle))
    share = torch.from_numpy(np.diff(offsets).astype(np.float64))

    network = NeuMapTransformer()
    latents = torch.nn.Parameter(0.1 * torch.randn(len(landmark), LATENT, generator=generator))
    groups: list[dict[str, Any]] = [{"params": network.parameters()}, {"params": [latents], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate)
    warm = max(1, int(settings.warmup * settings.steps))

    def rate(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + float(np.cos(np.pi * (step - warm) / max(1, settings.steps - warm)))) + 0.01

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    for step in range(settings.steps):
        voxel = int(torch.multinomial(share, 1, generator=generator))
        span = slice(int(offsets[voxel]), int(offsets[voxel + 1]))
        some = torch.randint(len(examples.keypoint), (settings.batch,), generator=generator)
        index = examples.keypoint[some.numpy()]
        descriptors = disturb(
            torch.from_numpy(keyframes.descriptors[index].astype(np.float32)),
            torch.from_numpy(keyframes.coarse[index].astype(np.float32)),
            settings.descriptor_noise,
            generator,
        )
        loss = decoding_loss(
            network,
            descriptors,
            turn_and_scale(shape[torch.from_numpy(index)], generator),
            examples.points[some],
            network.codes(code_descriptors[None, span], in_voxel[None, span], latents[None, span]),
            code_descriptors[None, span],
            anchors[span],
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([*network.parameters(), latents], 1.0)
        optimizer.step()
        schedule.step()
        progress("train", step + 1, settings.steps)
    scale = np.maximum(latents.detach().abs().amax(dim=0).numpy(), 1e-8).astype(np.float32) / 127
    latent = np.clip(np.rint(latents.detach().numpy() / scale), -127, 127).astype(np.int8)
    return SceneNetwork(pack_weights(network), NetworkCodes(offsets, landmark, latent, scale))


def disturb(fine: Tensor, coarse: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Joint descriptors (N, 256) as another view might have them: relative noise of random strength up to ``noise``."""
    parts = []
    for descriptor in (fine, coarse):
        strength = noise * torch.rand(len(descriptor), 1, generator=generator) / descriptor.shape[1] ** 0.5
        noisy = (descriptor + strength * torch.randn(descriptor.shape, generator=generator)).clamp_min(0)
        parts.append(functional.normalize(noisy, dim=1))
    return torch.from_numpy(joint_descriptors(parts[0].numpy(), parts[1].numpy()))


def turn_and_scale(shape: Tensor, generator: torch.Generator) -> Tensor:
    """Keypoint geometry (N, 3) as of a camera rolled by up to 25 degrees and moved nearer or farther by a third."""
    roll = (torch.rand(len(shape), generator=generator) * 2 - 1) * np.deg2rad(25)
    size = shape[:, 0] + (torch.rand(len(shape), generator=generator) * 2 - 1) * 0.3
    cos, sin = roll.cos(), roll.sin()
    return torch.stack([size, shape[:, 1] * cos + shape[:, 2] * sin, shape[:, 2] * cos - shape[:, 1] * sin], dim=1)


def decoding_loss(
    network: NeuMapTransformer,
    descriptors: Tensor,
    shape: Tensor,
    points: Tensor,
    codes: Tensor,
    code_descriptors: Tensor,
    anchors: Tensor,
) -> Tensor:
    """The training loss of N keypoints with points (N, 3) against one voxel's codes (1, K, D) at anchors (K, 3)."""
    distance = torch.cdist(points, anchors)
    nearest, target = distance.min(dim=1)
    answerable = nearest < REACH_M
    target = torch.where(answerable, target, len(anchors))
    choice = network(descriptors, shape, codes, code_descriptors)
    logits, tokens = choice.logits[0], choice.tokens[0]
    loss = functional.cross_entropy(logits, target)
    chosen = torch.where(answerable, target, 0)
    # a product with one-hot rows, because the gradient of indexing sums in an order that is not fixed
    one_hot = functional.one_hot(chosen, len(anchors)).to(codes.dtype)
    offset, sigma = network.offset(tokens, one_hot @ codes[0])
    residual = (offset - (points - anchors[chosen])).abs().sum(dim=1)
    # the likelihood teaches the spread; the plain L1 keeps the residual's own gradient where the spread is wide
    spread = (residual.detach() / sigma + sigma.log()) * answerable
    loss = loss + 10 * (residual * answerable).mean() + 0.1 * spread.mean()
    top, best = logits[:, :-1].softmax(dim=1).topk(2, dim=1)
    with torch.no_grad():
        correct = (distance.gather(1, best[:, :1])[:, 0] < CORRECT_M + REACH_M / 3) & answerable
    trust = network.confidence_logit(tokens, top.detach())
    return loss + 0.3 * functional.binary_cross_entropy_with_logits(trust, correct.float())
