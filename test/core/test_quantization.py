"""Descriptors as a few bytes."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_scene import texture

from neumap_ros.core.features import FeatureExtractor
from neumap_ros.core.quantization import WORDS, Codebook, shipped_codebooks, train_codebook

NAMES = ("descriptor-16", "descriptor-32", "coarse-8", "coarse-16")


def test_the_package_ships_its_codebooks() -> None:
    books = shipped_codebooks()
    assert set(books) == set(NAMES)
    for name, book in books.items():
        assert book.parts == int(name.split("-")[1])
        assert book.words.shape == (book.parts, WORDS, 128 // book.parts)
        assert book.words.dtype == np.float32
        assert np.isfinite(book.words).all()


@pytest.mark.parametrize("name", NAMES)
def test_words_decode_to_themselves(name: str) -> None:
    book = shipped_codebooks()[name]
    codes = np.random.default_rng(0).integers(0, WORDS, (500, book.parts)).astype(np.uint8)
    raw = book.words[np.arange(book.parts), codes].reshape(500, 128)
    np.testing.assert_array_equal(book.encode(raw), codes)
    decoded = book.decode(codes)
    np.testing.assert_allclose(np.linalg.norm(decoded, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(decoded * np.linalg.norm(raw, axis=1, keepdims=True), raw, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "least"), [("descriptor-16", 0.95), ("descriptor-32", 0.97), ("coarse-8", 0.88), ("coarse-16", 0.93)]
)
def test_codes_of_an_unseen_texture_are_close_to_it(name: str, least: float) -> None:
    features = FeatureExtractor()(texture(np.random.default_rng(9), 240, 320))
    descriptors = features.coarse if name.startswith("coarse") else features.descriptors
    book = shipped_codebooks()[name]
    codes = book.encode(descriptors)
    assert codes.shape == (len(descriptors), book.parts)
    assert codes.dtype == np.uint8
    assert (book.decode(codes) * descriptors).sum(axis=1).mean() > least


def test_encoding_takes_the_nearest_word() -> None:
    rng = np.random.default_rng(3)
    book = Codebook(rng.random((4, WORDS, 8)).astype(np.float32))
    descriptors = rng.random((20, 32)).astype(np.float32)
    parts = descriptors.reshape(20, 4, 1, 8)
    expected = np.linalg.norm(parts - book.words, axis=3).argmin(axis=2)
    np.testing.assert_array_equal(book.encode(descriptors), expected)


def test_nothing_is_encoded_and_decoded_to_nothing() -> None:
    book = shipped_codebooks()["descriptor-16"]
    codes = book.encode(np.zeros((0, 128), np.float32))
    assert codes.shape == (0, 16)
    assert book.decode(codes).shape == (0, 128)


def test_a_trained_codebook_fits_its_data_and_is_the_same_again() -> None:
    rng = np.random.default_rng(5)
    centres = rng.random((40, 128))
    data = centres[rng.integers(0, 40, 2000)] + rng.normal(size=(2000, 128)) * 0.01
    data = (data / np.linalg.norm(data, axis=1, keepdims=True)).astype(np.float32)
    book = train_codebook(data, 8, seed=1)
    assert book.words.shape == (8, WORDS, 16)
    assert (book.decode(book.encode(data)) * data).sum(axis=1).min() > 0.99
    np.testing.assert_array_equal(train_codebook(data, 8, seed=1).words, book.words)
