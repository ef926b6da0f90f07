"""The transformer as a function: what it may depend on and what not, and its weights as bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from synthetic_scene import features_of, make_scene, ring
from torch import Tensor

from neumap.model.network import (
    LATENT,
    RESIDUAL_M,
    WIDTH,
    NeuMapTransformer,
    keypoint_geometry,
    pack_weights,
    token_geometry,
    unpack_weights,
)

Weights = dict[str, Any]


@pytest.fixture(scope="module")
def network() -> NeuMapTransformer:
    """One whose every weight matters: as it starts, some are zero."""
    torch.manual_seed(0)
    module = NeuMapTransformer()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.05 * torch.randn(parameter.shape)
    return module.eval().requires_grad_(False)


def inputs(voxels: int, codes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Descriptors (7, 256), geometry (7, 3), codes (V, K, D), code descriptors (V, K, 256)."""
    generator = torch.Generator().manual_seed(1)

    def unit(*shape: int) -> Tensor:
        return torch.nn.functional.normalize(torch.rand(*shape, generator=generator), dim=-1)

    return (
        unit(7, 256),
        torch.randn(7, 3, generator=generator),
        torch.randn(voxels, codes, WIDTH, generator=generator),
        unit(voxels, codes, 256),
    )


def test_codes_that_only_pad_have_no_influence(network: NeuMapTransformer) -> None:
    descriptors, geometry, codes, own = inputs(1, 9)
    alone = network(descriptors, geometry, codes, own)
    padded_codes = torch.cat([codes, 50 * torch.randn(1, 4, WIDTH)], dim=1)
    padded_own = torch.cat([own, own[:, :4]], dim=1)
    present = torch.arange(13)[None] < 9
    padded = network(descriptors, geometry, padded_codes, padded_own, present)
    torch.testing.assert_close(padded.tokens, alone.tokens, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(padded.logits[..., :9], alone.logits[..., :9], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(padded.logits[..., -1], alone.logits[..., -1], atol=1e-4, rtol=1e-5)
    assert (padded.logits.softmax(dim=-1)[..., 9:13] == 0).all()


def test_voxels_do_not_see_each_other(network: NeuMapTransformer) -> None:
    descriptors, geometry, codes, own = inputs(3, 6)
    together = network(descriptors, geometry, codes, own)
    for v in range(3):
        alone = network(descriptors, geometry, codes[v : v + 1], own[v : v + 1])
        torch.testing.assert_close(together.logits[v], alone.logits[0], atol=1e-4, rtol=1e-5)


def test_keypoints_do_not_see_each_other(network: NeuMapTransformer) -> None:
    descriptors, geometry, codes, own = inputs(1, 6)
    together = network(descriptors, geometry, codes, own)
    alone = network(descriptors[2:3], geometry[2:3], codes, own)
    torch.testing.assert_close(together.logits[:, 2:3], alone.logits, atol=1e-4, rtol=1e-5)


def test_codes_are_a_set(network: NeuMapTransformer) -> None:
    descriptors, geometry, codes, own = inputs(1, 6)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    straight, mixed = (
        network(descriptors, geometry, codes, own),
        network(descriptors, geometry, codes[:, order], own[:, order]),
    )
    torch.testing.assert_close(mixed.logits[..., :6], straight.logits[..., :6][..., order], atol=1e-4, rtol=1e-5)


def test_attention_to_the_codes_changes_the_choice(network: NeuMapTransformer) -> None:
    descriptors, geometry, codes, own = inputs(1, 6)
    usual, other = (network(descriptors, geometry, c, own).logits for c in (codes, codes.flip(2)))
    assert (usual - other).abs().max() > 0.05


def test_an_untrained_network_chooses_by_descriptor() -> None:
    _, geometry, codes, own = inputs(1, 6)
    module = NeuMapTransformer().eval()
    with torch.inference_mode():
        choice = module(own[0], geometry[:6], codes, own)
        assert (choice.logits[0, :, :-1].argmax(dim=1) == torch.arange(6)).all()
        assert (module.offset(choice.tokens[0], codes[0])[0] == 0).all()


def test_residuals_are_bounded(network: NeuMapTransformer) -> None:
    offset, sigma = network.offset(1e3 * torch.randn(50, WIDTH), 1e3 * torch.randn(50, WIDTH))
    assert offset.shape == (50, 3)
    assert offset.abs().max() <= RESIDUAL_M
    assert sigma.shape == (50,)
    assert ((sigma > 1e-4) & (sigma < 10)).all()


def test_code_tokens_depend_on_anchor_descriptor_and_latent(network: NeuMapTransformer) -> None:
    descriptor, anchor, latent = torch.rand(1, 1, 256), torch.rand(1, 1, 3), torch.randn(1, 1, LATENT)
    usual = network.codes(descriptor, anchor, latent)
    assert usual.shape == (1, 1, WIDTH)
    others = [(descriptor.flip(2), anchor, latent), (descriptor, anchor + 0.01, latent), (descriptor, anchor, -latent)]
    for other in others:
        assert (network.codes(*other) - usual).abs().max() > 1e-3


def test_a_token_knows_size_and_direction_but_not_its_place() -> None:
    features, _, _ = features_of(make_scene(np.random.default_rng(0), 200), ring(1)[0], np.random.default_rng(1))
    moved = replace(features, pixels=features.pixels[::-1], response=features.response[::-1])
    np.testing.assert_array_equal(token_geometry(moved), token_geometry(features))
    a = keypoint_geometry(np.array([4.0, 8.0]), np.array([0.5, 0.5]))
    b = keypoint_geometry(np.array([4.0, 8.0]), np.array([0.5, 0.5]) + 2 * np.pi)
    np.testing.assert_allclose(a, b, atol=1e-6)
    np.testing.assert_allclose(a, [[0, np.sin(0.5), np.cos(0.5)], [np.log(2), np.sin(0.5), np.cos(0.5)]], atol=1e-6)
    assert np.isfinite(keypoint_geometry(np.zeros(1), np.zeros(1))).all()


def test_packed_weights_are_small_and_close(network: NeuMapTransformer) -> None:
    packed = pack_weights(network)
    state = network.state_dict()
    assert sum(v.nbytes for v in packed.values()) < 0.3 * sum(t.numel() * 4 for t in state.values())
    back = unpack_weights(packed).state_dict()
    assert set(back) == set(state)
    for name, value in state.items():
        largest = value.abs().amax(dim=-1, keepdim=True) if value.ndim == 2 else value.abs()
        assert ((back[name] - value).abs() <= largest * (0.5 / 127 + 2e-3) + 1e-6).all(), name


def test_unpacked_weights_decode_alike_and_pack_to_the_same(network: NeuMapTransformer) -> None:
    unpacked = unpack_weights(pack_weights(network))
    descriptors, geometry, codes, own = inputs(1, 6)
    usual, packed = network(descriptors, geometry, codes, own), unpacked(descriptors, geometry, codes, own)
    assert (usual.logits - packed.logits).abs().max() < 0.1
    assert not unpacked.training
    again = pack_weights(unpacked)
    for name, value in pack_weights(network).items():
        np.testing.assert_allclose(again[name].astype(np.float32), value.astype(np.float32), atol=1, rtol=1e-3)


def without(name: str) -> Callable[[Weights], Weights]:
    return lambda w: {n: v for n, v in w.items() if n != name}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda w: {},
        without("none_logit.bias"),
        without("blocks.1.query.weight"),
        without("embed_token.weight.scale"),
        lambda w: w | {"blocks.2.query.weight": np.zeros((2, 2), np.float16)},
        lambda w: w | {"none_logit.bias": np.zeros(2, np.float16)},
        lambda w: w | {"none_logit.bias": np.full(1, np.nan, np.float16)},
        lambda w: w | {"embed_token.weight": w["embed_token.weight"][:, :-1]},
        lambda w: w | {"embed_token.weight.scale": w["embed_token.weight.scale"][:-1]},
        lambda w: w | {"embed_token.weight.scale": np.full_like(w["embed_token.weight.scale"], np.inf)},
    ],
)
def test_foreign_weights_are_refused(network: NeuMapTransformer, spoil: Callable[[Weights], Weights]) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        unpack_weights(spoil(pack_weights(network)))
