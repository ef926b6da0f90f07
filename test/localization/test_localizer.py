"""From features to a judged pose, in a scene where the pose is known to the last digit."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from synthetic_scene import (
    CAMERA,
    Scene,
    features_of,
    make_latent_map,
    make_map,
    make_scene,
    no_drift,
    ring,
    texture,
    turned,
)

from neumap.arrays import FloatArray, ImageArray
from neumap.errors import CalibrationError, DataError
from neumap.geometry import se3
from neumap.geometry.cameras import make_camera
from neumap.localization.evidence import WIDE, Evidence
from neumap.localization.localizer import Localizer, as_gray
from neumap.localization.query import Scope
from neumap.localization.verdict import Corrected, doubts, pose_covariance
from neumap.maps.drift import DriftField, apply_deviation
from neumap.maps.neural_map import Calibration, LandmarkCodes, NeuralMap, encode_anchors, group_into_voxels
from neumap.model.codebooks import shipped_codebooks
from neumap.model.decoder import shipped_decoder
from neumap.records import PoseEstimate, Status

POSES = ring(7)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(np.random.default_rng(0), 1500)


@pytest.fixture(scope="module")
def localizer(scene: Scene) -> Localizer:
    return Localizer(make_map(scene))


def answer(localizer: Localizer, scene: Scene, pose: FloatArray, noise_px: float = 0.0) -> PoseEstimate:
    features, rays, _ = features_of(scene, pose, np.random.default_rng(1), noise_px, 0.1)
    return localizer.locate(localizer.query(features, rays, CAMERA))


def error(estimate: PoseEstimate, truth: FloatArray) -> FloatArray:
    assert estimate.localized, estimate.reason
    assert estimate.map_from_camera is not None
    return se3.pose_error(estimate.map_from_camera, truth)


@pytest.mark.parametrize("pose", POSES)
def test_the_pose_is_exact_to_the_millimetre(localizer: Localizer, scene: Scene, pose: FloatArray) -> None:
    estimate = answer(localizer, scene, pose)
    off = error(estimate, pose)
    assert np.linalg.norm(off[:3]) < 1e-3
    assert np.linalg.norm(off[3:]) < 5e-4
    assert estimate.status is Status.LOCALIZED
    assert estimate.reason == ""
    assert estimate.reprojection_error_px < 0.2
    assert set(estimate.times_ms) == {"features", "decode", "pnp", "refine"}


def test_inliers_are_keypoints_at_their_landmarks(localizer: Localizer, scene: Scene) -> None:
    features, rays, point = features_of(scene, POSES[0], np.random.default_rng(1))
    estimate = localizer.locate(localizer.query(features, rays, CAMERA))
    assert estimate.inliers == len(estimate.keypoints_px) == len(estimate.points_map) > 100
    where = {tuple(p): i for i, p in enumerate(features.pixels.tolist())}
    seen = point[[where[tuple(p)] for p in estimate.keypoints_px.tolist()]]
    np.testing.assert_allclose(estimate.points_map, scene.points[seen], atol=1e-3)


def test_the_covariance_is_one(localizer: Localizer, scene: Scene) -> None:
    estimate = answer(localizer, scene, POSES[2])
    assert estimate.covariance is not None
    np.testing.assert_array_equal(estimate.covariance, estimate.covariance.T)
    assert np.linalg.eigvalsh(estimate.covariance).min() > 0


def test_more_noise_more_covariance(localizer: Localizer, scene: Scene) -> None:
    sure, unsure = (answer(localizer, scene, POSES[2], noise_px=n).covariance for n in (0.2, 2.0))
    assert sure is not None
    assert unsure is not None
    assert np.trace(unsure[:3, :3]) > 1.3 * np.trace(sure[:3, :3])


@pytest.mark.parametrize("w", [(0.0, 0.0, 1.2), (2.0, -0.7, 0.4)])
def test_in_a_turned_map_pose_and_covariance_turn_along(
    localizer: Localizer, scene: Scene, w: tuple[float, float, float]
) -> None:
    move = turned(np.array(w), np.array([3.0, -8.0, 0.5]))
    moved = replace(scene, points=se3.transform_points(move, scene.points))
    here = answer(localizer, scene, POSES[1], noise_px=0.5)
    there = answer(Localizer(make_map(moved)), moved, move @ POSES[1], noise_px=0.5)
    assert here.map_from_camera is not None
    off = error(there, move @ here.map_from_camera)
    assert np.linalg.norm(off[:3]) < 1e-3
    assert np.linalg.norm(off[3:]) < 5e-4
    turn = np.kron(np.eye(2), move[:3, :3])
    assert here.covariance is not None
    expected = turn @ here.covariance @ turn.T
    np.testing.assert_allclose(
        there.covariance, expected, atol=0.05 * np.sqrt(np.outer(d := np.diag(expected), d)).max()
    )
    # and it does matter: unturned it would be another
    assert np.abs(here.covariance - expected).max() > 0.1 * np.abs(expected).max()


def test_the_covariance_is_a_sum_in_the_camera_frame_turned_into_the_map() -> None:
    """A camera that looks along the map's x axis, and is unsure of the depth: the map's x is unsure."""
    pose = se3.make_pose(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([5.0, 6, 7]))
    unit = np.diag([1, 4, 900, 1, 2, 3.0]) * 1e-6
    calibration = Calibration(pixel_sigma=2.0, floor_share=0.002, floor_rad=0.02, inflation=3.0)
    drift, carried = np.array([0.01, 0, 0, 0, 0, 0.03]), np.diag([0, 0, 0, 4e-4, 0, 0])
    covariance = pose_covariance(Corrected(pose, unit, drift, 5.0, carried), calibration)
    camera = 9 * (4 * np.diag(unit) + np.array([1e-4, 0, 0, 0, 0, 9e-4]) + np.repeat([1e-4, 4e-4], 3))
    camera += np.diag(carried)
    np.testing.assert_allclose(covariance, np.diag(camera[[2, 0, 1, 5, 3, 4]]), atol=1e-12)


def test_the_drift_field_corrects_the_pose(scene: Scene) -> None:
    deviation = np.array([0.03, -0.02, 0.05, 0.01, 0.02, -0.01])
    drift = DriftField(POSES, np.tile(deviation, (7, 1)), np.full(6, 0.05), 0.5, 0.5, 1e-6)
    estimate = answer(Localizer(replace(make_map(scene), drift=drift)), scene, POSES[3])
    off = error(estimate, apply_deviation(POSES[3], deviation))
    assert np.linalg.norm(off[:3]) < 2e-3
    assert np.linalg.norm(off[3:]) < 1e-3


def lost(estimate: PoseEstimate) -> str:
    """The reason of an estimate that must be none."""
    assert estimate.status is Status.LOST
    assert not estimate.localized
    assert estimate.map_from_camera is None
    assert estimate.covariance is None
    assert len(estimate.keypoints_px) == len(estimate.points_map) == 0
    assert estimate.reason
    return estimate.reason


@pytest.mark.parametrize("seed", range(5))
def test_another_place_is_lost(localizer: Localizer, seed: int) -> None:
    foreign = make_scene(np.random.default_rng(100 + seed), 1500)
    lost(answer(localizer, foreign, POSES[0]))


def test_right_descriptors_in_wrong_places_are_lost(localizer: Localizer, scene: Scene) -> None:
    rng = np.random.default_rng(3)
    features, rays, _ = features_of(scene, POSES[0], rng)
    mixed = rng.permutation(len(features))
    lost(localizer.locate(localizer.query(replace(features, pixels=features.pixels[mixed]), rays[mixed], CAMERA)))


def test_too_few_keypoints_are_lost(localizer: Localizer, scene: Scene) -> None:
    features, rays, _ = features_of(scene, POSES[0], np.random.default_rng(1))
    few = np.arange(10)
    assert "10 keypoints" in lost(localizer.locate(localizer.query(features.select(few), rays[few], CAMERA)))


def test_fewer_inliers_than_calibrated_are_lost(scene: Scene) -> None:
    strict = Localizer(replace(make_map(scene), calibration=Calibration(min_inliers=5000)))
    assert "inliers" in lost(answer(strict, scene, POSES[0]))


def test_a_pose_that_hangs_on_one_corner_of_the_image_is_none() -> None:
    dense = make_scene(np.random.default_rng(0), 16000)
    features, rays, _ = features_of(dense, POSES[0], np.random.default_rng(1))
    corner = np.flatnonzero((features.pixels < [106, 240]).all(axis=1))
    assert len(corner) > 60
    localizer = Localizer(make_map(dense))
    query = localizer.query(features.select(corner), rays[corner], CAMERA)
    assert "part of the image" in lost(localizer.locate(query))


def test_an_uncertain_pose_is_not_lost_unless_somebody_asks_for_better(scene: Scene) -> None:
    vague = Localizer(replace(make_map(scene), calibration=Calibration(floor_share=20.0)))
    estimate = answer(vague, scene, POSES[0])
    assert np.linalg.norm(error(estimate, POSES[0])[:3]) < 0.001
    distance_m = np.median(np.linalg.norm(estimate.points_map - POSES[0][:3, 3], axis=1))
    assert estimate.sigma_m == pytest.approx(20.0 * distance_m * np.sqrt(3) * Calibration().inflation, rel=0.01)
    assert estimate.certain(100.0) is estimate
    assert lost(estimate.certain(1.0)) == f"the pose is uncertain by {estimate.sigma_m:.2f} m, more than 1 m"
    assert estimate.certain(1.0).certain(1.0).sigma_m == np.inf


@pytest.mark.parametrize(
    ("inliers", "strong", "cells", "enough"),
    [
        (20, 20, 20, True),
        (20, 10, 5, True),
        (19, 19, 20, False),
        (20, 9, 20, False),
        (40, 40, 4, True),
        (39, 39, 4, False),
        (50, 50, 3, True),
        (49, 49, 3, False),
        (500, 500, 2, False),
    ],
)
def test_evidence_must_be_enough_in_every_respect(inliers: int, strong: int, cells: int, enough: bool) -> None:
    evidence = Evidence(inliers, strong, cells)
    assert evidence.suffices(20) == enough
    assert bool(doubts(evidence, 20)) != enough


@pytest.mark.parametrize("cells", [3, 4])
def test_few_parts_are_enough_where_many_confirm(cells: int) -> None:
    assert Evidence(20, 20, cells, confirming=WIDE).suffices(20)
    assert not Evidence(20, 20, cells, confirming=WIDE - 1).suffices(20)
    assert not Evidence(500, 500, 2, confirming=WIDE).suffices(20)


def test_in_a_small_part_of_the_image_more_inliers_are_needed() -> None:
    assert Evidence(50, 50, 3).suffices(20)
    assert not Evidence(49, 49, 3).suffices(20)
    assert "one small part" in doubts(Evidence(49, 49, 3), 20)


@pytest.mark.parametrize(
    ("confirming", "contradicting", "enough"), [(0, 0, True), (6, 4, True), (5, 5, False), (1, 20, False)]
)
def test_what_contradicts_discounts_the_inliers(confirming: int, contradicting: int, enough: bool) -> None:
    evidence = Evidence(34, 34, 20, confirming, contradicting)
    assert evidence.suffices(20) == enough
    assert ("contradict" in doubts(evidence, 20)) != enough


def test_outside_of_what_was_mapped_more_inliers_are_needed() -> None:
    assert Evidence(50, 50, 20, outside=True).suffices(20)
    assert not Evidence(49, 49, 20, confirming=WIDE, outside=True).suffices(20)
    # one reason to ask for more is enough
    assert Evidence(50, 50, 3, outside=True).suffices(20)


def test_however_many_inliers_there_are_most_of_the_image_must_not_contradict() -> None:
    assert Evidence(500, 500, 20, 10, 12).suffices(20)
    assert not Evidence(500, 500, 20, 8, 14).suffices(20)


def test_voxels_restrict_the_search(scene: Scene) -> None:
    neural_map = make_map(scene, voxel_m=3.5)
    features, rays, point = features_of(scene, POSES[0], np.random.default_rng(1), 0, 0.1)
    shares = [
        ((scene.points[point] >= c) & (scene.points[point] < c + 3.5)).all(axis=1).mean()
        for c in neural_map.grid.corners
    ]
    localizer = Localizer(neural_map)
    best, none = int(np.argmax(shares)), np.flatnonzero(np.array(shares) == 0)
    query = localizer.query(features, rays, CAMERA)
    off = error(localizer.locate(query, Scope(np.array([best]))), POSES[0])
    assert np.linalg.norm(off[:3]) < 1e-3
    lost(localizer.locate(query, Scope(none)))
    lost(localizer.locate(query, Scope(np.zeros(0, np.int64))))


@pytest.fixture(scope="module")
def of_latents(scene: Scene) -> Localizer:
    return Localizer(make_latent_map(scene))


@pytest.mark.parametrize("pose", POSES[::2])
def test_a_map_of_latents_gives_poses_as_exact(of_latents: Localizer, scene: Scene, pose: FloatArray) -> None:
    estimate = answer(of_latents, scene, pose)
    off = error(estimate, pose)
    # anchors of 12 bits are good to 2 mm
    assert np.linalg.norm(off[:3]) < 4e-3
    assert np.linalg.norm(off[3:]) < 2e-3
    assert set(estimate.times_ms) == {"features", "decode", "pnp", "refine"}


@pytest.mark.parametrize("seed", range(3))
def test_another_place_is_lost_in_a_map_of_latents(of_latents: Localizer, seed: int) -> None:
    lost(answer(of_latents, make_scene(np.random.default_rng(100 + seed), 1500), POSES[seed]))


@pytest.fixture(scope="module", params=["descriptors", "latents"])
def poster(request: pytest.FixtureRequest) -> tuple[ImageArray, NeuralMap]:
    """An image, and the map of a flat poster 2 m ahead that is seen so from the map's origin."""
    image = texture(np.random.default_rng(5), 480, 640)
    extract = Localizer(make_map(make_scene(np.random.default_rng(0), 50)))
    query = extract.look(image, CAMERA)
    features, rays = query.features.select(np.arange(800)), query.rays[:800]
    points = 2.0 * np.concatenate([rays, np.ones((800, 1))], axis=1)
    grid, voxel = group_into_voxels(points, 10.0, 1)
    books = shipped_codebooks()
    codes = LandmarkCodes(
        anchors=encode_anchors(points, voxel, grid),
        descriptors=books["descriptor-16"].encode(features.descriptors),
        coarse=books["coarse-8"].encode(features.coarse),
        offsets=np.array([0, 800]),
    )
    neural_map = replace(extract.map, grid=grid, landmarks=codes, drift=no_drift())
    if request.param == "descriptors":
        return image, neural_map
    frozen = shipped_decoder()
    embedded = frozen.embed(features.descriptors, features.coarse, features.size, features.angle)
    latents = frozen.codebook.encode(embedded, 8)
    codes = replace(
        codes,
        anchors=encode_anchors(points, voxel, grid, 12),
        descriptors=latents,
        coarse=latents[:, :0],
        anchor_bits=12,
    )
    return image, replace(neural_map, landmarks=codes, decoder_id=frozen.decoder_id)


