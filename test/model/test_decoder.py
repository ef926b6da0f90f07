"""The frozen decoder: its file, its id, and what it makes of keypoints."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from synthetic_scene import features_of, make_scene, ring, texture

from neumap.arrays import Float32Array
from neumap.errors import MapFileError
from neumap.features import DEFAULT, default_settings, make_extractor
from neumap.features.extractor import Features
from neumap.model.codebooks import WORDS
from neumap.model.decoder import KEYPOINTS_AT_ONCE, FrozenDecoder, load_decoder, save_decoder, shipped_decoder
from neumap.model.encoder import EMBEDDING, KeypointEncoder
from neumap.model.transformer import Transformer
from neumap.model.weights import DECODER_FILE, EXTRACTOR_KEY, shipped_weights

Tensors = dict[str, Any]
LARGEST_FILE = 10_000_000


def untrained() -> tuple[KeypointEncoder, Transformer, Float32Array]:
    """An encoder and a transformer whose every weight matters, and words."""
    torch.manual_seed(0)
    encoder, transformer = KeypointEncoder(256), Transformer()
    with torch.no_grad():
        for parameter in (*encoder.parameters(), *transformer.parameters()):
            parameter.add_(0.05 * torch.randn_like(parameter))
        encoder.min_similarity.fill_(0.375)
    words = np.random.default_rng(0).normal(size=(3, WORDS, EMBEDDING)).astype(np.float32)
    return encoder, transformer, words


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an untrained decoder. Not to be written to."""
    path = tmp_path_factory.mktemp("decoder") / "decoder.safetensors"
    save_decoder(path, DEFAULT, *untrained())
    return path


@pytest.fixture(scope="module")
def keypoints() -> Features:
    return make_extractor(default_settings()).whole(texture(np.random.default_rng(3), 240, 320))


def embed(decoder: FrozenDecoder, features: Features) -> Float32Array:
    return decoder.embed(features.descriptors, features.coarse, features.size, features.angle)


# --- the file --------------------------------------------------------------------------------------


def test_a_decoder_comes_back_as_it_was(path: Path) -> None:
    encoder, transformer, words = untrained()
    loaded = load_decoder(path)
    np.testing.assert_array_equal(loaded.codebook.words, words.astype(np.float16))
    assert loaded.codebook.words.dtype == np.float32
    assert loaded.min_similarity == 0.375
    for given, module in ((encoder, loaded.encoder), (transformer, loaded.transformer)):
        expected, state = given.state_dict(), module.state_dict()
        assert set(state) == set(expected)
        for name, value in state.items():
            np.testing.assert_array_equal(value.numpy(), expected[name].half().float().numpy(), err_msg=name)
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())


def test_what_was_loaded_is_saved_as_the_same_decoder(path: Path, tmp_path: Path) -> None:
    loaded = load_decoder(path)
    save_decoder(tmp_path / "again", loaded.extractor, loaded.encoder, loaded.transformer, loaded.codebook.words)
    assert load_decoder(tmp_path / "again").decoder_id == loaded.decoder_id
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def rewritten(path: Path, to: Path, change: Callable[[Tensors], object]) -> Path:
    """The file at ``path`` with something changed."""
    tensors: Tensors = load_file(path)
    change(tensors)
    save_file(tensors, to, {EXTRACTOR_KEY: DEFAULT})
    return to


def test_any_number_changed_is_another_decoder(path: Path, tmp_path: Path) -> None:
    names = sorted(load_file(path))
    ids = {load_decoder(path).decoder_id}
    for name in names:

        def change(tensors: Tensors, name: str = name) -> None:
            last = tensors[name].reshape(-1)[-1:]
            last += np.float16(0.25)

        ids.add(load_decoder(rewritten(path, tmp_path / "other", change)).decoder_id)
    assert len(ids) == 1 + len(names)
    assert all(len(each) == 16 and int(each, 16) >= 0 for each in ids)


def refused(path: Path) -> str:
    with pytest.raises(MapFileError) as caught:
        load_decoder(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 8, b"\xff" * 100, b"\0" * 10_000])
