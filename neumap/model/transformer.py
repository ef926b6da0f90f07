"""The transformer of the frozen decoder: chooses the code of a map that each keypoint of an image shows.

Tokens are the keypoints of one image. The memory of a token is the codes of the map most similar to it. In each block
codes are updated by their consistency with the choices of the most certain tokens; a token reads its codes, weighted by
probability, and attends to the most certain tokens; then the logits are computed anew. They start as the similarities.

The inputs are similarities, distances in space and angles between rays, so that results are independent of the map's
axes and origin and of the camera's lens. It takes the place of the blocks of NeuMap (CVPR 2023), whose codes have no
position: they regress a coordinate, while here codes are anchored and one of them is chosen.

    tensor                                                        shape
    similarity   of keypoints and their codes, best first         (N, K)
    code         which code of the map each of these is           (N, K)
    points       anchors of the codes, metres                     (N, K, 3)
    latents      of the codes, of unit length                     (N, K, 64)
    embeddings   of the keypoints, of unit length                 (N, 64)
    rays         normalized image coordinates                     (N, 2)
    tokens       keypoints, between the blocks                    (N, 64)
    codes        as each token sees its own, between the blocks   (N, K, 32)
    votes        of the M most certain tokens on each code        (N, K, 1 + 2 H)
    logits       of the codes, then of "none of these"            (N, K + 1), once before and once after each block
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from neumap.model.encoder import EMBEDDING

# CANDIDATES: codes per token. BLOCKS: blocks of the transformer. TOKEN, CODE: dimensions of a token and of a code.
# HEADS: heads of the attention among tokens. KERNELS: learned functions of angle and distance for votes. VOTERS: most
# certain tokens, which vote.
CANDIDATES, BLOCKS, TOKEN, CODE, HEADS, KERNELS, VOTERS = 12, 3, 64, 32, 4, 8, 48
# SAME_PLACE_M: codes within this distance are one place and do not compete, metres.
SAME_PLACE_M = 0.15
# NEIGHBOUR_RAD: angle between neighbouring keypoints, radians: about that of a piece of furniture.
NEIGHBOUR_RAD = 0.15
# TINY_M, TINY_RAD: added to distances and angles before their logarithm, metres and radians: about their noise.
TINY_M, TINY_RAD = 0.02, 0.004
# AT_ONCE: tokens whose codes are voted on together, so that the votes stay in the cache.
AT_ONCE = 64
# LIKE: scale of the inputs from unit vectors of EMBEDDING numbers, so that each number is about one.
LIKE = EMBEDDING**0.5


class Sighting(NamedTuple):
    """The inputs of the transformer for one image; see the table at the top of this module."""

    similarity: Tensor
    code: Tensor
    points: Tensor
    latents: Tensor
    embeddings: Tensor
    rays: Tensor


class Transformer(nn.Module):
    """Logits of each keypoint's candidates, from similarities corrected block by block."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(16.0))
        self.none = nn.Parameter(torch.tensor(12.0))
        self.token = _mlp(EMBEDDING, TOKEN, TOKEN)
        self.code = _mlp(EMBEDDING + 4, CODE, CODE)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))

    def forward(self, sight: Sighting) -> list[Tensor]:
        """Return logits (N, K + 1) before the first block and after each."""
        rivals = Rivals(sight.code)
        start = self.start(sight.similarity)
        tokens = self.token(LIKE * sight.embeddings)
        alike = LIKE * sight.embeddings[:, None] * sight.latents
        codes = self.code(torch.cat([alike, self._looks(sight, rivals)], dim=-1))
        angles = angles_between(sight.rays)
        near = (_apart(sight.points) < SAME_PLACE_M).to(start.dtype)
        rounds = [start]
        for block in self.blocks:
            tokens, codes, correction = block(tokens, codes, rounds[-1], sight.points, angles, near, rivals)
            rounds.append(start + correction)
        return rounds

    def start(self, similarity: Tensor) -> Tensor:
        """Return the logits (N, K + 1) before the first block."""
        return torch.cat([similarity * self.scale, self.none.expand(len(similarity), 1)], dim=1)

    def _looks(self, sight: Sighting, rivals: Rivals) -> Tensor:
        """Return features (N, K, 4) of each code from similarities: its similarity, and how far that is below the
        keypoint's best, its best elsewhere, and the code's best with any keypoint.
        """
        similarity, points = sight.similarity, sight.points
        elsewhere = (points - points[:, :1]).norm(dim=2) > SAME_PLACE_M
        second = similarity.masked_fill(~elsewhere, -1.0).amax(dim=1, keepdim=True)
        second = torch.where(second < 0, similarity[:, -1:], second)
        behind = torch.stack([similarity[:, :1].expand_as(similarity), second.expand_as(similarity)], dim=-1)
        behind = torch.cat([behind, rivals.most(similarity)[..., None]], dim=-1)
        return torch.cat([4 * similarity[..., None], 10 * (similarity[..., None] - behind)], dim=-1)