def test_an_image_is_localized(poster: tuple[ImageArray, NeuralMap]) -> None:
    image, neural_map = poster
    localizer = Localizer(neural_map)
    estimate = localizer.localize(image, CAMERA)
    off = error(estimate, np.eye(4))
    assert np.linalg.norm(off[:3]) < 2e-3
    assert estimate.times_ms["features"] > 0
    colour = localizer.localize(np.repeat(image[:, :, None], 3, axis=2), CAMERA)
    np.testing.assert_array_equal(colour.map_from_camera, estimate.map_from_camera)
    column = localizer.localize(image[:, :, None], CAMERA)
    np.testing.assert_array_equal(column.map_from_camera, estimate.map_from_camera)


def test_a_scaled_image_is_localized_with_the_camera_of_the_full_size(poster: tuple[ImageArray, NeuralMap]) -> None:
    image, neural_map = poster
    half = image.reshape(240, 2, 320, 2).mean(axis=(1, 3)).astype(np.uint8)
    off = error(Localizer(neural_map).localize(half, CAMERA), np.eye(4))
    assert np.linalg.norm(off[:3]) < 0.01
    assert np.linalg.norm(off[3:]) < 0.005


def test_a_blank_image_is_lost(localizer: Localizer) -> None:
    assert "blank" in lost(localizer.localize(np.full((480, 640), 90, np.uint8), CAMERA))


