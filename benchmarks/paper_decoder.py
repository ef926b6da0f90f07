"""NeuMap's own decoder, trained on each scene by itself: a yardstick for the product's, which is trained once.

Tang et al., "NeuMap: Neural Coordinate Mapping by Auto-Transdecoder for Camera Localization" (CVPR 2023). Keypoint
tokens attend to a voxel's codes and tell where they are in the map; PnP makes a pose of that. Three things differ from
the paper. Codes are anchored: each stands at a landmark, so a coordinate is a choice among anchors plus a small
residual instead of a regression from nothing. The choice starts from the similarity of descriptors, which attention
corrects. And a code starts from its landmark's descriptor; only a small latent per code is learned.

The weights know nothing of a scene; a scene is the codes: anchors, descriptors and latents.

    tensor                              shape
    tokens      descriptors, shape      (N, 256 + 3) -> (N, D)
    codes       landmark descriptors    (V, K, 256), anchors (V, K, 3), latents (V, K, 32) -> (V, K, D)
    block x B   cross-attention, MLP    (V, N, D)
    logits      choice of anchor        (V, N, K + 1), the last is "none of these"
    residual    from the anchor, metres (V, N, 3) for a chosen code, and its standard deviation (V, N)

    place = survey(frames, MappingSettings())
    paper = PaperMap(place, map_of(place, MappingSettings(decoder="descriptor")))
    pose = paper.localize(image, camera)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from neumap.arrays import FloatArray, ImageArray, IntArray
from neumap.geometry import se3
from neumap.localization.localizer import Localizer
from neumap.localization.matching import LandmarkIndex, Matches
from neumap.localization.pnp import RansacSettings, ransac_pose
from neumap.localization.query import Query
from neumap.localization.timing import stage
from neumap.mapping.survey import Survey
from neumap.maps.map_file import to_bytes
from neumap.maps.neural_map import NeuralMap
from neumap.model.encoder import keypoint_shape
from neumap.progress import Progress
from neumap.records import Camera
from neumap.training.examples import joint_of

# DESCRIPTOR, SHAPE: numbers that describe a keypoint; WIDTH: of a token; LATENT: learned for each code.
DESCRIPTOR, SHAPE, WIDTH, LATENT = 256, 3, 128, 32
HEADS, BLOCKS, FREQUENCIES = 4, 2, 6
# RESIDUAL_M: how far a coordinate may be from its anchor, metres, and how near an anchor must be to be an answer.
RESIDUAL_M = 0.3
# CORRECT_M: a choice within this of the point, metres, and a third of RESIDUAL_M, counts as right.
CORRECT_M = 0.05
# MIN_CONFIDENCE, MAX_SIGMA_M: answers less certain only slow PnP down.
MIN_CONFIDENCE, MAX_SIGMA_M = 0.1, 0.2
# ANSWERS: of each keypoint and voxel, the likeliest.
ANSWERS = 2


class Choice(NamedTuple):
    """What the decoder says of each token and voxel: ``logits`` (V, N, K + 1) and the decoded ``tokens`` (V, N, D)."""

    logits: Tensor
    tokens: Tensor


class Block(nn.Module):
    """Cross-attention to the codes, then an MLP; both residual, normalized before."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_query = nn.LayerNorm(WIDTH)
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key_value = nn.Linear(WIDTH, 2 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.norm_mlp = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, tokens: Tensor, codes: Tensor, mask: Tensor | None) -> Tensor:
        v, n, _ = tokens.shape
        q = self.query(self.norm_query(tokens)).view(v, n, HEADS, -1).transpose(1, 2)
        k, value = self.key_value(codes).view(v, codes.shape[1], 2 * HEADS, -1).transpose(1, 2).chunk(2, dim=1)
        seen = functional.scaled_dot_product_attention(q, k, value, attn_mask=mask)
        tokens = tokens + self.out(seen.transpose(1, 2).reshape(v, n, WIDTH))
        return tokens + self.mlp(self.norm_mlp(tokens))  # type: ignore[no-any-return]


