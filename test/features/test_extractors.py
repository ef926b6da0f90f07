"""Extractors by name, and what another one takes: a module, a line, and a training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from map_files import refused
from orb_extractor import OrbSettings
from synthetic_scene import make_latent_map, make_scene, texture

from neumap import features
from neumap.errors import ConfigError, MapFileError
from neumap.features import DEFAULT, EXTRACTORS, default_settings, extractor_class, make_extractor
from neumap.io.sources import open_source
from neumap.localization.localizer import Localizer
from neumap.mapping.build import map_of
from neumap.mapping.settings import MappingSettings
from neumap.mapping.survey import survey
from neumap.maps.map_file import load_map, save_map
from neumap.model import weights
from neumap.model.decoder import load_decoder, save_decoder, shipped_decoder
from neumap.training.pretraining import PretrainSettings, pretrain
from neumap.training.scenes import make_training_scene

WITH_ORB = EXTRACTORS | {"orb": "orb_extractor:Orb"}


@pytest.fixture
def with_orb(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The line that makes the other extractor known."""
    monkeypatch.setattr(features, "EXTRACTORS", WITH_ORB)
    monkeypatch.setattr("neumap.maps.map_file.EXTRACTORS", WITH_ORB)
    yield
    extractor_class.cache_clear()


@pytest.mark.parametrize("name", WITH_ORB)
@pytest.mark.usefixtures("with_orb")
def test_an_extractor_is_what_it_says(name: str) -> None:
    kind, settings = extractor_class(name), default_settings(name)
    assert settings.extractor == name
    assert type(settings) is kind.settings_class
    image = texture(np.random.default_rng(0), 480, 640)
    extractor = make_extractor(replace(settings, max_keypoints=200))
    found = extractor.quick(image)
    assert 100 <= len(found) <= len(extractor.whole(image, found)) <= 200
    assert len(extractor.whole(image)) > 150
    assert found.descriptors.shape[1:] == (kind.descriptor_size,)
    assert found.coarse.shape[1:] == (kind.coarse_size,)
    assert (np.diff(found.response) <= 0).all()
    np.testing.assert_allclose(np.linalg.norm(found.descriptors, axis=1), 1, atol=1e-5)
    extractor = make_extractor(settings)
    first = extractor.quick(image)
    for whole in (extractor.whole(image, first), extractor.whole(image)):
        assert len(first) <= len(whole) <= settings.max_keypoints
        np.testing.assert_array_equal(whole.descriptors[: len(first)], first.descriptors)
        assert (np.diff(whole.response[len(first) :]) <= 0).all()
    blank = extractor.whole(np.zeros((480, 640), np.uint8))
    assert len(blank) == 0
    assert blank.descriptors.shape == (0, kind.descriptor_size)


def test_an_unknown_name() -> None:
    with pytest.raises(ConfigError, match="unknown feature extractor 'orb': known are rootsift"):
        default_settings("orb")
    with pytest.raises(TypeError, match="OrbSettings"):
        extractor_class(DEFAULT)(OrbSettings())


@pytest.mark.usefixtures("with_orb")
@pytest.mark.parametrize("decoder", ["latent", "descriptor"])
def test_a_decoder_of_another_extractor_is_one_clear_error(decoder: str) -> None:
    with pytest.raises(ConfigError, match=f"{decoder} decoder of this neumap reads rootsift features, not orb:"):
        MappingSettings(decoder=decoder, features=OrbSettings())


def test_a_map_and_a_decoder_of_an_extractor_that_is_not_there(tmp_path: Path, with_orb: None) -> None:
    neural_map = replace(make_latent_map(make_scene(np.random.default_rng(0), 50)), features=OrbSettings())
    save_map(tmp_path / "a.neumap", neural_map)
    assert "reads rootsift features, not orb" in refused(tmp_path / "a.neumap")
    shipped = shipped_decoder()
    save_decoder(tmp_path / "d", "vlad", shipped.encoder, shipped.transformer, shipped.codebook.words)
    with pytest.raises(MapFileError, match="unknown feature extractor 'vlad'"):
        load_decoder(tmp_path / "d")
    save_decoder(tmp_path / "d", "orb", shipped.encoder, shipped.transformer, shipped.codebook.words)
    # of as many numbers, though they are others: nothing but the name tells
    assert load_decoder(tmp_path / "d").extractor == "orb"


def test_another_extractor_maps_and_localizes_after_a_training(
    virtual_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_orb: None
) -> None:
    frames = open_source(virtual_world / "mapping", poses=True).frames[:24]
    scene = make_training_scene(frames, (), OrbSettings())
    assert scene.coarse.shape[1] == 0
    settings = PretrainSettings(steps=10, transformer_steps=10, keypoints=256, transformer_keypoints=64, landmarks=800)
    trained = pretrain([scene], replace(settings, learning_rate=1e-6), tmp_path / "checkpoint")
    save_decoder(tmp_path / "d", "orb", trained.encoder, trained.transformer, trained.words.words.numpy())
    monkeypatch.setattr(weights, "DECODER_FILE", tmp_path / "d")
    caches = weights.shipped_weights, shipped_decoder
    for cached in caches:
        cached.cache_clear()
    try:
        told = MappingSettings(features=OrbSettings(max_keypoints=1000))
        neural_map = map_of(replace(survey(frames, told), aside=()), told)
        save_map(tmp_path / "a.neumap", neural_map)
        loaded = load_map(tmp_path / "a.neumap")
        assert loaded.features == OrbSettings(max_keypoints=1000)
        localizer = Localizer(loaded)
        found = [localizer.localize(frame.read_image(), frame.camera) for frame in frames[::6]]
        assert sum(estimate.localized for estimate in found) >= 2
    finally:
        monkeypatch.undo()
        for cached in caches:
            cached.cache_clear()
