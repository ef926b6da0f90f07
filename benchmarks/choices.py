#!/usr/bin/env python3
"""Random variation of a map's figures: maps of one survey and size, with slightly different landmarks.

    python benchmarks/choices.py SCENE [SCENE ...] [--sizes 50KB 100KB] [--choices 6]

SCENE is a folder as in run.py. The value of each landmark for the coverage of the mapping images is perturbed by 15 %;
a table gives means and standard errors. A scene has few queries, so equally good maps often differ by one or two
images.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.scoring import markdown, named, score_all
from benchmarks.sizes import bytes_of, size_text
from neumap.cli import options
from neumap.cli.progress import StageProgress
from neumap.io.sources import open_source
from neumap.localization.localizer import Localizer
from neumap.mapping.build import map_of
from neumap.mapping.settings import MappingSettings
from neumap.mapping.survey import Survey, survey
from neumap.process import set_up
from neumap.progress import Progress

DISTURBED = 0.15
FIGURES = ("within_5cm_5deg", "within_25cm_10deg", "wrong")


def disturbed(place: Survey, seed: int) -> Survey:
    """The survey with landmarks that are worth a little more or less."""
    visibility = place.candidates.visibility
    worth = 1 + DISTURBED * np.random.default_rng(seed).normal(size=visibility.shape[0])
    weighted = scipy.sparse.diags(worth.clip(0.3).astype(np.float32)) @ visibility
    return replace(place, candidates=replace(place.candidates, visibility=weighted.tocsr()))


def measure(scene: Path, sizes: Sequence[str], choices: int, progress: Progress) -> dict[str, list[Mapping[str, Any]]]:
    """The figures of each choice of landmarks, by size."""
    settings = MappingSettings()
    place = survey(open_source(scene / "mapping", poses=True).frames, settings, progress)
    localizers = {}
    for size, choice in product(sizes, range(choices)):
        sized = replace(settings, size_bytes=bytes_of(size))
        name = f"{size} {choice}"
        localizers[name] = Localizer(map_of(disturbed(place, choice), sized, named(name, progress)))
    scores = score_all(localizers, scene, [], progress)
    return {size: [scores[f"{size} {choice}"] for choice in range(choices)] for size in sizes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", type=Path, nargs="+")
    parser.add_argument("--sizes", type=size_text, nargs="+", default=("25KB", "50KB", "100KB"), metavar="100KB")
    parser.add_argument("--choices", type=options.count, default=6)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    set_up(args.threads)
    for scene in args.scenes:
        with StageProgress() as progress:
            found = measure(scene, args.sizes, args.choices, progress)
        rows = []
        for size, scores in found.items():
            values = np.array([[one[figure] for figure in FIGURES] for one in scores])
            error = values.std(axis=0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.full(3, np.nan)
            near, fair = (f"{values[:, k].mean():.1f} ± {error[k]:.1f} %" for k in range(2))
            rows.append((size, near, fair, f"{values[:, 2].mean():.1f}"))
        print(markdown(scene.name, ("map", "5 cm, 5°", "25 cm, 10°", "wrong"), rows), flush=True)


if __name__ == "__main__":
    main()
