"""Descriptors as a few bytes."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_scene import texture

from neumap.arrays import Float32Array
from neumap.features import default_settings, make_extractor
from neumap.model.codebooks import (
    VECTORS_AT_ONCE,
    WORDS,
    Codebook,
    ResidualCodebook,
    shipped_codebooks,
)
from neumap.model.decoder import shipped_decoder
from neumap.model.encoder import EMBEDDING

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
    features = make_extractor(default_settings()).whole(texture(np.random.default_rng(9), 240, 320))
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


# --- residual codes --------------------------------------------------------------------------------

STAGES, SIZE = 5, 16


def unit(rng: np.random.Generator, count: int) -> Float32Array:
    vectors = rng.normal(size=(count, SIZE))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def residual_book(shrink: float = 0.7) -> ResidualCodebook:
    """Random words, each stage so much shorter than the one before."""
    words = [shrink**s * unit(np.random.default_rng(s), WORDS) for s in range(STAGES)]
    return ResidualCodebook(np.stack(words).astype(np.float32))


BOOK = residual_book()
VECTORS = unit(np.random.default_rng(11), 400)


def left(book: ResidualCodebook, vectors: Float32Array, codes: np.ndarray) -> np.ndarray:
    """How much of the vectors (N, D) their codes (N, B) leave (N,)."""
    found = [book.words[s][codes[:, s]].astype(np.float64) for s in range(codes.shape[1])]
    return np.asarray(np.linalg.norm(vectors - np.sum(found, axis=0), axis=1))


def greedy(book: ResidualCodebook, vectors: Float32Array, parts: int) -> np.ndarray:
    rest, out = vectors.astype(np.float64), []
    for words in book.words[:parts]:
        best = np.linalg.norm(rest[:, None] - words, axis=2).argmin(axis=1)
        rest = rest - words[best]
        out.append(best)
    return np.stack(out, axis=1).astype(np.uint8)


@pytest.mark.parametrize("parts", range(1, STAGES + 1))
def test_residual_codes_have_as_many_bytes_as_asked_for(parts: int) -> None:
    codes = BOOK.encode(VECTORS, parts)
    assert codes.shape == (len(VECTORS), parts)
    assert codes.dtype == np.uint8
    decoded = BOOK.decode(codes)
    assert decoded.shape == VECTORS.shape
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(decoded, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(BOOK.encode(VECTORS, parts), codes)


def test_more_bytes_are_closer() -> None:
    by_parts = [BOOK.encode(VECTORS, parts) for parts in range(1, STAGES + 1)]
    errors = [left(BOOK, VECTORS, codes).mean() for codes in by_parts]
    assert (np.diff(errors) < 0).all()
    similarity = [(BOOK.decode(codes) * VECTORS).sum(axis=1).mean() for codes in by_parts]
    assert (np.diff(similarity) > 0).all()


def test_the_first_bytes_alone_are_a_coarser_code() -> None:
    full = BOOK.encode(VECTORS, STAGES)
    similarity = [(BOOK.decode(full[:, :parts]) * VECTORS).sum(axis=1).mean() for parts in range(1, STAGES + 1)]
    assert (np.diff(similarity) > 0).all()
    for parts in range(1, STAGES):
        # the beam chose them for what follows, so a code of that length may be a little closer
        best = (BOOK.decode(BOOK.encode(VECTORS, parts)) * VECTORS).sum(axis=1).mean()
        assert best - 0.1 < similarity[parts - 1] <= best


def test_a_single_byte_is_the_nearest_word() -> None:
    np.testing.assert_array_equal(BOOK.encode(VECTORS, 1), greedy(BOOK, VECTORS, 1))


def test_a_beam_is_at_least_as_good_as_a_greedy_choice() -> None:
    # the greedy first word is always in the beam: two bytes are never worse, more are better on the whole
    two = left(BOOK, VECTORS, BOOK.encode(VECTORS, 2)) - left(BOOK, VECTORS, greedy(BOOK, VECTORS, 2))
    assert two.max() < 1e-5
    assert two.min() < -0.01
    for parts in range(3, STAGES + 1):
        beam, alone = (left(BOOK, VECTORS, code(BOOK, VECTORS, parts)) for code in (ResidualCodebook.encode, greedy))
        assert beam.mean() < 0.98 * alone.mean()


@pytest.mark.parametrize("parts", range(1, STAGES + 1))
def test_sums_of_words_are_found_again(parts: int) -> None:
    book = residual_book(shrink=0.15)
    codes = np.random.default_rng(5).integers(0, WORDS, (300, parts)).astype(np.uint8)
    total = np.sum([book.words[s][codes[:, s]] for s in range(parts)], axis=0)
    np.testing.assert_array_equal(book.encode(total, parts), codes)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    np.testing.assert_allclose(book.decode(codes) * length, total, atol=1e-5)


def test_no_vectors_have_no_codes() -> None:
    codes = BOOK.encode(VECTORS[:0], 3)
    assert codes.shape == (0, 3)
    assert codes.dtype == np.uint8
    assert BOOK.decode(codes).shape == (0, SIZE)


def test_a_code_does_not_depend_on_what_else_is_encoded() -> None:
    codes = BOOK.encode(VECTORS, STAGES)
    np.testing.assert_array_equal(BOOK.encode(VECTORS[::-1], STAGES)[::-1], codes)
    many = np.tile(VECTORS, (1 + 2 * VECTORS_AT_ONCE // len(VECTORS), 1))
    np.testing.assert_array_equal(BOOK.encode(many, STAGES)[-len(codes) :], codes)


def test_equal_words_are_a_tie_that_falls_the_same_way() -> None:
    """All words of a stage are twins of another: any is right, but it must be the same one every time."""
    doubled = ResidualCodebook(np.concatenate([BOOK.words[:, :128], BOOK.words[:, :128]], axis=1))
    codes = doubled.encode(VECTORS, 3)
    np.testing.assert_array_equal(doubled.encode(VECTORS.copy(), 3), codes)
    assert left(doubled, VECTORS, codes).mean() <= left(doubled, VECTORS, greedy(doubled, VECTORS, 3)).mean()


def test_the_shipped_words_describe_embeddings_better_with_every_byte() -> None:
    frozen = shipped_decoder()
    f = make_extractor(default_settings()).whole(texture(np.random.default_rng(9), 240, 320))
    embedded = frozen.embed(f.descriptors, f.coarse, f.size, f.angle)
    stages = len(frozen.codebook.words)
    assert frozen.codebook.words.shape == (stages, WORDS, EMBEDDING)
    codes = [frozen.codebook.encode(embedded, parts) for parts in range(1, stages + 1)]
    similarity = [(frozen.codebook.decode(each) * embedded).sum(axis=1).mean() for each in codes]
    assert (np.diff(similarity) > 0).all()
    assert similarity[7] > 0.8