def test_what_is_no_decoder(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other").write_bytes(content)
    refused(tmp_path / "other")


def test_what_is_no_file(tmp_path: Path) -> None:
    refused(tmp_path / "missing")
    refused(tmp_path)


def test_a_truncated_file_is_refused(path: Path, tmp_path: Path) -> None:
    content = path.read_bytes()
    for length in np.linspace(0, len(content) - 1, 25).astype(int):
        (tmp_path / "short").write_bytes(content[:length])
        refused(tmp_path / "short")


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    """Such as the codebooks that are shipped beside it."""
    refused(DECODER_FILE.with_name("codebooks.safetensors"))
    words = {"words": np.zeros((3, WORDS, EMBEDDING), np.float16)}
    save_file(words, tmp_path / "words alone", {EXTRACTOR_KEY: DEFAULT})
    refused(tmp_path / "words alone")
    save_file(load_file(DECODER_FILE), tmp_path / "nameless")
    assert EXTRACTOR_KEY in refused(tmp_path / "nameless")


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.pop("words"),
        lambda t: t.pop("encoder.linear.weight"),
        lambda t: t.update({"other": np.zeros(3, np.float16)}),
        lambda t: t.update({"encoder.other": np.zeros(3, np.float16)}),
        lambda t: t.update({"encoder.linear.weight": t["encoder.linear.weight"][:, :-1].copy()}),
        lambda t: t.update(words=t["words"][:, :-1].copy()),
        lambda t: t.update(words=t["words"][..., :-1].copy()),
        lambda t: t.update(words=t["words"][0].copy()),
        lambda t: t.update(words=t["words"][:0].copy()),
        lambda t: t.update(words=np.array(1.0, np.float16)),
    ],
)
def test_a_decoder_of_another_shape_is_refused(path: Path, tmp_path: Path, change: Callable[[Tensors], object]) -> None:
    refused(rewritten(path, tmp_path / "other", change))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_refused(path: Path, tmp_path: Path, value: float) -> None:
    for name in sorted(load_file(path)):

        def change(tensors: Tensors, name: str = name) -> None:
            tensors[name].reshape(-1)[-1:] = value

        assert "not finite" in refused(rewritten(path, tmp_path / "other", change))


# --- what ships ------------------------------------------------------------------------------------


def test_the_package_ships_a_small_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise AssertionError("the decoder must not need a network")

    monkeypatch.setattr(socket, "socket", offline)
    monkeypatch.setattr(socket, "create_connection", offline)
    assert DECODER_FILE.stat().st_size <= LARGEST_FILE
    loaded = load_decoder(DECODER_FILE)
    assert loaded.decoder_id == shipped_decoder().decoder_id == shipped_weights().decoder_id
    assert shipped_decoder() is shipped_decoder()
    assert not loaded.encoder.training


# --- what it makes of keypoints --------------------------------------------------------------------


def test_embeddings_are_unit_vectors_and_the_same_again(keypoints: Features) -> None:
    decoder = shipped_decoder()
    embedded = embed(decoder, keypoints)
    assert embedded.shape == (len(keypoints), EMBEDDING)
    assert embedded.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(embed(decoder, keypoints), embedded)


def test_an_embedding_does_not_depend_on_what_else_is_embedded(keypoints: Features) -> None:
    decoder = shipped_decoder()
    embedded = embed(decoder, keypoints)
    backwards = keypoints.select(np.arange(len(keypoints))[::-1])
    np.testing.assert_allclose(embed(decoder, backwards)[::-1], embedded, atol=1e-5)
    for i in (0, len(keypoints) - 1):
        np.testing.assert_allclose(embed(decoder, keypoints.select(np.array([i])))[0], embedded[i], atol=1e-5)
    many = keypoints.select(np.resize(np.arange(len(keypoints)), KEYPOINTS_AT_ONCE + 7))
    np.testing.assert_allclose(embed(decoder, many)[-7:], np.resize(embedded, (len(many), EMBEDDING))[-7:], atol=1e-5)


def test_nothing_is_embedded_as_nothing(keypoints: Features) -> None:
    assert embed(shipped_decoder(), keypoints.select(np.zeros(0, np.int64))).shape == (0, EMBEDDING)


def test_keypoints_without_surroundings_or_size_are_embedded_too(keypoints: Features) -> None:
    """A keypoint at the border may have no coarse descriptor, and a blank one none at all."""
    nothing = np.zeros_like(keypoints.descriptors)
    for size in (np.zeros(len(keypoints)), np.full(len(keypoints), 1e6)):
        for descriptors in (keypoints.descriptors, nothing):
            embedded = shipped_decoder().embed(descriptors, nothing, size, keypoints.angle)
            np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), 1, atol=1e-5)


def test_half_precision_embeds_the_same(keypoints: Features) -> None:
    """Mapping keeps descriptors in half precision, a query in single."""
    decoder = shipped_decoder()
    half = decoder.embed(
        keypoints.descriptors.astype(np.float16),
        keypoints.coarse.astype(np.float16),
        keypoints.size.astype(np.float64),
        keypoints.angle.astype(np.float64),
    )
    assert ((half * embed(decoder, keypoints)).sum(axis=1) > 0.9999).all()


def test_another_view_of_a_keypoint_is_embedded_nearby_and_others_are_not() -> None:
    scene = make_scene(np.random.default_rng(0), 800)
    views = []
    for seed in (1, 2):
        features, _, point = features_of(scene, ring(8)[1], np.random.default_rng(seed), descriptor_noise=0.1)
        views.append(embed(shipped_decoder(), features)[np.argsort(point)])
    similarity = views[0] @ views[1].T
    assert (similarity.argmax(axis=1) == np.arange(len(similarity))).mean() > 0.99
    assert np.median(np.diag(similarity)) > 0.9
    assert np.median(similarity) < 0.5
