"""The attention: what it may depend on, and that votes find what similarities alone do not."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from neumap.geometry import se3
from neumap.model import attention
from neumap.model.attention import CANDIDATES, KERNELS, VOTE_ROUNDS, GeometricAttention
from neumap.training.trainee import choice_loss

WALL_M = 2.5


class Image(NamedTuple):
    """What an attention is given, and which candidates (N, K) are right."""

    similarity: Tensor
    points: Tensor
    rays: Tensor
    right: Tensor


def image_of_walls(seed: int, count: int = 150, shown: float = 0.5) -> Image:
    """A camera looks at two walls that meet. Of every other keypoint the right landmark is a candidate, of any rank;
    all other candidates are anywhere on the walls.
    """
    rng = np.random.default_rng(seed)

    def anywhere(count: int) -> np.ndarray:
        along, up = rng.uniform(-4, 4, count), rng.uniform(-1.5, 1.5, count)
        # in front of the camera, in its axes: the walls meet where x is 0
        return np.stack([along, up, WALL_M - 0.4 * np.abs(along)], axis=1)

    seen = np.zeros((0, 3))
    while len(seen) < count:
        some = anywhere(4 * count)
        rays = some[:, :2] / some[:, 2:]
        seen = np.concatenate([seen, some[(np.abs(rays) < [0.6, 0.45]).all(axis=1)]])
    seen = seen[:count]
    points = anywhere(count * CANDIDATES).reshape(count, CANDIDATES, 3)
    similarity = rng.uniform(0.3, 0.75, (count, CANDIDATES))
    known = rng.random(count) < shown
    points[known, 0] = seen[known]
    similarity[known, 0] = rng.uniform(0.5, 0.85, known.sum())
    order = np.argsort(-similarity, axis=1)
    right = np.zeros((count, CANDIDATES), bool)
    right[known, 0] = True
    points = np.take_along_axis(points, order[..., None], axis=1)
    # to no axes in particular
    turn = se3.rotation_exp(rng.normal(size=3))
    rays = (seen[:, :2] / seen[:, 2:]).astype(np.float32)
    return Image(
        torch.from_numpy(np.take_along_axis(similarity, order, axis=1).astype(np.float32)),
        torch.from_numpy((points @ turn.T).astype(np.float32)),
        torch.from_numpy(rays),
        torch.from_numpy(np.take_along_axis(right, order, axis=1)),
    )


def untrained() -> GeometricAttention:
    """An attention whose every weight matters."""
    torch.manual_seed(0)
    module = GeometricAttention()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module.eval().requires_grad_(False)


def test_it_starts_as_the_similarities() -> None:
    similarity, points, rays, _ = image_of_walls(0)
    module = GeometricAttention()
    rounds = module(similarity, points, rays)
    assert len(rounds) == VOTE_ROUNDS + 1
    for logits in rounds:
        assert logits.shape == (len(similarity), CANDIDATES + 1)
        assert torch.equal(logits[:, :-1], similarity * module.scale)
        assert (logits[:, -1] == module.none).all()


def test_every_weight_matters() -> None:
    """Else what follows would prove nothing."""
    similarity, points, rays, _ = image_of_walls(0)
    module = untrained().requires_grad_(True)
    sum((logits**2).sum() for logits in module(similarity, points, rays)).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in module.parameters())


@pytest.mark.parametrize("far_m", [0.0, 3.0, 30.0])
def test_neither_axes_nor_origin_matter(far_m: float) -> None:
    similarity, points, rays, _ = image_of_walls(1)
    module = untrained()
    turn = torch.from_numpy(se3.rotation_exp(np.array([0.4, -1.1, 2.0])).astype(np.float32))
    moved = points @ turn.T + far_m * torch.tensor([1.0, -0.5, 0.2])
    for given, after in zip(module(similarity, points, rays), module(similarity, moved, rays), strict=True):
        torch.testing.assert_close(after, given, atol=1e-4, rtol=1e-4)


def test_the_order_of_keypoints_does_not_matter() -> None:
    similarity, points, rays, _ = image_of_walls(2, count=300)
    module = untrained()
    assert len(similarity) > attention.VOTERS
    order = torch.randperm(len(similarity), generator=torch.Generator().manual_seed(0))
    shuffled = module(similarity[order], points[order], rays[order])
    for given, after in zip(module(similarity, points, rays), shuffled, strict=True):
        torch.testing.assert_close(after, given[order], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("count", [1, 2])
def test_few_keypoints(count: int) -> None:
    similarity, points, rays, _ = image_of_walls(3)
    for logits in untrained()(similarity[:count], points[:count], rays[:count]):
        assert logits.shape == (count, CANDIDATES + 1)
        assert logits.isfinite().all()


def test_a_keypoint_does_not_vote_for_itself() -> None:
    """One keypoint alone gets what its similarities say, wherever its candidates are."""
    similarity, points, rays, _ = image_of_walls(4)
    module = untrained()
    here, there = (
        module(similarity[:1], points[:1] + apart * torch.arange(CANDIDATES)[None, :, None], rays[:1])
        for apart in (10.0, 20.0)
    )
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one, other)


def test_the_size_of_votes() -> None:
    similarity, points, rays, _ = image_of_walls(5)
    module = untrained()
    voter = torch.arange(10)
    votes = module._votes(module.kernels[0], points, rays, points[voter, 0], voter, torch.ones(10))
    assert votes.shape == (len(similarity), CANDIDATES, 1 + 2 * KERNELS)
    assert votes.isfinite().all()


def test_votes_find_what_similarities_do_not() -> None:
    torch.manual_seed(0)
    module = GeometricAttention()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
    for step in range(100):
        image = image_of_walls(100 + step, count=80)
        rounds = module(image.similarity, image.points, image.rays)
        loss = torch.stack([choice_loss(logits, image.right) for logits in rounds]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    before, after, chance, found = [], [], [], []
    for seed in range(10):
        image = image_of_walls(seed)
        with torch.no_grad():
            rounds = module(image.similarity, image.points, image.rays)
        before.append(float(choice_loss(rounds[0], image.right)))
        after.append(float(choice_loss(rounds[-1], image.right)))
        first, last = (logits.softmax(dim=1)[:, :-1] for logits in (rounds[0], rounds[-1]))
        chance.append(float((last - first)[image.right].mean()))
        found.append(float((last - first)[~image.right].mean()))
    assert np.mean(after) < 0.6 * np.mean(before)
    assert min(chance) > 0.2
    assert max(found) < 0