class Rivals:
    """The keypoints with a code in common, which compete: each code is seen by one keypoint at most."""

    def __init__(self, code: Tensor) -> None:
        """``code`` (N, K) are indices of the map's codes."""
        distinct, self._which = torch.unique(code, return_inverse=True)
        self._count = len(distinct)

    def most(self, values: Tensor) -> Tensor:
        """Return the maximum (N, K) of the ``values`` (N, K) over all keypoints with the same code."""
        found = values.new_full((self._count,), -torch.inf)
        return found.scatter_reduce(0, self._which.flatten(), values.flatten(), "amax")[self._which]

    def others(self, values: Tensor) -> Tensor:
        """Return the sum (N, K) of the ``values`` (N, K) over all other keypoints with the same code."""
        found = values.new_zeros(self._count).index_add(0, self._which.flatten(), values.flatten())
        return (found[self._which] - values).clamp_min(0)


class Block(nn.Module):
    """Updates codes by votes and rivals, tokens by codes and the most certain tokens, and then the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.votes = Votes()
        self.norm_code, self.norm_token = nn.LayerNorm(CODE), nn.LayerNorm(TOKEN)
        self.ask = nn.Linear(TOKEN, CODE)
        self.update = _mlp(2 * CODE + 1 + 2 * KERNELS + 4, 2 * CODE, CODE)
        self.read = _mlp(TOKEN + CODE + 2, TOKEN, TOKEN)
        self.attend = SelfAttention()
        self.feed_forward = nn.Sequential(nn.LayerNorm(TOKEN), _mlp(TOKEN, 2 * TOKEN, TOKEN))
        self.code_logit, self.none_logit = nn.Linear(CODE, 1), nn.Linear(TOKEN, 1)
        # zero, so that training starts from the logits of the similarities
        _zero(self.code_logit)
        _zero(self.none_logit)

    def forward(
        self,
        tokens: Tensor,
        codes: Tensor,
        logits: Tensor,
        points: Tensor,
        angles: Tensor,
        near: Tensor,
        rivals: Rivals,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return tokens (N, 64) and codes (N, K, 32) after the block, and the correction (N, K + 1) of the start's
        logits. ``angles`` (N, N) are between rays; ``near`` (N, K, K) is 1 where two codes are one place.
        """
        probability = logits.softmax(dim=1)
        each, none = probability[:, :-1], probability[:, -1:]
        lead, choice = leads(logits, points)
        shown = points[torch.arange(len(points), device=points.device), choice]
        here = (near @ each[..., None])[..., 0]
        chosen = torch.stack([each, none.expand_as(each), here, rivals.others(each)], dim=-1)
        asked = self.ask(self.norm_token(tokens))[:, None].expand(-1, codes.shape[1], -1)
        sure, who = lead.topk(min(VOTERS, len(lead)))
        speakers = Speakers(who, sure, shown[who], angles[:, who])
        votes = self.votes(points, speakers)
        codes = codes + self.update(torch.cat([self.norm_code(codes), asked, votes, chosen], dim=-1))
        message = (each[..., None] * codes).sum(dim=1)
        tokens = tokens + self.read(torch.cat([self.norm_token(tokens), message, none, lead[:, None]], dim=1))
        tokens = self.attend(tokens, shown, speakers)
        tokens = tokens + self.feed_forward(tokens)
        return tokens, codes, torch.cat([self.code_logit(codes)[..., 0], self.none_logit(tokens)], dim=1)


class Speakers(NamedTuple):
    """The M most certain tokens, which vote and are attended to: their indices ``who`` (M,), leads ``sure`` (M,), the
    points ``shown`` (M, 3) that they choose, and the ``angles`` (N, M) from all tokens to them.
    """

    who: Tensor
    sure: Tensor
    shown: Tensor
    angles: Tensor