def test_an_image_of_another_shape_is_refused(localizer: Localizer) -> None:
    with pytest.raises(CalibrationError, match="640x480"):
        localizer.localize(np.zeros((480, 480), np.uint8), CAMERA)


def test_keypoints_outside_the_lens_are_dropped(poster: tuple[ImageArray, NeuralMap]) -> None:
    image, neural_map = poster
    folding = make_camera(640, 480, [500, 0, 319.5, 0, 500, 239.5, 0, 0, 1], "plumb_bob", [-0.8, 0, 0, 0, 0])
    query = Localizer(neural_map).look(image, folding)
    assert np.isfinite(query.rays).all()
    assert 0 < len(query.features) == len(query.rays) == len(query.embeddings) < 2000


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64), np.float32),
        np.zeros((64, 64), np.uint16),
        np.zeros((64, 64, 2), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros(64, np.uint8),
        np.zeros((64, 31), np.uint8),
        np.zeros((0, 64), np.uint8),
        np.zeros((31, 64, 3), np.uint8),
        np.zeros((0, 0, 3), np.uint8),
        [[0, 1], [2, 3]],
        None,
    ],
)
def test_what_is_no_image_is_refused(image: ImageArray) -> None:
    with pytest.raises(DataError, match="image must be"):
        as_gray(image)