class NeuMapTransformer(nn.Module):
    """The decoder network; see the table at the top of this module."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_token = nn.Linear(DESCRIPTOR + SHAPE, WIDTH)
        self.embed_code = nn.Linear(DESCRIPTOR, WIDTH)
        self.embed_anchor = nn.Linear(6 * FREQUENCIES, WIDTH)
        self.embed_latent = nn.Linear(LATENT, WIDTH, bias=False)
        self.norm_code = nn.LayerNorm(WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.norm_out = nn.LayerNorm(WIDTH)
        self.choose_query = nn.Linear(WIDTH, WIDTH)
        self.choose_key = nn.Linear(WIDTH, WIDTH)
        self.similarity_scale = nn.Parameter(torch.tensor(20.0))
        self.none_logit = nn.Linear(WIDTH, 1)
        step = nn.Linear(WIDTH, 4)
        self.residual = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.GELU(), step)
        self.trust = nn.Sequential(nn.Linear(WIDTH + 2, 32), nn.GELU(), nn.Linear(32, 1))
        # the choice starts as the descriptors' own
        nn.init.zeros_(self.choose_query.weight)
        nn.init.zeros_(self.choose_query.bias)
        nn.init.zeros_(step.weight)
        nn.init.zeros_(step.bias)

    def codes(self, descriptors: Tensor, anchors: Tensor, latents: Tensor) -> Tensor:
        """Code tokens (V, K, D) of descriptors (V, K, 256), anchors (V, K, 3) in voxels 0..1, latents (V, K, 32)."""
        waves = anchors[..., None] * (torch.pi * 2.0 ** torch.arange(FREQUENCIES, device=anchors.device))
        position = torch.cat([waves.sin(), waves.cos()], dim=-1).flatten(-2)
        embedded: Tensor = self.norm_code(
            self.embed_code(descriptors) + self.embed_anchor(position) + self.embed_latent(latents)
        )
        return embedded

    def forward(
        self,
        descriptors: Tensor,
        shape: Tensor,
        codes: Tensor,
        code_descriptors: Tensor,
        present: Tensor | None = None,
    ) -> Choice:
        """The choice of anchors for descriptors (N, 256) with shapes (N, 3) among codes (V, K, D).

        ``present`` (V, K) is false for codes that only pad a voxel.
        """
        tokens = self.embed_token(torch.cat([descriptors, shape], dim=-1)).expand(len(codes), -1, -1)
        mask = None if present is None else present[:, None, None, :]
        for block in self.blocks:
            tokens = block(tokens, codes, mask)
        tokens = self.norm_out(tokens)
        attended = self.choose_query(tokens) @ self.choose_key(codes).transpose(1, 2) / WIDTH**0.5
        similarity = descriptors @ code_descriptors.transpose(1, 2)
        logits = attended + self.similarity_scale * similarity
        if present is not None:
            logits = logits.masked_fill(~present[:, None, :], -1e4)
        none = self.none_logit(tokens) + 0.8 * self.similarity_scale
        return Choice(torch.cat([logits, none], dim=-1), tokens)

    def offset(self, tokens: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Residuals (..., 3) in metres from the anchors of ``chosen`` code tokens (..., D), for decoded tokens
        (..., D), and their standard deviations (...) in metres.
        """
        out = self.residual(torch.cat([tokens, chosen], dim=-1))
        return RESIDUAL_M * torch.tanh(out[..., :3]), 0.1 * out[..., 3].clamp(-5, 3).exp()

    def confidence_logit(self, tokens: Tensor, top: Tensor) -> Tensor:
        """Logit (...) that the best choice is right, of decoded tokens (..., D) and two probabilities (..., 2)."""
        evidence: Tensor = self.trust(torch.cat([tokens, top.clamp_min(1e-6).log()], dim=-1))
        return evidence[..., 0]


def round_weights(module: nn.Module) -> int:
    """Round parameters to what a file would hold, and tell how many bytes that takes: matrices as int8 with a float16
    scale per row, the rest as float16.
    """
    size = 0
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 2 and parameter.numel() > 1024:
                scale = parameter.abs().amax(dim=1, keepdim=True).clamp_min(1e-6).half().float() / 127
                parameter.copy_((parameter / scale).round().clamp(-127, 127) * scale)
                size += parameter.numel() + 2 * len(parameter)
            else:
                parameter.copy_(parameter.half().float())
                size += 2 * parameter.numel()
    return size


@dataclass(frozen=True)
class FitSettings:
    """How long and how hard to train. Steps are fixed, not seconds, so that the same seed gives the same codes."""

    codes_per_voxel: int = 1024
    steps: int = 600
    batch: int = 2048
    learning_rate: float = 2e-3
    descriptor_noise: float = 0.35
    warmup: float = 0.05
    seed: int = 0


