"""NeuMap's transformer, trained on the scene itself (``--decoder scratch``).

Keypoint tokens attend to a voxel's codes, then choose among the codes' anchors.
After Tang et al., "NeuMap: Neural Coordinate Mapping by Auto-Transdecoder for Camera Localization" (CVPR 2023), with
three differences. Codes are anchored: each stands at a landmark, so a coordinate is a choice plus a small residual
instead of a regression from nothing. The choice starts from the similarity of descriptors, which attention corrects.
And codes start from their landmark's descriptor; only a small latent per code is learned.

The weights know nothing of a scene; a scene is the codes: anchors, descriptors and latents.

    tensor                              shape
    tokens      descriptors, geometry   (N, 256 + 3) -> (N, D)
    codes       landmark descriptors    (V, K, 256), anchors (V, K, 3), latents (V, K, 32) -> (V, K, D)
    block x B   cross-attention, MLP    (V, N, D)
    logits      choice of anchor        (V, N, K + 1), the last is "none of these"
    residual    from the anchor, metres (V, N, 3) for a chosen code, and its standard deviation (V, N)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from neumap.arrays import IntArray
from neumap.features.sift import Features

DESCRIPTOR = 256
GEOMETRY = 3
WIDTH = 128
LATENT = 32
HEADS = 4
BLOCKS = 2
RESIDUAL_M = 0.3
FREQUENCIES = 6
# diameters of keypoints are told relative to the usual one
SMALLEST_SIZE_PX, USUAL_SIZE_PX = 0.5, 4.0


@dataclass(frozen=True)
class NetworkCodes:
    """The scene's part: K codes ordered by voxel. ``landmark`` (K,) is the landmark each is anchored at; its latent is
    ``latent`` (K, 32) int8 times ``scale`` (32,). Codes of voxel v are ``offsets[v]:offsets[v + 1]``.
    """

    offsets: IntArray
    landmark: IntArray
    latent: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]


@dataclass(frozen=True)
class SceneNetwork:
    """Weights as they are stored (see :func:`pack_weights`), and codes."""

    weights: dict[str, npt.NDArray[Any]]
    codes: NetworkCodes


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
        self.embed_token = nn.Linear(DESCRIPTOR + GEOMETRY, WIDTH)
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
        geometry: Tensor,
        codes: Tensor,
        code_descriptors: Tensor,
        present: Tensor | None = None,
    ) -> Choice:
        """The choice of anchors for descriptors (N, 256) with geometry (N, 3) among codes (V, K, D).

        ``present`` (V, K) is false for codes that only pad a voxel.
        """
        tokens = self.embed_token(torch.cat([descriptors, geometry], dim=-1)).expand(len(codes), -1, -1)
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


def token_geometry(features: Features) -> npt.NDArray[np.float32]:
    """What a token knows besides descriptors (N, 3): the logarithm of its size and its direction.

    Not its position in the image: learned by heart, positions do harm on a new view.
    """
    return keypoint_geometry(features.size, features.angle)


def keypoint_geometry(size: npt.NDArray[Any], angle: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """As :func:`token_geometry`, from keypoint diameters in pixels (N,) and angles in radians (N,)."""
    scale = np.log(np.maximum(size, SMALLEST_SIZE_PX) / USUAL_SIZE_PX)
    return np.stack([scale, np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def pack_weights(module: nn.Module) -> dict[str, npt.NDArray[Any]]:
    """Parameters small enough to travel: matrices as int8 with a float16 scale per row, the rest as float16."""
    out: dict[str, npt.NDArray[Any]] = {}
    for name, tensor in module.state_dict().items():
        value = tensor.detach().float().numpy()
        if value.ndim == 2 and value.size > 1024:
            scale = np.maximum(np.abs(value).max(axis=1), 1e-8).astype(np.float16)
            scale = np.maximum(scale, np.float16(1e-6))
            out[name] = np.clip(np.rint(value / scale[:, None].astype(np.float32) * 127), -127, 127).astype(np.int8)
            out[name + ".scale"] = scale
        else:
            out[name] = value.astype(np.float16)
    return out


def unpack_weights(weights: dict[str, npt.NDArray[Any]]) -> NeuMapTransformer:
    """The network of packed weights, ready to decode. Raises ValueError where they are not this network's."""
    module = NeuMapTransformer()
    state: dict[str, Tensor] = {}
    for name, value in weights.items():
        if name.endswith(".scale") and name.removesuffix(".scale") in weights:
            continue
        real: npt.NDArray[np.float32] = value.astype(np.float32)
        if value.dtype == np.int8:
            scale = weights.get(name + ".scale")
            if scale is None or scale.shape != real.shape[:1] or not np.isfinite(scale).all():
                raise ValueError(f"the weights {name} have no usable scale")
            real = real * (scale.astype(np.float32)[:, None] / np.float32(127))
        if not np.isfinite(real).all():
            raise ValueError(f"the weights {name} are not finite")
        state[name] = torch.from_numpy(np.ascontiguousarray(real))
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError("its network is not of this version's shape") from error
    return module.eval().requires_grad_(False)
