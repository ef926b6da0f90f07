"""What tests of map files share: comparing maps, and writing files that no map would be saved as."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from neumap.errors import MapFileError
from neumap.maps.map_file import HEADER_KEY, content_id, load_map

Header = dict[str, Any]
Tensors = dict[str, Any]


def assert_same(a: object, b: object, where: str = "map") -> None:
    """Equal types and values; floating arrays as far as single precision reaches."""
    assert type(a) is type(b), where
    if is_dataclass(a):
        for f in fields(a):
            if f.name != "map_id":
                assert_same(getattr(a, f.name), getattr(b, f.name), f"{where}.{f.name}")
    elif isinstance(a, dict):
        assert isinstance(b, dict)
        assert set(a) == set(b), where
        for key in a:
            assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, np.ndarray):
        assert isinstance(b, np.ndarray)
        assert a.dtype == b.dtype, where
        if a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, atol=1e-6, err_msg=where)
        else:
            np.testing.assert_array_equal(a, b, err_msg=where)
    else:
        assert a == b or (a != a and b != b), where


def refused(path: Path | str) -> str:
    """The one sentence that says what is wrong with a file."""
    with pytest.raises(MapFileError) as caught:
        load_map(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(path) in sentence
    return sentence


def rewritten(path: Path, content: bytes, change: Callable[[Tensors, Header], object]) -> Path:
    """The map file of ``content`` with something changed, and an id that agrees with it."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][HEADER_KEY])
    tensors: Tensors = load(content)
    change(tensors, header)
    tensors = {name: np.array(value, order="C") for name, value in tensors.items()}
    header["map_id"] = content_id(tensors, header)
    path.write_bytes(save(tensors, {HEADER_KEY: json.dumps(header)}))
    return path
