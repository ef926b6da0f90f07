#!/usr/bin/env python3
"""Recall by map size: maps of one survey in several sizes, for two decoders.

    python benchmarks/sizes.py SCENE [SCENE ...] [--sizes 25KB 50KB best] [--json FILE] [--plot FILE.png] [--classic]

SCENE is a folder as in run.py. With several scenes each map also gets the queries of the others, where each pose is an
error. ``best`` is a map without a size limit. The JSON file also holds the errors of every query, for compare.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.classic import ClassicMap
from benchmarks.scoring import ellipsoid_text, foreign_text, markdown, median_text, named, score, score_all
from neumap.cli import options
from neumap.cli.progress import StageProgress
from neumap.errors import ConfigError
from neumap.io.sources import open_source
from neumap.localization.localizer import Localizer
from neumap.mapping.build import map_of
from neumap.mapping.settings import MappingSettings
from neumap.mapping.survey import survey
from neumap.maps import DECODERS
from neumap.maps.map_file import to_bytes
from neumap.maps.neural_map import NeuralMap
from neumap.process import set_up
from neumap.progress import Progress

SIZES = ("25KB", "50KB", "100KB", "200KB", "best")
HEAD = (
    *("decoder", "asked", "map", "landmarks", "5 cm, 5°", "25 cm, 10°", "median", "wrong"),
    *("in 90 % ellipsoid (allowing)", "foreign with a pose"),
)


def make_maps(scene: Path, sizes: Sequence[str], progress: Progress) -> dict[tuple[str, str], NeuralMap]:
    """The maps by decoder and size, of one survey, which is freed with this function."""
    settings = MappingSettings()
    place = survey(open_source(scene / "mapping", poses=True).frames, settings, progress)
    maps = {}
    for decoder, asked in product(DECODERS, sizes):
        sized = replace(settings, decoder=decoder, size_bytes=bytes_of(asked))
        try:
            maps[decoder, asked] = map_of(place, sized, named(f"{decoder} {asked}", progress))
        except ConfigError as error:
            print(f"{scene.name}, {decoder} {asked}: left out: {error}", file=sys.stderr, flush=True)
    return maps


def measure(scene: Path, others: Sequence[Path], sizes: Sequence[str], progress: Progress) -> list[dict[str, Any]]:
    """The rows of one scene's table."""
    maps = make_maps(scene, sizes, progress)
    localizers = {f"{decoder} {asked}": Localizer(one) for (decoder, asked), one in maps.items()}
    scores = score_all(localizers, scene, others, progress)
    return [
        {
            "decoder": decoder,
            "asked": asked,
            "size_kb": len(to_bytes(one)) / 1000,
            "landmarks": len(one.landmarks),
            **scores[f"{decoder} {asked}"],
        }
        for (decoder, asked), one in maps.items()
    ]


def measure_classic(scene: Path, progress: Progress) -> dict[str, Any]:
    """The row of the classic pipeline, which has one size."""
    progress("classic map", 0, 1)
    classic = ClassicMap.build(open_source(scene / "mapping", poses=True).frames)
    progress("classic map", 1, 1)
    queries = open_source(scene / "query", poses=True).frames
    answers = []
    for i, query in enumerate(queries):
        answers.append((classic.localize(query.read_image(), query.camera)[0], None))
        progress("classic queries", i + 1, len(queries))
    figures = score(answers, [query.map_from_camera for query in queries])
    return {"decoder": "classic", "asked": "-", "size_kb": classic.size_bytes / 1000, "landmarks": None, **figures}


def show(scene: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """One scene as a Markdown table."""
    return markdown(
        scene,
        HEAD,
        [
            (
                *(row["decoder"], row["asked"], f"{row['size_kb']:.1f} kB", str(row["landmarks"] or "-")),
                *(f"{row['within_5cm_5deg']:.1f} %", f"{row['within_25cm_10deg']:.1f} %", median_text(row)),
                *(str(row["wrong"]), ellipsoid_text(row), foreign_text(row)),
            )
            for row in rows
        ],
    )


def plot(path: Path, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Share within 5 cm, 5 degrees over the size of the map, one panel per scene."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FixedLocator, ScalarFormatter

    figure, panels = pyplot.subplots(1, len(tables), figsize=(4.5 * len(tables), 4), squeeze=False, sharey=True)
    for panel, (scene, rows) in zip(panels[0], tables.items(), strict=True):
        for decoder, style in zip(DECODERS, ("o-", "s--"), strict=True):
            own = sorted((row["size_kb"], row["within_5cm_5deg"]) for row in rows if row["decoder"] == decoder)
            panel.plot(*zip(*own, strict=True), style, label=decoder)
        for row in rows:
            if row["decoder"] == "classic":
                label = f"classic ({row['size_kb'] / 1000:.0f} MB)"
                panel.axhline(row["within_5cm_5deg"], color="grey", linestyle=":", label=label)
        panel.set(title=scene, xscale="log", xlabel="map, kB")
        panel.xaxis.set_major_locator(FixedLocator([25, 50, 100, 200, 400, 800]))
        panel.xaxis.set_major_formatter(ScalarFormatter())
        panel.minorticks_off()
        panel.grid(alpha=0.3)
        panel.legend(loc="lower right")
    panels[0, 0].set_ylabel("queries within 5 cm, 5°, %")
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def bytes_of(asked: str) -> int | None:
    """The bytes of a size as of neumap map; None where it has no limit."""
    size = options.size(asked)
    return size if isinstance(size, int) else None


def size_text(text: str) -> str:
    """What names a row: a size as of neumap map."""
    options.size(text)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", type=Path, nargs="+")
    parser.add_argument(
        "--sizes", type=size_text, nargs="+", default=SIZES, metavar="100KB", help="a map of each; best: no limit"
    )
    parser.add_argument("--classic", action="store_true", help="the classic pipeline as well")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    args = parser.parse_args()
    set_up(args.threads)
    tables: dict[str, list[dict[str, Any]]] = {}
    for scene in args.scenes:
        print(f"--- {scene.name}", file=sys.stderr, flush=True)
        others = [other for other in args.scenes if other != scene]
        with StageProgress() as progress:
            rows = [measure_classic(scene, progress)] if args.classic else []
        with StageProgress() as progress:
            rows += measure(scene, others, args.sizes, progress)
        tables[scene.name] = rows
        print(show(scene.name, rows), flush=True)
        if args.json:
            args.json.write_text(json.dumps(tables, indent=1))
    if args.plot:
        plot(args.plot, tables)


if __name__ == "__main__":
    main()
