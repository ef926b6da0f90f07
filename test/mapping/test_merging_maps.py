"""Two maps in one: nothing is lost, nothing is there twice, and nothing is believed more than before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree
from synthetic_scene import Scene, make_latent_map, make_map, make_scene, ring

from neumap.errors import ConfigError
from neumap.features.sift import SiftSettings
from neumap.mapping.calibration import more_cautious
from neumap.mapping.merge import already_in, average_accuracy, join_drift, merge_all, merge_maps
from neumap.maps.drift import DriftField, fit_drift
from neumap.maps.map_file import load_map, save_map
from neumap.maps.neural_map import VOXEL_M, Calibration, ExpectedAccuracy, NeuralMap
from neumap.maps.recording import Recording

APART = np.array([20.0, 3.0, 0.0])


def moved(scene: Scene, by: np.ndarray) -> Scene:
    return replace(scene, points=scene.points + by)


def part(scene: Scene, first: int, last: int) -> Scene:
    return Scene(scene.points[first:last], scene.fine[first:last], scene.coarse[first:last])


def assert_holds(neural_map: NeuralMap, scene: Scene) -> None:
    """Each point of the scene is in the map once, with its codes; but for strays in voxels that are all but empty."""
    row = {codes.tobytes(): index for index, codes in enumerate(scene.fine)}
    found = np.array([row[codes.tobytes()] for codes in neural_map.landmarks.descriptors])
    assert len(np.unique(found)) == len(found)
    assert len(found) >= 0.95 * len(scene.points)
    points = neural_map.landmarks.points(neural_map.grid)
    np.testing.assert_allclose(points, scene.points[found], atol=2 * VOXEL_M / 65535)
    np.testing.assert_array_equal(neural_map.landmarks.coarse, scene.coarse[found])


def test_two_rooms_are_one_map(tmp_path: object) -> None:
    one = make_scene(np.random.default_rng(0), 700)
    other = moved(make_scene(np.random.default_rng(1), 500), APART)
    drives = [Recording(name, 0, 10**9, 640, 480, 500.0) for name in ("first", "both", "second")]
    merged = merge_maps(
        replace(make_map(one), mapping_images=3, recordings=tuple(drives[:2])),
        replace(make_map(other), mapping_images=4, recordings=tuple(drives[1:])),
    )
    both = Scene(*(np.concatenate([getattr(s, n) for s in (one, other)]) for n in ("points", "fine", "coarse")))
    assert_holds(merged, both)
    assert merged.grid.size_m == VOXEL_M
    assert len(merged.grid) > 4
    assert merged.mapping_images == 7
    assert merged.recordings == tuple(drives)
    assert merged.map_id == ""
    saved = save_map(f"{tmp_path}/both.neumap", merged)
    assert load_map(f"{tmp_path}/both.neumap").map_id == saved.map_id


def test_what_both_maps_hold_is_kept_once() -> None:
    scene = make_scene(np.random.default_rng(2), 900)
    first, second = make_map(part(scene, 0, 600)), make_map(part(scene, 300, 900))
    assert_holds(merge_maps(first, second), scene)
    assert_holds(merge_all([first, second, first]), scene)


def test_a_map_merged_with_itself_is_itself() -> None:
    neural_map = make_map(make_scene(np.random.default_rng(3), 400), voxel_m=VOXEL_M)
    merged = merge_maps(neural_map, neural_map)
    np.testing.assert_array_equal(merged.grid.cells, neural_map.grid.cells)
    np.testing.assert_array_equal(merged.landmarks.anchors, neural_map.landmarks.anchors)
    assert merge_all([neural_map]) is neural_map


def test_places_that_share_space_must_share_landmarks() -> None:
    one, other = (make_scene(np.random.default_rng(seed), 900) for seed in (6, 7))
    maps = [make_map(one), make_map(other)]
    for pair in (maps, maps[::-1]):
        with pytest.raises(ConfigError) as refused:
            merge_maps(*pair)
    assert str(refused.value) == (
        "map 1 and map 2 share space but no landmarks there, as if of two places or frames: map both in one frame, or "
        "give --apart if they are side by side or above each other"
    )
    both = Scene(*(np.concatenate([getattr(s, n) for s in (one, other)]) for n in ("points", "fine", "coarse")))
    assert_holds(merge_maps(*maps, apart=True), both)


def test_a_recording_between_two_others_joins_them() -> None:
    """By day and by night nothing looks alike; at dusk some looks like either."""
    scene = make_scene(np.random.default_rng(6), 1800)
    day, dusk, night = part(scene, 0, 900), part(scene, 600, 1200), part(scene, 900, 1800)
    with pytest.raises(ConfigError, match="night share space but no landmarks"):
        merge_all([make_map(day), make_map(night)], names=["day", "night"])
    assert_holds(merge_all([make_map(day), make_map(night), make_map(dusk)]), scene)
    stranger = make_map(make_scene(np.random.default_rng(7), 900))
    with pytest.raises(ConfigError, match="map 1 and map 4 share"):
        merge_all([make_map(day), make_map(night), make_map(dusk), stranger])


def test_rooms_that_only_touch_share_no_space() -> None:
    one, other = (make_scene(np.random.default_rng(seed), 900) for seed in (6, 7))
    wall_m = 0.6
    beside = moved(other, np.array([6.0 + wall_m, 0, 0]))
    merged = merge_maps(make_map(one), make_map(beside))
    assert len(merged.landmarks) >= 0.95 * 1800


def test_drift_between_two_recordings_is_no_reason_to_refuse() -> None:
    scene = make_scene(np.random.default_rng(6), 900)
    drifted = moved(part(scene, 300, 900), np.array([0.05, -0.05, 0.03]))
    merge_maps(make_map(part(scene, 0, 600)), make_map(drifted))


def test_the_most_useful_of_each_map_come_first() -> None:
    scene = make_scene(np.random.default_rng(4), 400)
    middle = Scene(scene.points * 0.2, scene.fine, scene.coarse)
    first, second = make_map(part(middle, 0, 200)), make_map(part(middle, 200, 400))
    merged = merge_maps(first, second, apart=True)
    assert len(merged.grid) == 1
    of_first = (merged.landmarks.descriptors[:, None] == first.landmarks.descriptors).all(axis=2).any(axis=1)
    assert 90 <= of_first[:200].sum() <= 110


def test_the_same_place_or_the_same_look_alone_is_no_duplicate() -> None:
    looks = np.eye(4, dtype=np.float32)
    points = np.zeros((1, 3))
    near, far = np.array([[0.01, 0, 0]]), np.array([[0.05, 0, 0]])
    assert already_in(points, looks[:1], near, looks[:1]).tolist() == [True]
    assert already_in(points, looks[:1], near, looks[1:2]).tolist() == [False]
    assert already_in(points, looks[:1], far, looks[:1]).tolist() == [False]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"frame_id": "cellar"}, "'cellar'"),
        ({"features": SiftSettings(max_keypoints=400)}, "feature settings"),
        ({"decoder_id": "0123"}, "decoder"),
    ],
)
def test_maps_that_were_not_made_alike(change: dict[str, object], said: str) -> None:
    neural_map = make_map(make_scene(np.random.default_rng(5), 50))
    with pytest.raises(ConfigError, match=said):
        merge_maps(neural_map, replace(neural_map, **change))  # type: ignore[arg-type]


def test_codes_of_other_lengths() -> None:
    short, long = (make_map(make_scene(np.random.default_rng(6), 50, parts)) for parts in ((16, 8), (32, 16)))
    with pytest.raises(ConfigError, match="bytes of a landmark"):
        merge_maps(short, long)


def test_anchors_are_stored_as_in_the_first() -> None:
    one, other = (make_scene(np.random.default_rng(seed), 300) for seed in (6, 7))
    merged = merge_maps(make_latent_map(one, anchor_bits=12), make_latent_map(other, anchor_bits=16), apart=True)
    assert merged.landmarks.anchor_bits == 12
    assert len(merged.landmarks) > 550
    nearest, _ = cKDTree(np.concatenate([one.points, other.points])).query(merged.landmarks.points(merged.grid))
    assert nearest.max() < np.sqrt(3) * 0.6 * VOXEL_M / 4095 + np.sqrt(3) * 0.6 * 10.0 / 4095


def test_joined_drift_knows_both_places_and_is_as_careful_as_either() -> None:
    rng = np.random.default_rng(8)

    def field(centre: np.ndarray, size: float) -> DriftField:
        poses = ring(20)
        poses[:, :3, 3] += centre
        given_poses = poses.copy()
        given_poses[:, :3, 3] += size * rng.normal(size=3)
        return fit_drift(poses, given_poses)

    parts = [field(np.zeros(3), 0.01), field(APART, 0.03)]
    joined = join_drift(parts)
    assert len(joined.poses) == 40
    for part_ in parts:
        at = part_.poses[4]
        assert np.linalg.norm(joined.predict(at)[0] - part_.predict(at)[0]) < 0.3 * np.linalg.norm(part_.predict(at)[0])
        assert (joined.scale >= part_.scale).all()
        far = part_.poses[4].copy()
        far[:3, 3] += 100
        assert (joined.predict(far)[1] >= part_.predict(far)[1] - 1e-12).all()


def test_the_more_cautious_calibration() -> None:
    one, other = Calibration(4.0, 0.002, 0.001, 1.0, 13), Calibration(1.0, 0.01, 0.003, 1.5, 20)
    assert more_cautious(one, other) == Calibration(4.0, 0.01, 0.003, 1.5, 20)


def test_accuracies_weigh_by_their_images() -> None:
    one = ExpectedAccuracy(30, 1.0, 0.01, 0.5, 0.9, 1.0, 0.8)
    other = ExpectedAccuracy(10, 0.5, 0.02, 1.0, 0.5, 0.6, 0.4)
    both = average_accuracy(one, other)
    assert (both.images, both.localized) == (40, pytest.approx(0.875))
    assert both.within_5cm_5deg == pytest.approx(0.8)
    assert both.median_m == pytest.approx((30 * 0.01 + 5 * 0.02) / 35)
    assert average_accuracy(one, ExpectedAccuracy()) == average_accuracy(ExpectedAccuracy(), one) == one
    lost = ExpectedAccuracy(images=10, localized=0.0, within_5cm_5deg=0.0, within_25cm_10deg=0.0)
    assert average_accuracy(one, lost).median_m == pytest.approx(0.01)
    assert np.isnan(average_accuracy(lost, lost).median_m)