class Votes(nn.Module):
    """Votes of the most certain tokens on all codes: whether distances in space are consistent with angles.

    The kernels are Gaussian bumps over log distance and log angle: two points that are seen at some angle are as far
    apart as their depth makes them, or further.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Linear(3, KERNELS)
        nn.init.normal_(self.kernel.weight, std=0.7)
        nn.init.normal_(self.kernel.bias)

    def forward(self, points: Tensor, speakers: Speakers) -> Tensor:
        """Return votes (N, K, 1 + 2 H) of the speakers on codes at ``points`` (N, K, 3)."""
        whose = torch.arange(len(points), device=points.device)
        # faster in pieces that fit into the cache
        size = len(points) if torch.is_grad_enabled() else AT_ONCE
        parts = zip(
            torch.split(points, size), torch.split(speakers.angles, size), torch.split(whose, size), strict=True
        )
        return torch.cat([self._on(*part, speakers) for part in parts])

    def _on(self, points: Tensor, angles: Tensor, whose: Tensor, speakers: Speakers) -> Tensor:
        """Vote on the codes of the tokens ``whose`` (N,), at ``angles`` (N, M) to the speakers."""
        apart_m = distances(points.flatten(0, 1), speakers.shown).view(*points.shape[:2], -1)
        log_m, log_rad = _logarithms(apart_m, angles)
        # different keypoints cannot show one landmark
        same = ((apart_m < TINY_M) & (angles > TINY_M)[:, None]).to(apart_m.dtype)
        everywhere = speakers.sure * (whose[:, None] != speakers.who)
        near = everywhere * torch.exp(-((angles / NEIGHBOUR_RAD) ** 2))
        found = []
        # kernel by kernel, to keep intermediate results small
        for (of_m, of_rad, of_same), offset in zip(self.kernel.weight, self.kernel.bias, strict=True):
            bump = torch.addcmul((of_rad * log_rad + offset)[:, None], of_m, log_m)
            agreement = torch.exp(-(torch.addcmul(bump, of_same, same) ** 2))
            found += [(agreement * each[:, None]).sum(dim=2) for each in (everywhere, near)]
        votes = torch.stack(found, dim=2).view(*points.shape[:2], KERNELS, 2)
        total = (votes[..., 0].sum(dim=-1, keepdim=True) + 0.1).log()
        nearby = votes[..., 1] / (near.sum(dim=1)[:, None, None] + 0.1)
        return torch.cat([total, (votes[..., 0] + 0.05).log(), 4 * nearby], dim=-1)


class SelfAttention(nn.Module):
    """Attention of all tokens of an image to the most certain ones, biased by the angle between them, the distance of
    the points they choose, and the lead of the other token.
    """

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(TOKEN)
        self.query_key_value = nn.Linear(TOKEN, 3 * TOKEN)
        self.pair, self.bias = nn.Linear(3, 16), nn.Linear(16, HEADS)
        self.out = nn.Linear(TOKEN, TOKEN)
        _zero(self.out)

    def forward(self, tokens: Tensor, shown: Tensor, speakers: Speakers) -> Tensor:
        """Return tokens (N, 64), which choose the points ``shown`` (N, 3), after attention to the speakers."""
        apart_m = distances(shown, speakers.shown)
        pairs = torch.stack([*_logarithms(apart_m, speakers.angles), speakers.sure.expand_as(apart_m)])
        hidden = torch.addmm(self.pair.bias[:, None], self.pair.weight, pairs.flatten(1)).relu()
        bias = torch.addmm(self.bias.bias[:, None], self.bias.weight, hidden).view(HEADS, *apart_m.shape)
        query, key, value = self.query_key_value(self.norm(tokens)).view(len(tokens), 3, HEADS, -1).permute(1, 2, 0, 3)
        key, value = key[:, speakers.who], value[:, speakers.who]
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        read: Tensor = self.out(seen.transpose(0, 1).flatten(1))
        return tokens + read


def leads(logits: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return by how much (N,) the most probable place of each keypoint exceeds any other place in probability, and its
    best code there (N,), from logits (N, K + 1) of codes at points (N, K, 3).

    A keypoint that cannot tell two places apart has no lead, so that it does not vote for the first of them.
    """
    probability = logits.softmax(dim=1)[:, :-1]
    best = probability.argmax(dim=1, keepdim=True)
    here = (points - points.gather(1, best[..., None].expand(-1, -1, 3))).norm(dim=2) < SAME_PLACE_M
    lead = (probability * here).sum(dim=1) - (probability * ~here).amax(dim=1)
    return lead.clamp_min(0.0), best[:, 0]


def distances(one: Tensor, other: Tensor) -> Tensor:
    """Return the distance (N, M) of each of ``one`` (N, D) to each of ``other`` (M, D)."""
    # not by matrix products, which are wrong by centimetres far from the origin
    return torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist")


def angles_between(rays: Tensor) -> Tensor:
    """Return the angles (N, N) in radians between ``rays`` (N, 2)."""
    bearings = functional.normalize(functional.pad(rays, (0, 1), value=1.0), dim=1)
    # by the chord, since the cosine of a small angle rounds to one
    half: Tensor = (distances(bearings, bearings) / 2).clamp(max=1.0).asin()
    return 2 * half


def _apart(points: Tensor) -> Tensor:
    """Return the distances (N, K, K) between the codes of each keypoint."""
    between: Tensor = (points[:, :, None] - points[:, None]).norm(dim=3)
    return between


def _logarithms(apart_m: Tensor, angles: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logarithms of distances and angles; their difference is about the log depth."""
    return (apart_m + TINY_M).log(), (angles + TINY_RAD).log()


def _mlp(width: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, out))


def _zero(linear: nn.Linear) -> None:
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
