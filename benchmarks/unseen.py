#!/usr/bin/env python3
"""Matching accuracy of a decoder in held-out virtual places, and its upper bound.

    python benchmarks/unseen.py --work WORK [--decoder FILE] [--oracle 6 16 32] [--json FILE]

Places, images and landmarks are those of architectures.py. The oracle K chooses for each keypoint the one of the K most
similar landmarks that is nearest to the truth; its poses are by the same RANSAC on the right answers alone. FILE takes
the errors of every image, for compare.py.

On one core rendering takes 12 s a place the first time; the evaluation takes seconds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.scoring import markdown
from benchmarks.unseen_places import (
    HEAD,
    KEYPOINTS_M,
    UNSEEN,
    Answers,
    Choosing,
    Head,
    Judged,
    Nearest,
    Sight,
    Trial,
    as_json,
    figures,
    title,
    unseen_places,
)
from neumap.cli import options
from neumap.cli.progress import StageProgress
from neumap.model.decoder import load_decoder, shipped_decoder
from neumap.process import set_up


class Perfect(Head):
    """Of the ``count`` landmarks most like a keypoint the one nearest to what it shows; sure where that is right."""

    def __init__(self, candidates: int) -> None:
        super().__init__()
        self._candidates = candidates

    def answer(self, sight: Sight) -> Answers:
        index = (sight.keypoints @ sight.latents.T).topk(self._candidates, dim=1).indices
        candidates = sight.points[index]
        error, best = (candidates - sight.truth[:, None]).norm(dim=2).min(dim=1)
        right = sight.shown & (error < KEYPOINTS_M[0])
        return Answers(candidates[range(len(best)), best], right.to(candidates.dtype))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="for places, which are kept")
    parser.add_argument("--decoder", type=Path, metavar="FILE", help="instead of the one that ships")
    parser.add_argument("--oracle", type=options.count, nargs="+", default=(), metavar="K")
    parser.add_argument("--unseen", type=options.count, default=UNSEEN, help=f"places to judge in (default: {UNSEEN})")
    parser.add_argument("--threads", type=options.threads, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    set_up(args.threads)
    decoder = load_decoder(args.decoder) if args.decoder else shipped_decoder()
    with StageProgress() as progress:
        trial = Trial(unseen_places(args.work / "places", args.unseen, progress), decoder)
    heads: dict[str, Head] = {"most alike landmark": Nearest(), "transformer": Choosing(decoder.transformer)}
    heads |= {f"oracle of {count}": Perfect(count) for count in args.oracle}
    judged: dict[str, list[Judged]] = {}
    for name, head in heads.items():
        judged[name] = trial.judge(head)
        print(f"{name}: {' '.join(figures(judged[name]))}", file=sys.stderr, flush=True)
    rows = [(name, *figures(one)) for name, one in judged.items()]
    print(markdown(title(next(iter(judged.values()))), ("", *HEAD), rows), flush=True)
    if args.json:
        args.json.write_text(as_json(judged), encoding="utf-8")


if __name__ == "__main__":
    main()
