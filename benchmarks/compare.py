#!/usr/bin/env python3
"""Compare two result files of the same benchmark, image by image.

    python benchmarks/compare.py OLD.json NEW.json

The files are of left_out.py, of unseen.py or architectures.py (their poses), or of sizes.py, run.py or ablations.py.
For each kind of map in both files a table gives the fraction of good answers before and now, and the number of better
and worse ones, in bold if they differ by more than three images. Below it, for all but the oracles together, are the
p-values of two exact tests: of answers (McNemar), which counts an image once per map and so is overconfident; and of
images, each better or worse by the sum of its answers (sign test).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.scoring import BOUNDS, LOST, are_wrong, markdown, within
from neumap.arrays import BoolArray, IntArray

# of an image in one of several maps of a kind: metres and degrees, infinite without a pose
Errors = dict[tuple[str, int], tuple[float, float]]
HEAD = ("", "answers", *BOUNDS, "not wrong")
# one, two or three images are chance
MOVED = 3


def read(path: Path) -> dict[str, Errors]:
    """The errors in a result file, by kind of map."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return of_answers(content) if isinstance(content, list) else of_tables(content)


def of_answers(answers: Sequence[Mapping[str, Any]]) -> dict[str, Errors]:
    """Those of left_out.py, which lists answers."""
    found: dict[str, Errors] = defaultdict(dict)
    for one in answers:
        kind = f"{one['scene']} {one['size']}" + (f", oracle of {one['oracle']}" if one["oracle"] else "")
        error = LOST if one["error_m"] is None else (one["error_m"], one["error_deg"])
        found[kind][f"{one['scene']} {one['image']}", one["choice"]] = error
    return found


def of_tables(tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Errors]:
    """Those of the others: a list of rows for each scene, or of images for each decoder."""
    found: dict[str, Errors] = defaultdict(dict)
    for name, entries in tables.items():
        for one in entries:
            if "errors" in one:
                row = one["row"] if "row" in one else f"{one['decoder']} {one['asked']}"
                errors = {(f"{name} {i}", 0): tuple(error or LOST) for i, error in enumerate(one["errors"])}
                found[f"{name} {row}"] = errors
            # files from before there were errors of each query have neither
            elif one.get("pose") is not None:
                found[name][f"{one['place']} {one['image']}", 0] = tuple(one["pose"])
    return found


def good(errors: Sequence[tuple[float, float]]) -> BoolArray:
    """Which (N, 4) of N answers are good by each of the columns."""
    each = np.array(errors)
    return np.stack([*(within(each, bound) for bound in BOUNDS), ~are_wrong(each)], axis=1)


def changes(before: BoolArray, after: BoolArray, chance: float = np.inf) -> list[str]:
    """For each column the share of good answers (N, 4) and how many changed; in bold where the difference is more
    than ``chance``, in none unless told.
    """
    out = []
    for was, now in zip(before.T, after.T, strict=True):
        better, worse = int((now & ~was).sum()), int((was & ~now).sum())
        text = f"{100 * was.mean():.1f} → {100 * now.mean():.1f} % (+{better} −{worse})"
        out.append(f"**{text}**" if abs(better - worse) > chance else text)
    return out


def p_value(change: IntArray) -> str:
    """The two-sided p value of a sign test that of ``change`` (N,) as many are above 0 as below."""
    better, worse = int((change > 0).sum()), int((change < 0).sum())
    return f"{binomtest(better, better + worse).pvalue:.2g}" if better + worse else "1"


def compare(old: Mapping[str, Errors], new: Mapping[str, Errors]) -> list[tuple[str, ...]]:
    """The rows of the table, the last ones of all kinds of maps together."""
    rows, parts, images = [], [], []
    for kind in old:
        both = [key for key in old[kind] if key in new.get(kind, {})]
        if not both:
            continue
        before, after = (good([one[kind][key] for key in both]) for one in (old, new))
        choices = len({choice for _, choice in both})
        rows.append((kind, str(len(both)), *changes(before, after, MOVED * choices)))
        if "oracle" not in kind:
            parts.append((before, after))
            images += [image for image, _ in both]
    if not parts:
        return rows
    before, after = (np.concatenate(part) for part in zip(*parts, strict=True))
    change = after.astype(np.int64) - before
    names, which = np.unique(images, return_inverse=True)
    of_image = np.zeros((len(names), change.shape[1]), np.int64)
    np.add.at(of_image, which, change)
    return [
        *rows,
        ("together", str(len(change)), *changes(before, after)),
        ("p, answers", str(len(change)), *map(p_value, change.T)),
        ("p, images", str(len(names)), *map(p_value, of_image.T)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    args = parser.parse_args()
    old, new = read(args.old), read(args.new)
    for kind in sorted(set(old) ^ set(new)):
        print(f"{kind}: in one file only", file=sys.stderr)
    rows = compare(old, new)
    if not rows:
        parser.error("the files have no images in common")
    print(markdown(f"{args.old.stem} → {args.new.stem}", HEAD, rows))


if __name__ == "__main__":
    main()
