"""Poses from points whose pose is known."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_scene import FOCAL_PX, turned, wall_points

from neumap.arrays import FloatArray
from neumap.geometry import se3
from neumap.localization import pnp
from neumap.localization.pnp import CAUCHY_PX, RansacSettings, pose_gradient, ransac_pose, refine_pose, residuals_px


@pytest.fixture(params=["poselib", "opencv"], autouse=True)
def solver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With PoseLib and, as on ARM, without."""
    if request.param == "opencv":
        monkeypatch.setattr(pnp, "poselib", None)
    elif pnp.poselib is None:
        pytest.skip("PoseLib is not installed")


TRUTH = turned(np.array([0.3, -1.2, 0.5]), np.array([0.4, -0.2, 1.1]))


def view(rng: np.random.Generator, count: int, noise_px: float = 0.0) -> tuple[FloatArray, FloatArray]:
    """Rays (N, 2) and map points (N, 3) that a camera at the inverse of ``TRUTH`` sees 1 to 5 m away."""
    depth = rng.uniform(1, 5, count)
    rays = rng.uniform([-0.6, -0.45], [0.6, 0.45], (count, 2))
    seen = np.concatenate([rays, np.ones((count, 1))], axis=1) * depth[:, None]
    points = se3.transform_points(se3.invert_pose(TRUTH), seen)
    return rays + rng.normal(size=rays.shape) * noise_px / FOCAL_PX, points


def off(pose: FloatArray) -> tuple[float, float]:
    """Metres and radians from the truth."""
    error = se3.pose_error(se3.invert_pose(pose), se3.invert_pose(TRUTH))
    return float(np.linalg.norm(error[:3])), float(np.linalg.norm(error[3:]))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6])
def test_ransac_recovers_the_pose_in_spite_of_outliers(share: float) -> None:
    rng = np.random.default_rng(1)
    rays, points = view(rng, 200, noise_px=0.5)
    wrong = rng.random(200) < share * np.linspace(0.5, 1.5, 200)
    points[wrong] = wall_points(rng, int(wrong.sum()))
    found = ransac_pose(rays, points, FOCAL_PX, RansacSettings())
    assert found is not None
    pose, inliers = found
    metres, radians = off(pose)
    assert metres < 0.01
    assert radians < 0.004
    assert inliers[~wrong].all()
    assert inliers[wrong].mean() < 0.1 if wrong.any() else True
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-9)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_ransac_needs_six(count: int) -> None:
    rays, points = view(np.random.default_rng(2), count)
    assert ransac_pose(rays, points, FOCAL_PX, RansacSettings()) is None


def test_ransac_finds_nothing_in_noise() -> None:
    rng = np.random.default_rng(3)
    rays, _ = view(rng, 40)
    assert ransac_pose(rays, rng.uniform(-3, 3, (40, 3)), FOCAL_PX, RansacSettings()) is None
    assert ransac_pose(rays, np.zeros((40, 3)), FOCAL_PX, RansacSettings()) is None


def test_ransac_gives_the_same_answer_twice() -> None:
    rng = np.random.default_rng(4)
    rays, points = view(rng, 100, noise_px=1)
    points[::3] += 0.5
    first, second = (ransac_pose(rays, points, FOCAL_PX, RansacSettings()) for _ in range(2))
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first[0], second[0])


def test_residuals_are_pixels() -> None:
    rays, points = view(np.random.default_rng(5), 30)
    np.testing.assert_allclose(residuals_px(TRUTH, rays, points, FOCAL_PX), 0, atol=1e-9)
    shifted = rays - [2 / FOCAL_PX, 0]
    np.testing.assert_allclose(residuals_px(TRUTH, shifted, points, FOCAL_PX), np.tile([2.0, 0], (30, 1)), atol=1e-9)
    back = turned(np.array([0, np.pi, 0]), np.zeros(3)) @ TRUTH
    assert np.isinf(residuals_px(back, rays, points, FOCAL_PX)).all()


def test_refinement_converges_from_afar() -> None:
    rays, points = view(np.random.default_rng(6), 100)
    start = turned(np.array([0.03, -0.02, 0.02]), np.array([0.05, 0.03, -0.06])) @ TRUTH
    pose = refine_pose(start, rays, points, FOCAL_PX)
    metres, radians = off(pose)
    assert metres < 1e-6
    assert radians < 1e-6
    information = pose_gradient(pose, rays, points, FOCAL_PX)[1]
    np.testing.assert_allclose(information, information.T, rtol=1e-9)
    assert np.linalg.eigvalsh(information).min() > 0


def test_refinement_resists_outliers() -> None:
    rng = np.random.default_rng(7)
    rays, points = view(rng, 200, noise_px=0.3)
    rays[::5] += rng.choice([-1, 1], (40, 2)) * 8 / FOCAL_PX
    metres, radians = off(refine_pose(TRUTH, rays, points, FOCAL_PX))
    assert metres < 0.003
    assert radians < 0.001


def test_refinement_is_where_the_loss_is_least() -> None:
    """With a third of the points off by a few pixels, where iterations with weights that follow creep; from near and
    from far it is the same pose, and a step in any direction is worse.
    """
    rng = np.random.default_rng(9)
    rays, points = view(rng, 60, noise_px=1.0)
    rays[::3] += rng.normal(size=(len(rays[::3]), 2)) * 4 / FOCAL_PX

    def loss(pose: np.ndarray) -> float:
        squared = (residuals_px(pose, rays, points, FOCAL_PX) ** 2).sum(axis=1)
        return float(np.log1p(squared / CAUCHY_PX**2).sum())

    far = turned(np.array([0.01, -0.01, 0.0]), np.array([0.02, 0.0, -0.02])) @ TRUTH
    pose, other = (refine_pose(start, rays, points, FOCAL_PX) for start in (TRUTH, far))
    np.testing.assert_allclose(pose, other, atol=1e-5)
    for step in 1e-3 * np.concatenate([np.eye(6), -np.eye(6)]):
        assert loss(turned(step[3:], step[:3]) @ pose) > loss(pose)


def test_the_information_matrix_predicts_the_spread() -> None:
    """Normalized squared errors of 6 numbers average 6 where the covariance is right, axis by axis and together."""
    rng = np.random.default_rng(8)
    rays, points = view(rng, 60)
    # the right half only, and far away: the axes are then uncertain to different degrees, and not independently
    points, rays = points[rays[:, 0] > 0.1], rays[rays[:, 0] > 0.1]
    noise_px, squared, whitened = 0.3, [], []
    for _ in range(300):
        noisy = rays + rng.normal(size=rays.shape) * noise_px / FOCAL_PX
        pose = refine_pose(TRUTH, noisy, points, FOCAL_PX)
        information = pose_gradient(pose, noisy, points, FOCAL_PX)[1]
        small = TRUTH @ se3.invert_pose(pose)
        error = np.concatenate([small[:3, 3], se3.rotation_log(small[:3, :3])])
        squared.append(error @ information @ error / noise_px**2)
        whitened.append(np.linalg.cholesky(information).T @ error / noise_px)
    assert 5.0 < np.mean(squared) < 7.0
    np.testing.assert_allclose(np.cov(np.array(whitened).T), np.eye(6), atol=0.35)
