"""The folder of training scenes: what is there is read, and places of one kind are not taken for those of another."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from tiny_scenes import tiny_scene

from neumap.training.places import training_scenes
from neumap.training.scenes import save_scene
from neumap.virtual.curriculum import random_place


@pytest.mark.parametrize(
    ("others", "names"),
    [
        ({}, ("curriculum-place-000003", "curriculum-place-000004")),
        ({"place": random_place}, ("random-place-000003", "random-place-000004")),
        ({"extractor": "xfeat"}, ("xfeat/curriculum-place-000003", "xfeat/curriculum-place-000004")),
    ],
)
def test_each_kind_of_place_has_scenes_of_its_own(
    tmp_path: Path, others: dict[str, object], names: tuple[str, str]
) -> None:
    usable, unusable = names
    path = tmp_path / f"{usable}.safetensors"
    path.parent.mkdir(exist_ok=True)
    save_scene(path, tiny_scene(3))
    (tmp_path / f"{unusable}.unusable").write_text("blank")
    before = sorted(tmp_path.rglob("*"))
    load = partial(training_scenes, tmp_path, [3, 4], [], 1)
    scenes = load(**others)  # type: ignore[arg-type]
    assert len(scenes) == 1
    assert len(scenes[0].points) == len(tiny_scene(3).points)
    assert sorted(tmp_path.rglob("*")) == before