class PaperMap:
    """A scene's codes, at the first landmarks of each voxel of a map of descriptors, and the network trained on it."""

    def __init__(
        self,
        place: Survey,
        neural_map: NeuralMap,
        settings: FitSettings | None = None,
        progress: Progress = lambda *_: None,
    ) -> None:
        """Train on the survey that ``neural_map`` was made of.

        Cross-entropy over anchors, L1 on the residual, a Laplace likelihood of its spread, and binary cross-entropy on
        whether the choice was right; AdamW with warm-up and a cosine schedule. One voxel a step.
        """
        settings = settings or FitSettings()
        self._localizer = Localizer(neural_map)
        index = LandmarkIndex(neural_map)
        starts, ends = index.offsets[:-1], index.offsets[1:]
        # landmarks are stored most useful first
        chosen = [np.arange(a, min(b, a + settings.codes_per_voxel)) for a, b in zip(starts, ends, strict=True)]
        landmark = np.concatenate(chosen)
        self._offsets = np.concatenate([[0], np.cumsum([len(c) for c in chosen])])
        self._descriptors = torch.from_numpy(index.embeddings[landmark])
        self._anchors = torch.from_numpy(index.points[landmark].astype(np.float32))
        corner = np.repeat(neural_map.grid.corners, np.diff(self._offsets), axis=0)
        in_voxel = (index.points[landmark] - corner) / neural_map.grid.size_m
        self._in_voxel = torch.from_numpy(in_voxel.astype(np.float32))
        self._network, latents = self._fit(place, settings, progress)
        self.size_bytes = len(to_bytes(neural_map)) + round_weights(self._network) + latents.numel()
        scale = latents.abs().amax(dim=0).clamp_min(1e-8) / 127
        with torch.inference_mode():
            rounded = (latents / scale).round() * scale
            self._codes = self._network.codes(self._descriptors[None], self._in_voxel[None], rounded[None])[0]

    def _fit(self, place: Survey, settings: FitSettings, progress: Progress) -> tuple[NeuMapTransformer, Tensor]:
        """The network, and the latents (K, 32)."""
        generator = torch.Generator().manual_seed(settings.seed)
        torch.manual_seed(settings.seed)
        keyframes = place.keyframes
        keypoint, points = known_points(place)
        shape = torch.from_numpy(keypoint_shape(keyframes.size, keyframes.angle))
        share = torch.from_numpy(np.diff(self._offsets).astype(np.float64))
        network = NeuMapTransformer()
        latents = nn.Parameter(0.1 * torch.randn(len(self._anchors), LATENT, generator=generator))
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
            span = slice(int(self._offsets[voxel]), int(self._offsets[voxel + 1]))
            some = torch.randint(len(keypoint), (settings.batch,), generator=generator)
            index = keypoint[some.numpy()]
            descriptors = disturb(
                torch.from_numpy(keyframes.descriptors[index].astype(np.float32)),
                torch.from_numpy(keyframes.coarse[index].astype(np.float32)),
                settings.descriptor_noise,
                generator,
            )
            codes = network.codes(self._descriptors[None, span], self._in_voxel[None, span], latents[None, span])
            seen = turn_and_scale(shape[torch.from_numpy(index)], generator)
            choice = network(descriptors, seen, codes, self._descriptors[None, span])
            loss = decoding_loss(network, choice, codes, points[some], self._anchors[span])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_([*network.parameters(), latents], 1.0)
            optimizer.step()
            schedule.step()
            progress("train", step + 1, settings.steps)
        return network.eval().requires_grad_(False), latents.detach()

    def match(self, query: Query, voxels: IntArray) -> Matches:
        """Each keypoint's likeliest anchors, moved by the residual. All voxels are decoded in one batch, the smaller
        ones padded.
        """
        lengths = np.diff(self._offsets)[voxels]
        column = np.arange(lengths.max())
        present = column < lengths[:, None]
        rows = torch.from_numpy(np.where(present, self._offsets[voxels][:, None] + column, 0))
        shape = torch.from_numpy(keypoint_shape(query.features.size, query.features.angle))
        with torch.inference_mode():
            codes = self._codes[rows]
            padding = None if present.all() else torch.from_numpy(present)
            descriptors = torch.from_numpy(query.embeddings)
            choice = self._network(descriptors, shape, codes, self._descriptors[rows], padding)
            probability, best = choice.logits[..., :-1].softmax(dim=-1).topk(ANSWERS, dim=-1)
            trust = self._network.confidence_logit(choice.tokens, probability).sigmoid()
            v = torch.arange(len(voxels))[:, None, None]
            tokens = choice.tokens[:, :, None].expand(-1, -1, ANSWERS, -1)
            offset, sigma = self._network.offset(tokens, codes[v, best])
            points = self._anchors[rows[v, best]] + offset
            confidence = trust[..., None] * probability / probability.sum(dim=-1, keepdim=True).clamp_min(1e-6)
        keypoint = np.broadcast_to(np.arange(len(query))[None, :, None], confidence.shape)
        useful = (confidence.numpy() > MIN_CONFIDENCE) & (sigma.numpy() < MAX_SIGMA_M)
        order = np.argsort(-confidence.numpy()[useful], kind="stable")
        return Matches(
            keypoint[useful][order],
            points.numpy()[useful][order].astype(np.float64),
            confidence.numpy()[useful][order],
        )

    def localize(self, image: ImageArray, camera: Camera) -> FloatArray | None:
        """The pose ``map_from_camera`` by PnP on all that is decoded; None with fewer inliers than a pose needs."""
        query = self._localizer.look(image, camera).whole
        voxels = np.flatnonzero(np.diff(self._offsets) >= ANSWERS)
        if not len(query) or not len(voxels):
            return None
        with stage("decode"):
            matches = self.match(query, voxels)
        settings = RansacSettings(max_error_px=query.scale * RansacSettings().max_error_px)
        with stage("pnp"):
            found = ransac_pose(query.rays[matches.keypoint], matches.points, query.focal_px, settings)
        if found is None or len(np.unique(matches.keypoint[found[1]])) < self._localizer.needed():
            return None
        return se3.invert_pose(found[0])