def test_colours_are_blue_green_red() -> None:
    image = np.zeros((40, 50, 3), np.uint8)
    image[..., 2] = 200
    gray = as_gray(image)
    assert gray.shape == (40, 50)
    assert abs(int(gray[0, 0]) - 0.299 * 200) < 1


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        (Evidence(100, 100, 2), "one small part"),
        (Evidence(30, 30, 4), "one small part"),
        (Evidence(100, 100, 4, confirming=3, contradicting=12), "12 parts of the image contradict"),
        (Evidence(30, 30, 9, confirming=3, contradicting=12), "12 parts of the image contradict"),
        (Evidence(100, 2, 9), "2 of them certain"),
        (Evidence(10, 10, 9), "only 10 inliers"),
        (Evidence(49, 49, 9, outside=True), "49 inliers, but the camera would be outside of all that was mapped"),
        (Evidence(19, 19, 9, outside=True), "only 19 inliers"),
        (Evidence(39, 39, 4, outside=True), "one small part"),
        (Evidence(40, 40, 4, outside=True), "outside of all that was mapped"),
    ],
)
def test_the_reason_for_doubt_is_the_one_that_holds(evidence: Evidence, reason: str) -> None:
    assert reason in doubts(evidence, 20)


def test_an_estimate_says_itself_in_a_line(scene: Scene) -> None:
    estimate = answer(Localizer(make_map(scene)), scene, POSES[0])
    told = re.fullmatch(r"camera at \((.*)\) m of the map, sigma (\S+) cm and \S+ deg, (\d+) inliers", str(estimate))
    assert told is not None
    np.testing.assert_allclose([float(each) for each in told[1].split(", ")], POSES[0][:3, 3], atol=0.002)
    assert float(told[2]) == pytest.approx(100 * estimate.sigma_m, abs=0.051)
    assert int(told[3]) == estimate.inliers
    assert str(estimate.certain(1e-9)).startswith("lost: the pose is uncertain by")
