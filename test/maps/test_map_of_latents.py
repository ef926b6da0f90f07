"""The map file: latents and packed anchors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from map_files import Header, Tensors, assert_same, refused, rewritten
from synthetic_scene import make_latent_map, make_map, make_scene

from neumap.maps.map_file import load_map, pack_bits, save_map, to_bytes, unpack_bits
from neumap.model.decoder import shipped_decoder

Change = Callable[[Tensors, Header], object]

SCENE = make_scene(np.random.default_rng(4), 61)
LATENTS = make_latent_map(SCENE, parts=8, anchor_bits=12, voxel_m=4.0)
CONTENT = to_bytes(LATENTS)
COUNT = len(LATENTS.landmarks)
STAGES = len(shipped_decoder().codebook.words)


# --- numbers without gaps --------------------------------------------------------------------------


@given(st.integers(4, 16), st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_packed_numbers_come_back(bits: int, count: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 2**bits, (count, 3)).astype(np.uint16)
    packed = pack_bits(values, bits)
    assert packed.dtype == np.uint8
    assert packed.shape == (int(np.ceil(3 * count * bits / 8)),)
    unpacked = unpack_bits(packed, bits, count)
    assert unpacked.dtype == np.uint16
    np.testing.assert_array_equal(unpacked, values)


@given(st.integers(4, 16), st.integers(0, 40), st.integers(-3, 3).filter(bool))
def test_more_or_fewer_bytes_are_refused(bits: int, count: int, off: int) -> None:
    length = max(0, len(pack_bits(np.zeros((count, 3), np.uint16), bits)) + off)
    if count or off > 0:
        with pytest.raises(ValueError, match=f"{3 * count} numbers of {bits} bits"):
            unpack_bits(np.zeros(length, np.uint8), bits, count)


def test_packed_numbers_are_where_they_are_said_to_be() -> None:
    values = np.array([[0xABC, 0x123, 0xDEF]], np.uint16)
    assert pack_bits(values, 12).tobytes() == bytes.fromhex("abc123def0")
    assert pack_bits(values, 16).tobytes() == bytes.fromhex("0abc01230def")
    assert pack_bits(values % 16, 4).tobytes() == bytes.fromhex("c3f0")


# --- latents ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("parts", "bits"), [(8, 12), (1, 4), (6, 12), (STAGES, 16)])
def test_a_map_of_latents_comes_back_as_it_was(tmp_path: Path, parts: int, bits: int) -> None:
    neural_map = make_latent_map(SCENE, parts, bits, voxel_m=4.0)
    assert neural_map.landmarks.descriptors.shape == (COUNT, parts)
    assert neural_map.landmarks.coarse.shape == (COUNT, 0)
    saved = save_map(tmp_path / "a.neumap", neural_map)
    loaded = load_map(tmp_path / "a.neumap")
    assert_same(neural_map, loaded)
    assert loaded.map_id == saved.map_id
    assert loaded.decoder == "latent"
    assert loaded.decoder_id == shipped_decoder().decoder_id
    points = loaded.landmarks.points(loaded.grid)
    np.testing.assert_allclose(np.sort(points, axis=0), np.sort(SCENE.points, axis=0), atol=1.01 * 2.0 / (2**bits - 1))


def test_fewer_bytes_of_anchors_and_latents_are_fewer_bytes_of_file() -> None:
    large = len(to_bytes(make_latent_map(SCENE, 8, 16, voxel_m=4.0)))
    small = len(to_bytes(make_latent_map(SCENE, 6, 12, voxel_m=4.0)))
    # safetensors pads its header to eight bytes
    assert large - small == pytest.approx(COUNT * (2 + 3 * 4 / 8), abs=16)


def forge(path: Path, change: Change) -> Path:
    """The map of latents with something changed, and an id that agrees with it."""
    return rewritten(path / "a.neumap", CONTENT, change)


def test_an_unchanged_forgery_is_a_map(tmp_path: Path) -> None:
    assert_same(LATENTS, load_map(forge(tmp_path, lambda t, h: None)))


def test_a_map_of_another_decoder_is_refused_and_both_are_named(tmp_path: Path) -> None:
    sentence = refused(forge(tmp_path, lambda t, h: h.update(decoder_id="0123456789abcdef")))
    assert "0123456789abcdef" in sentence
    assert shipped_decoder().decoder_id in sentence
    assert "map again" in sentence


@pytest.mark.parametrize("decoder_id", ["", None, 0, 7, [], {"id": 1}, "x" * 1000])
def test_what_is_no_decoder_id_is_refused(tmp_path: Path, decoder_id: object) -> None:
    refused(forge(tmp_path, lambda t, h: h.update(decoder_id=decoder_id)))


@pytest.mark.parametrize("name", ["decoder_id", "anchor_bits"])
def test_what_tells_how_codes_are_stored_must_be_there(tmp_path: Path, name: str) -> None:
    assert name in refused(forge(tmp_path, lambda t, h: h.pop(name)))


def test_descriptors_are_not_read_as_latents(tmp_path: Path) -> None:
    """Neither where the id is left out, nor where a map of descriptors claims to be one of latents."""
    refused(forge(tmp_path, lambda t, h: h.update(decoder_id="")))
    described = to_bytes(make_map(SCENE, 4.0))
    claim = shipped_decoder().decoder_id
    assert "16 + 8 bytes" in refused(
        rewritten(tmp_path / "a.neumap", described, lambda t, h: h.update(decoder_id=claim))
    )


@pytest.mark.parametrize("parts", [0, STAGES + 1])
def test_latents_of_a_length_that_cannot_be_are_refused(tmp_path: Path, parts: int) -> None:
    def change(tensors: Tensors, header: Header) -> None:
        tensors["landmark.descriptors"] = np.zeros((COUNT, parts), np.uint8)

    assert f"latents of {parts} + 0 bytes" in refused(forge(tmp_path, change))


def test_latents_and_coarse_descriptors_are_refused(tmp_path: Path) -> None:
    refused(forge(tmp_path, lambda t, h: t.update({"landmark.coarse": np.zeros((COUNT, 8), np.uint8)})))


@pytest.mark.parametrize("bits", [-12, 0, 3, 17, 12.5, "x", "12", None, [], True, 10**30])
def test_anchor_bits_that_cannot_be_are_refused(tmp_path: Path, bits: object) -> None:
    assert "anchor_bits" in refused(forge(tmp_path, lambda t, h: h.update(anchor_bits=bits)))


@pytest.mark.parametrize("bits", [4, 11, 13, 16])
def test_anchor_bits_other_than_those_of_the_anchors_are_refused(tmp_path: Path, bits: int) -> None:
    assert f"{3 * COUNT} numbers of {bits} bits" in refused(
        forge(tmp_path, lambda t, h: h.update(anchor_bits=bits)),
    )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda v: v[:-1],
        lambda v: v[:0],
        lambda v: np.append(v, v[:1]),
        lambda v: v[None],
        lambda v: v.astype(np.uint16),
        lambda v: v.view(np.int8),
        lambda v: np.zeros((COUNT, 3), np.uint16),
    ],
)
def test_anchors_of_another_length_or_type_are_refused(
    tmp_path: Path, spoil: Callable[[np.ndarray], np.ndarray]
) -> None:
    def change(tensors: Tensors, header: Header) -> None:
        tensors["landmark.anchors"] = spoil(tensors["landmark.anchors"])

    assert "anchors" in refused(forge(tmp_path, change))
