#!/usr/bin/env python3
"""Ablations of the frozen decoder: maps of one survey and size, each with one change.

    python benchmarks/ablations.py SCENE [SCENE ...] [--size 100KB] [--decoders NAME=FILE ...] [--rows NAME ...]

SCENE is a folder as in run.py; each map also gets the queries of the other scenes. NAME=FILE is a decoder of `neumap
pretrain` or of architectures.py, such as one trained without augmentation, in place of the shipped one.

Most changes have no switch in the product, so they are patched while a map is made and opened.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import scipy.sparse

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.scoring import foreign_text, markdown, median_text, named, score_all
from neumap.arrays import FloatArray, IntArray
from neumap.cli import options
from neumap.cli.progress import StageProgress
from neumap.io.sources import open_source
from neumap.localization import evidence
from neumap.localization.localizer import Localizer
from neumap.localization.solver import Solver
from neumap.mapping import encoding, selection
from neumap.mapping.build import map_of
from neumap.mapping.settings import MappingSettings
from neumap.mapping.survey import survey
from neumap.maps.map_file import to_bytes
from neumap.maps.neural_map import NeuralMap
from neumap.model import weights
from neumap.model.decoder import shipped_decoder
from neumap.process import set_up
from neumap.progress import Progress

HEAD = ("", "map", "landmarks", "5 cm, 5°", "25 cm, 10°", "median", "wrong", "foreign with a pose")
LATENT_BYTES = (4, 6, 8, 12, 16)
ANCHOR_BITS = (8, 12, 16)
# landmarks that gates leave, from weak to strong sparsity, and steps for each
GATE_BUDGETS, GATE_STEPS = (16_000, 11_000, 8000, 6000, 4000, 2000, 1000), 150


@dataclass(frozen=True)
class Variant:
    """A row: the patches while its map is made and opened, and the options of `neumap map`."""

    changed: Callable[[], AbstractContextManager[object]] = nullcontext
    settings: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def searching(**attributes: Any) -> Iterator[None]:
    """Set attributes of the solvers of all searches in this context."""
    begin = Solver.__init__

    def begin_otherwise(solver: Solver, neural_map: NeuralMap) -> None:
        begin(solver, neural_map)
        for name, value in attributes.items():
            # fails for a missing attribute, so that no row is without its change
            getattr(solver, name)
            setattr(solver, name, value)

    with mock.patch.object(Solver, "__init__", begin_otherwise):
        yield


@contextmanager
def shipping(path: Path) -> Iterator[None]:
    """Use the decoder at ``path`` as the shipped one in this context."""
    caches = weights.shipped_weights, shipped_decoder
    for cached in caches:
        cached.cache_clear()
    try:
        with mock.patch.object(weights, "DECODER_FILE", path):
            yield
    finally:
        for cached in caches:
            cached.cache_clear()


def whole_images() -> AbstractContextManager[object]:
    """Let coverage count the landmarks of an image, regardless of their position."""
    cover = selection.choose_by_coverage

    def cover_images(visibility: scipy.sparse.csr_matrix, count: int) -> IntArray:
        seen = visibility.tocoo()
        shape = (visibility.shape[0], visibility.shape[1] // evidence.CELLS)
        images = scipy.sparse.csr_matrix((seen.data, (seen.row, seen.col // evidence.CELLS)), shape=shape)
        images.data[:] = 1
        return cover(images, count)

    return mock.patch.object(selection, "choose_by_coverage", cover_images)


def choose_randomly(visibility: scipy.sparse.csr_matrix, count: int) -> IntArray:
    """Choose landmarks at random, in place of :func:`neumap.mapping.selection.choose_by_coverage`."""
    return np.random.default_rng(0).permutation(visibility.shape[0])[:count]


def choose_by_gates(visibility: scipy.sparse.csr_matrix, count: int) -> IntArray:
    """As :func:`neumap.mapping.selection.choose_by_coverage`, but by gates in 0..1 that a sparsity term closes.

    The gates g of all landmarks maximize the sum of log(1 + visibility.T @ g) over all cells of the mapping images less
    an L1 term, by projected gradients from one weight of that term to the next; the later a landmark's gate closes, the
    more important it is. The product's greedy choice is the same objective with gates that are open or closed.
    """
    total = visibility.shape[0]
    seen_by, open_for = visibility.T.tocsr(), np.zeros(total)
    gates = np.ones(total)
    for budget in [n for n in GATE_BUDGETS if n < total]:
        for step in range(GATE_STEPS):
            gain = visibility @ (1 / (1 + seen_by @ gates))
            gates = within_budget(gates + 0.4 / (1 + step / 30) * gain / gain.std(), budget)
        open_for += gates
    return np.argsort(-open_for, kind="stable")[:count]


def within_budget(gates: FloatArray, budget: float) -> FloatArray:
    """The gates (L,) in 0..1 nearest to those given whose sum is ``budget``: what an L1 term leaves of them."""
    low, high = gates.min() - 1, gates.max()
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(gates - middle, 0, 1).sum() > budget else (low, middle)
    return np.asarray(np.clip(gates - high, 0, 1))


def latents_of(count: int) -> Callable[[], AbstractContextManager[object]]:
    return lambda: mock.patch.object(encoding, "LATENT_BYTES", ((0, count),))


def anchors_of(bits: int) -> Callable[[], AbstractContextManager[object]]:
    return lambda: mock.patch.object(encoding, "SMALL_ANCHOR_BITS", bits)


def variants(decoders: Mapping[str, Path]) -> dict[str, Variant]:
    """Return all rows by name, the product itself first."""
    return {
        "default": Variant(),
        "without the transformer": Variant(lambda: searching(_transformer=None)),
        **{f"latents of {count} bytes": Variant(latents_of(count)) for count in LATENT_BYTES},
        **{f"anchors of {bits} bits": Variant(anchors_of(bits)) for bits in ANCHOR_BITS},
        "product-quantized descriptors": Variant(settings={"decoder": "descriptor"}),
        "random landmarks": Variant(lambda: mock.patch.object(selection, "choose_by_coverage", choose_randomly)),
        "landmarks by gates under an L1 term": Variant(
            lambda: mock.patch.object(selection, "choose_by_coverage", choose_by_gates)
        ),
        "landmarks cover images, not their cells": Variant(whole_images),
        **{name: Variant(lambda path=path: shipping(path)) for name, path in decoders.items()},  # type: ignore[misc]
    }


@dataclass(frozen=True)
class Opened:
    """A map in use."""

    localizer: Localizer
    size_bytes: int


def open_maps(
    scene: Path, size_bytes: int | None, rows: Mapping[str, Variant], progress: Progress
) -> dict[str, Opened]:
    """Return the map of each row; their survey is freed on return."""
    settings = MappingSettings(size_bytes=size_bytes)
    place = survey(open_source(scene / "mapping", poses=True).frames, settings, progress)
    opened = {}
    for name, variant in rows.items():
        with variant.changed():
            neural_map = map_of(place, replace(settings, **variant.settings), named(name, progress))
            opened[name] = Opened(Localizer(neural_map), len(to_bytes(neural_map)))
    return opened


def measure(
    scene: Path, others: Sequence[Path], size_bytes: int | None, rows: Mapping[str, Variant], progress: Progress
) -> list[dict[str, Any]]:
    """The rows of one scene's table."""
    opened = open_maps(scene, size_bytes, rows, progress)
    scores = score_all({name: one.localizer for name, one in opened.items()}, scene, others, progress)
    return [
        {
            "row": name,
            "size_kb": one.size_bytes / 1000,
            "landmarks": len(one.localizer.map.landmarks),
            **scores[name],
        }
        for name, one in opened.items()
    ]


