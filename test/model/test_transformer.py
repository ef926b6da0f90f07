"""The transformer: what it may depend on, and that it finds what similarities alone do not."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from neumap.geometry import se3
from neumap.model import transformer
from neumap.model.encoder import EMBEDDING
from neumap.model.transformer import (
    BLOCKS,
    CANDIDATES,
    KERNELS,
    Rivals,
    Sighting,
    Speakers,
    Transformer,
    angles_between,
)
from neumap.training.trainee import choice_loss

WALL_M = 2.5


class Image(NamedTuple):
    """What a transformer is told, and which candidates (N, K) are right."""

    told: Sighting
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
    unit = functional.normalize(torch.from_numpy(rng.normal(size=(count, 1 + CANDIDATES, EMBEDDING))).float(), dim=2)
    told = Sighting(
        similarity=torch.from_numpy(np.take_along_axis(similarity, order, axis=1).astype(np.float32)),
        # a tenth of the codes are candidates of several keypoints
        code=torch.from_numpy(rng.permutation(count * CANDIDATES) % round(0.9 * count * CANDIDATES)).view(count, -1),
        points=torch.from_numpy((points @ turn.T).astype(np.float32)),
        latents=unit[:, 1:],
        embeddings=unit[:, 0],
        rays=torch.from_numpy(rays),
    )
    return Image(told, torch.from_numpy(np.take_along_axis(right, order, axis=1)))


def cut(told: Sighting, keypoints: slice | Tensor) -> Sighting:
    return Sighting(*(part[keypoints] for part in told))


def untrained() -> Transformer:
    """A transformer whose every weight matters."""
    torch.manual_seed(0)
    module = Transformer()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module.eval().requires_grad_(False)


def assert_close(one: list[Tensor], other: list[Tensor]) -> None:
    for given, after in zip(one, other, strict=True):
        torch.testing.assert_close(after, given, atol=1e-3, rtol=1e-3)


def test_it_starts_as_the_similarities() -> None:
    told, _ = image_of_walls(0)
    module = Transformer()
    rounds = module(told)
    assert len(rounds) == BLOCKS + 1
    for logits in rounds:
        assert logits.shape == (len(told.similarity), CANDIDATES + 1)
        assert torch.equal(logits[:, :-1], told.similarity * module.scale)
        assert (logits[:, -1] == module.none).all()


def test_every_weight_matters() -> None:
    """Else what follows would prove nothing."""
    told, _ = image_of_walls(0)
    module = untrained().requires_grad_(True)
    sum((logits**2).sum() for logits in module(told)).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("far_m", [0.0, 3.0, 30.0])
def test_neither_axes_nor_origin_matter(far_m: float) -> None:
    told, _ = image_of_walls(1)
    turn = torch.from_numpy(se3.rotation_exp(np.array([0.4, -1.1, 2.0])).astype(np.float32))
    moved = told.points @ turn.T + far_m * torch.tensor([1.0, -0.5, 0.2])
    assert_close(untrained()(told), untrained()(told._replace(points=moved)))


def test_a_turned_camera_sees_the_same() -> None:
    """Angles between rays stay where those between pixels do not."""
    told, _ = image_of_walls(1)
    turn = torch.from_numpy(se3.rotation_exp(np.array([0.1, 0.15, 0.8])).astype(np.float32))
    turned = functional.pad(told.rays, (0, 1), value=1.0) @ turn.T
    assert_close(untrained()(told), untrained()(told._replace(rays=turned[:, :2] / turned[:, 2:])))


def test_the_order_of_keypoints_does_not_matter() -> None:
    told, _ = image_of_walls(2, count=300)
    assert len(told.similarity) > transformer.VOTERS
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    assert_close([logits[order] for logits in untrained()(told)], untrained()(cut(told, order)))


def test_what_codes_are_called_does_not_matter() -> None:
    told, _ = image_of_walls(2)
    assert_close(untrained()(told), untrained()(told._replace(code=100_000 - 7 * told.code)))


def test_counting_in_pieces_changes_nothing() -> None:
    told, _ = image_of_walls(2, count=150)
    module = untrained()
    with torch.inference_mode():
        pieces = module(told)
    assert_close(module.requires_grad_(True)(told), pieces)


@pytest.mark.parametrize("count", [1, 2])
def test_few_keypoints(count: int) -> None:
    told, _ = image_of_walls(3)
    for logits in untrained()(cut(told, slice(count))):
        assert logits.shape == (count, CANDIDATES + 1)
        assert logits.isfinite().all()


def test_a_keypoint_does_not_vote_for_itself() -> None:
    """One keypoint alone gets what its similarities say, wherever its candidates are."""
    told = cut(image_of_walls(4)[0], slice(1))
    here, there = (
        untrained()(told._replace(points=apart * torch.arange(CANDIDATES)[None, :, None].expand(1, -1, 3)))
        for apart in (10.0, 20.0)
    )
    assert_close(here, there)


def test_rivals() -> None:
    rivals = Rivals(torch.tensor([[7, 3], [3, 5], [9, 3]]))
    values = torch.tensor([[0.9, 0.2], [0.5, 0.1], [0.4, 0.3]])
    assert rivals.most(values).tolist() == torch.tensor([[0.9, 0.5], [0.5, 0.1], [0.4, 0.5]]).tolist()
    torch.testing.assert_close(rivals.others(values), torch.tensor([[0.0, 0.8], [0.5, 0.0], [0.0, 0.7]]))


def test_angles_between_rays() -> None:
    rays = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1e-4]])
    found = angles_between(rays)
    assert found[0].tolist() == pytest.approx([0.0, np.pi / 4, np.pi / 4, 1e-4], rel=1e-3)
    assert float(found[1, 2]) == pytest.approx(np.pi / 2)


def test_the_size_of_votes() -> None:
    told, _ = image_of_walls(5)
    votes = untrained().blocks[0].votes
    who = torch.arange(0, len(told.rays), 3)
    sure, angles = torch.linspace(0, 1, len(who)), angles_between(told.rays)[:, who]
    found = votes(told.points, Speakers(who, sure, told.points[who, 0], angles))
    assert found.shape == (len(told.rays), CANDIDATES, 1 + 2 * KERNELS)
    assert found.isfinite().all()


def test_it_finds_what_similarities_do_not() -> None:
    torch.manual_seed(0)
    module = Transformer()
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    for step in range(80):
        image = image_of_walls(100 + step, count=80)
        loss = torch.stack([choice_loss(logits, image.right) for logits in module(image.told)]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    before, after, chance, found = [], [], [], []
    for seed in range(10):
        image = image_of_walls(seed)
        with torch.no_grad():
            rounds = module(image.told)
        before.append(float(choice_loss(rounds[0], image.right)))
        after.append(float(choice_loss(rounds[-1], image.right)))
        first, last = (logits.softmax(dim=1)[:, :-1] for logits in (rounds[0], rounds[-1]))
        chance.append(float((last - first)[image.right].mean()))
        found.append(float((last - first)[~image.right].mean()))
    assert np.mean(after) < 0.6 * np.mean(before)
    assert min(chance) > 0.2
    assert max(found) < 0