def known_points(place: Survey) -> tuple[IntArray, Tensor]:
    """The keypoints (N,) of known point, and the points (N, 3) in the map: tracked ones, else by depth."""
    keyframes, tracks = place.keyframes, place.tracks
    points = keyframes.points(place.adjusted)
    known = keyframes.depth > 0
    points[tracks.keypoint] = tracks.points[tracks.track]
    known[tracks.keypoint] = True
    keypoint = np.flatnonzero(known)
    return keypoint, torch.from_numpy(points[keypoint].astype(np.float32))


def disturb(fine: Tensor, coarse: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Joint descriptors (N, 256) as another view might have them: relative noise of random strength up to ``noise``."""
    parts = []
    for descriptor in (fine, coarse):
        strength = noise * torch.rand(len(descriptor), 1, generator=generator) / descriptor.shape[1] ** 0.5
        noisy = (descriptor + strength * torch.randn(descriptor.shape, generator=generator)).clamp_min(0)
        parts.append(functional.normalize(noisy, dim=1))
    return joint_of(parts[0], parts[1])


def turn_and_scale(shape: Tensor, generator: torch.Generator) -> Tensor:
    """Keypoint shapes (N, 3) as of a camera rolled by up to 25 degrees and moved nearer or farther by a third."""
    roll = (torch.rand(len(shape), generator=generator) * 2 - 1) * np.deg2rad(25)
    size = shape[:, 0] + (torch.rand(len(shape), generator=generator) * 2 - 1) * 0.3
    cos, sin = roll.cos(), roll.sin()
    return torch.stack([size, shape[:, 1] * cos + shape[:, 2] * sin, shape[:, 2] * cos - shape[:, 1] * sin], dim=1)


def decoding_loss(network: NeuMapTransformer, choice: Choice, codes: Tensor, points: Tensor, anchors: Tensor) -> Tensor:
    """The training loss of a ``choice`` for N keypoints with points (N, 3) among one voxel's codes (1, K, D) at anchors
    (K, 3).
    """
    distance = torch.cdist(points, anchors)
    nearest, target = distance.min(dim=1)
    answerable = nearest < RESIDUAL_M
    target = torch.where(answerable, target, len(anchors))
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
        correct = (distance.gather(1, best[:, :1])[:, 0] < CORRECT_M + RESIDUAL_M / 3) & answerable
    trust = network.confidence_logit(tokens, top.detach())
    return loss + 0.3 * functional.binary_cross_entropy_with_logits(trust, correct.float())
