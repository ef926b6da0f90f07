"""The frozen decoder's second half before it was a transformer: keypoints of one image vote on each other's landmarks.

Each keypoint comes with the few landmarks most like it. A landmark is the likelier, the better it fits in space with
what the other keypoints show: how far two landmarks are apart against how far their keypoints are apart in the image.
This is attention whose weights come from these two distances, so it knows nothing of a place, nor of its axes; it
takes the part that NeuMap's (CVPR 2023) cross-attention blocks have, for a fraction of their cost.

    tensor                                              shape
    similarity   keypoint to its candidates             (N, K)
    points       of the candidates, metres              (N, K, 3)
    rays         normalized image coordinates           (N, 2)
    kernels      distances of a pair, learned functions (4, N, K, M) -> (H, N, K, M), of the M surest keypoints
    logits       candidates, then "none of these"       (N, K + 1), once per round
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from neumap.model.transformer import SAME_PLACE_M, distances, leads

# KERNELS: learned functions of the two distances of a pair. VOTE_ROUNDS: the second round's voters are those that the
# first made sure. VOTERS: the surest keypoints, which vote. CANDIDATES: landmarks that a keypoint chooses among.
KERNELS, VOTE_ROUNDS, VOTERS, CANDIDATES = 8, 2, 128, 6
# NEIGHBOUR: the distance in normalized coordinates within which keypoints are neighbours: of the size of furniture, for
# a usual lens.
NEIGHBOUR = 0.15
# TINY_M, TINY_RAY: added to distances before their logarithm, in metres and normalized coordinates: about their noise.
TINY_M, TINY_RAY = 0.02, 0.004
# VOTED_AT_ONCE: keypoints whose votes are counted together, so that they stay in a processor's cache.
VOTED_AT_ONCE = 64


class GeometricAttention(nn.Module):
    """Logits of each keypoint's candidates, from similarities corrected in two rounds of votes."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(16.0))
        self.none = nn.Parameter(torch.tensor(12.0))
        self.kernels = nn.ModuleList(
            nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, KERNELS)) for _ in range(VOTE_ROUNDS)
        )
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(4 + 2 * KERNELS, 32), nn.GELU(), nn.Linear(32, 2)) for _ in range(VOTE_ROUNDS)
        )
        for head in self.heads:
            # the choice starts as that of the similarities
            nn.init.zeros_(head[-1].weight)  # type: ignore[index]
            nn.init.zeros_(head[-1].bias)  # type: ignore[index]

    def forward(self, similarity: Tensor, points: Tensor, rays: Tensor) -> list[Tensor]:
        """Return logits (N, K + 1) before the first round and after each, for similarities (N, K), best first, points
        (N, K, 3) in metres and rays (N, 2).
        """
        start = self.start(similarity)
        looks = self._looks(similarity, points)
        rounds = [start]
        for kernel, head in zip(self.kernels, self.heads, strict=True):
            lead, choice = leads(rounds[-1], points)
            weight, voter = lead.topk(min(VOTERS, len(lead)))
            votes = self._votes(kernel, points, rays, points[voter, choice[voter]], voter, weight)
            correction = head(torch.cat([looks, votes], dim=-1))
            candidates = start[:, :-1] + correction[..., 0]
            rounds.append(torch.cat([candidates, start[:, -1:] + correction[..., 1].mean(dim=1, keepdim=True)], dim=1))
        return rounds

    def start(self, similarity: Tensor) -> Tensor:
        """Return the logits (N, K + 1) before the first round."""
        return torch.cat([similarity * self.scale, self.none.expand(len(similarity), 1)], dim=1)

    def _looks(self, similarity: Tensor, points: Tensor) -> Tensor:
        """Tell what similarities alone say of each candidate (N, K, 3)."""
        elsewhere = (points - points[:, :1]).norm(dim=2) > SAME_PLACE_M
        second = similarity.masked_fill(~elsewhere, -1.0).amax(dim=1, keepdim=True)
        second = torch.where(second < 0, similarity[:, -1:], second)
        return torch.stack([4 * similarity, 10 * (similarity - similarity[:, :1]), 10 * (similarity - second)], dim=-1)

    def _votes(
        self, kernel: nn.Module, points: Tensor, rays: Tensor, chosen: Tensor, voter: Tensor, weight: Tensor
    ) -> Tensor:
        """Tell what the voters (M,), at their ``chosen`` points (M, 3), say of each candidate (N, K, 1 + 2 H)."""
        whose = torch.arange(len(points), device=points.device)
        # in pieces that fit into a processor's cache the same takes less time
        size = len(points) if torch.is_grad_enabled() else VOTED_AT_ONCE
        parts = zip(torch.split(points, size), torch.split(rays, size), torch.split(whose, size), strict=True)
        voter_rays = rays[voter]
        return torch.cat([_votes_on(kernel, *part, voter_rays, chosen, voter, weight) for part in parts])


def _votes_on(
    kernel: nn.Module,
    points: Tensor,
    rays: Tensor,
    whose: Tensor,
    voter_rays: Tensor,
    chosen: Tensor,
    voter: Tensor,
    weight: Tensor,
) -> Tensor:
    """Vote on the candidates of the keypoints ``whose`` (N,), at ``points`` (N, K, 3), seen at ``rays`` (N, 2)."""
    apart_m = distances(points.flatten(0, 1), chosen).reshape(*points.shape[:2], -1)
    apart = distances(rays, voter_rays)
    log_m, log_ray = (apart_m + TINY_M).log(), (apart + TINY_RAY).log()[:, None].expand_as(apart_m)
    # two keypoints cannot show one landmark
    same = ((apart_m < TINY_M) & (apart > TINY_M)[:, None]).to(log_m.dtype)
    agreement = _agreement(kernel, torch.stack([log_m, log_ray, log_m - log_ray, same]))
    weights = weight * (whose[:, None] != voter)
    near = weights * torch.exp(-((apart / NEIGHBOUR) ** 2))
    everywhere, nearby = (agreement @ torch.stack([weights, near], dim=-1)).permute(3, 1, 2, 0)
    nearby = nearby / (near.sum(dim=1)[:, None, None] + 0.1)
    total = (everywhere.sum(dim=-1, keepdim=True) + 0.1).log()
    return torch.cat([total, (everywhere + 0.05).log(), 4 * nearby], dim=-1)


def _agreement(kernel: nn.Module, pairs: Tensor) -> Tensor:
    """Rate how well pairs of landmarks go with their keypoints (H, N, K, M), by what ``pairs`` (4, N, K, M) say."""
    first, _, second = cast("Iterable[nn.Linear]", kernel.children())
    # a column for each pair: with a row for each, products of so few numbers are slower
    hidden = torch.addmm(first.bias[:, None], first.weight, pairs.flatten(1)).relu()
    return torch.addmm(second.bias[:, None], second.weight, hidden).sigmoid().view(-1, *pairs.shape[1:])
