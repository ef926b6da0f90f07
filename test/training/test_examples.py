"""What is drawn from training scenes: nothing that tells the answer, and only right answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_scenes import FOREIGN, SHOWN, tiny_scene

from neumap.arrays import Float32Array
from neumap.features.extractor import joint_descriptors
from neumap.model.encoder import keypoint_shape
from neumap.training.examples import (
    FEWEST_SCENE_LANDMARKS,
    MAX_LOG_ZOOM,
    MAX_ROLL_RAD,
    RIGHT_M,
    Augmentation,
    Example,
    ExampleSource,
    joint_of,
)
from neumap.training.scenes import UNKNOWN, TrainingScene

AS_SEEN = Augmentation(noise=0.0, turns=False)
DRAWS = 20
Rows = np.ndarray


def joint(scene: TrainingScene) -> Float32Array:
    parts = (torch.from_numpy(part.astype(np.float32)) for part in (scene.descriptors, scene.coarse))
    return np.asarray(joint_of(*parts).numpy())


def asked_rows(scene: TrainingScene, example: Example) -> Rows:
    """Which keypoints of the scene were asked about: no two have the same ray."""
    row = {ray.tobytes(): i for i, ray in enumerate(scene.rays)}
    return np.array([row[ray.tobytes()] for ray in example.rays.numpy()])


def view_rows(scene: TrainingScene, example: Example) -> Rows:
    """Which keypoints of the scene the views (L, V) are: no two have the same descriptors."""
    row = {each.tobytes(): i for i, each in enumerate(joint(scene))}
    found = [row[each.tobytes()] for each in example.view_descriptors.numpy()]
    return np.array(found).reshape(example.counts.shape)


@pytest.fixture(scope="module", params=["with queries", "all mapped"])
def scene(request: pytest.FixtureRequest) -> TrainingScene:
    return tiny_scene(0, queries=3 if request.param == "with queries" else 0)


@pytest.fixture(scope="module")
def examples(scene: TrainingScene) -> list[Example]:
    source = ExampleSource([scene], 0, AS_SEEN)
    return [source.draw(120, 300, 3) for _ in range(DRAWS)]


def test_an_image_is_asked_about_what_others_saw(scene: TrainingScene, examples: list[Example]) -> None:
    images = set()
    for example in examples:
        asked = scene.image[asked_rows(scene, example)]
        assert (asked == asked[0]).all()
        used = example.counts.numpy() > 0
        of_view = scene.image[view_rows(scene, example)]
        assert (of_view[used] != asked[0]).all()
        assert scene.mapped[of_view[used]].all()
        images.add(asked[0])
    assert len(images) > 1
    if not scene.mapped.all():
        assert not scene.mapped[list(images)].any()


def test_views_are_of_their_landmarks(scene: TrainingScene, examples: list[Example]) -> None:
    for example in examples:
        used = example.counts.numpy() > 0
        assert used.any(axis=1).all()
        rows = view_rows(scene, example)
        points = np.broadcast_to(example.points.numpy()[:, None], (*rows.shape, 3))
        np.testing.assert_array_equal(scene.points[scene.landmark[rows[used]]], points[used])
        expected = keypoint_shape(scene.size[rows.ravel()], scene.angle[rows.ravel()])
        np.testing.assert_allclose(example.view_shape.numpy(), expected, atol=1e-6)


def test_right_answers_are_near_to_what_is_shown(scene: TrainingScene, examples: list[Example]) -> None:
    several = 0
    for example in examples:
        shown = scene.landmark[asked_rows(scene, example)]
        right = example.right.numpy()
        assert not right[shown < 0].any()
        distance = np.linalg.norm(scene.points[shown][:, None] - example.points.numpy(), axis=2)
        np.testing.assert_array_equal(right[shown >= 0], distance[shown >= 0] < RIGHT_M)
        several += int((right.sum(axis=1) > 1).sum())
        # most of what an image shows can be answered, but not all
        assert 0.3 < right[shown >= 0].any(axis=1).mean() < 1
    assert several


def test_descriptors_are_joined_as_they_are_in_maps(scene: TrainingScene) -> None:
    expected = joint_descriptors(scene.descriptors.astype(np.float32), scene.coarse.astype(np.float32))
    np.testing.assert_allclose(joint(scene), expected, atol=1e-6)


def test_images_of_one_place_may_ask_together(scene: TrainingScene) -> None:
    source = ExampleSource([scene], 0, AS_SEEN)
    for _ in range(DRAWS):
        example = source.draw(400, 300, 3, images=3)
        asking = np.unique(scene.image[asked_rows(scene, example)])
        assert len(asking) == 3
        answering = scene.image[view_rows(scene, example)[example.counts.numpy() > 0]]
        assert scene.mapped[answering].all()
        assert not np.isin(answering, asking).any()


def test_so_many_as_were_asked_for(scene: TrainingScene) -> None:
    source = ExampleSource([scene], 0, AS_SEEN)
    few, all_of_them = source.draw(50, 100, 2), source.draw(10_000, 10_000, 4)
    assert few.descriptors.shape == (50, 256)
    assert few.shape.shape == (50, 3)
    assert few.counts.shape[1] == 2
    assert 50 < len(few.points) <= 100
    assert len(all_of_them.rays) == SHOWN + FOREIGN
    assert all_of_them.right.shape == (SHOWN + FOREIGN, len(all_of_them.points))


def test_some_ask_by_a_quick_look_and_none_by_what_nobody_knows(scene: TrainingScene) -> None:
    quick = np.arange(len(scene.image)) % 3 == 0
    label = np.where(np.arange(len(scene.image)) % 5 == 0, UNKNOWN, scene.landmark).astype(np.int32)
    label[scene.image == len(scene.mapped) - 1] = UNKNOWN
    changed = replace(scene, quick=quick, landmark=label)
    source = ExampleSource([changed], 0, AS_SEEN)
    asked = [asked_rows(changed, source.draw(10_000, 10_000, 2)) for _ in range(DRAWS)]
    assert all((label[rows] != UNKNOWN).all() for rows in asked)
    by_quick_look = [quick[rows].all() for rows in asked]
    assert 0 < sum(by_quick_look) < DRAWS
    for rows, few in zip(asked, by_quick_look, strict=True):
        known = label[scene.image == scene.image[rows[0]]] != UNKNOWN
        assert len(rows) == (known & quick[scene.image == scene.image[rows[0]]] if few else known).sum()


def test_a_scene_of_which_nothing_is_known_is_left_out(scene: TrainingScene) -> None:
    unknown = replace(scene, landmark=np.full_like(scene.landmark, UNKNOWN))
    with pytest.raises(ValueError, match="no training scene"):
        ExampleSource([unknown], 0, AS_SEEN)


def test_without_augmentation_keypoints_are_as_they_were(scene: TrainingScene, examples: list[Example]) -> None:
    rows = asked_rows(scene, examples[0])
    np.testing.assert_allclose(examples[0].descriptors.numpy(), joint(scene)[rows], atol=1e-3)
    expected = keypoint_shape(scene.size[rows], scene.angle[rows])
    np.testing.assert_allclose(examples[0].shape.numpy(), expected, atol=1e-6)


def test_augmentation_changes_the_keypoints_and_nothing_else(scene: TrainingScene, examples: list[Example]) -> None:
    example = ExampleSource([scene], 0, Augmentation()).draw(120, 300, 3)
    rows = asked_rows(scene, example)
    alike = np.einsum("ij,ij->i", example.descriptors.numpy(), joint(scene)[rows])
    assert 0.9 < alike.min() < np.median(alike) < 0.999
    np.testing.assert_allclose(np.linalg.norm(example.descriptors.numpy(), axis=1), 1, atol=1e-5)
    assert not np.allclose(example.shape.numpy(), keypoint_shape(scene.size[rows], scene.angle[rows]))
    # what of the scene is drawn first does not depend on the augmentation
    for name in ("rays", "view_descriptors", "view_shape", "counts", "points", "right"):
        assert torch.equal(getattr(example, name), getattr(examples[0], name)), name


def test_each_image_is_rolled_and_zoomed_as_a_whole(scene: TrainingScene) -> None:
    example = ExampleSource([scene], 0, Augmentation()).draw(400, 300, 3, images=3)
    rows = asked_rows(scene, example)
    seen = keypoint_shape(scene.size[rows], scene.angle[rows])
    shape = example.shape.numpy()
    zoom = shape[:, 0] - seen[:, 0]
    roll = (np.arctan2(*shape[:, 1:].T) - np.arctan2(*seen[:, 1:].T) + np.pi) % (2 * np.pi) - np.pi
    turns = []
    for image in np.unique(scene.image[rows]):
        of_image = scene.image[rows] == image
        assert np.ptp(zoom[of_image]) < 1e-4
        assert np.ptp(roll[of_image]) < 1e-4
        turns.append((zoom[of_image][0], roll[of_image][0]))
    assert len(turns) == 3
    assert np.ptp(turns, axis=0).min() > 0.01
    assert (np.abs(turns).max(axis=0) <= (MAX_LOG_ZOOM + 1e-4, MAX_ROLL_RAD + 1e-4)).all()


def same(one: Example, other: Example) -> bool:
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_same_seed_draws_the_same() -> None:
    scenes = [tiny_scene(0), tiny_scene(1)]
    one, again, other = (ExampleSource(scenes, seed, Augmentation()) for seed in (5, 5, 6))
    for _ in range(5):
        drawn = one.draw(60, 200, 2)
        assert same(drawn, again.draw(60, 200, 2))
        assert not same(drawn, other.draw(60, 200, 2))


def test_a_restored_source_goes_on_where_it_was() -> None:
    scenes = [tiny_scene(0), tiny_scene(1)]
    source = ExampleSource(scenes, 5, Augmentation())
    source.draw(60, 200, 2)
    state = source.state()
    expected = [source.draw(60, 200, 2) for _ in range(3)]
    for restored in (source, ExampleSource(scenes, 6, Augmentation())):
        restored.restore(state)
        assert all(same(restored.draw(60, 200, 2), example) for example in expected)


def test_scenes_of_few_landmarks_are_left_out() -> None:
    small = tiny_scene(0, landmarks=FEWEST_SCENE_LANDMARKS - 2)
    large = tiny_scene(1)
    with pytest.raises(ValueError, match="no training scene has"):
        ExampleSource([small], 0, AS_SEEN)
    with pytest.raises(ValueError, match="no training scene has"):
        ExampleSource([], 0, AS_SEEN)
    both, alone = (ExampleSource(scenes, 0, AS_SEEN) for scenes in ([small, large], [large]))
    assert all(same(both.draw(50, 100, 2), alone.draw(50, 100, 2)) for _ in range(5))