def show(scene: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """One scene as a Markdown table."""
    return markdown(
        scene,
        HEAD,
        [
            (
                *(row["row"], f"{row['size_kb']:.1f} kB", str(row["landmarks"])),
                *(f"{row['within_5cm_5deg']:.1f} %", f"{row['within_25cm_10deg']:.1f} %", median_text(row)),
                *(str(row["wrong"]), foreign_text(row)),
            )
            for row in rows
        ],
    )


def named_file(text: str) -> tuple[str, Path]:
    """A row's name and its decoder, of NAME=FILE."""
    name, equals, path = text.partition("=")
    if not (name and equals and Path(path).is_file()):
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=FILE with the file of a decoder")
    return name, Path(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", type=Path, nargs="+")
    parser.add_argument("--size", type=options.size, default=100_000, metavar="100KB", help="of all maps")
    parser.add_argument("--decoders", type=named_file, nargs="+", default=[], metavar="NAME=FILE")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="only these (default: all)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    set_up(args.threads)
    size_bytes = args.size if isinstance(args.size, int) else None
    rows = variants(dict(args.decoders))
    if args.rows:
        if not set(args.rows) <= set(rows):
            parser.error(f"the rows are: {', '.join(rows)}")
        rows = {name: rows[name] for name in args.rows}
    tables = {}
    for scene in args.scenes:
        print(f"--- {scene.name}", file=sys.stderr, flush=True)
        others = [other for other in args.scenes if other != scene]
        with StageProgress() as progress:
            tables[scene.name] = measure(scene, others, size_bytes, rows, progress)
        print(show(scene.name, tables[scene.name]), flush=True)
        if args.json:
            args.json.write_text(json.dumps(tables, indent=1))


if __name__ == "__main__":
    main()
