#!/usr/bin/env python3
"""Alternative designs of the frozen decoder: small ones, trained side by side on the same places.

    python benchmarks/architectures.py --work WORK [--steps 1500] [--head-steps 800] [--json FILE]

Prints one Markdown table. The first rows are encoders, trained from scratch with one change each, and evaluated by the
most similar landmark of each keypoint. The others are heads on the shipped encoder, which locate keypoints, trained on
the same examples except the one without tracks. All are evaluated in held-out places: keypoints that show a landmark of
the map, and poses by RANSAC on the answers.

The encoders are left in WORK for ``ablations.py --decoders``, which evaluates them in recorded scenes. On one core
rendering takes 12 s a place the first time, some 25 minutes by default; the encoders take 10 minutes more.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.paper_decoder import WIDTH, Block
from benchmarks.scoring import markdown
from benchmarks.unseen_places import (
    FEW_LANDMARKS,
    HEAD,
    UNSEEN,
    Answers,
    Choosing,
    Draws,
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
from neumap.features import DEFAULT
from neumap.model import transformer
from neumap.model.decoder import load_decoder, save_decoder, shipped_decoder
from neumap.model.encoder import EMBEDDING
from neumap.process import set_up
from neumap.training import examples
from neumap.training.examples import FEWEST_SCENE_LANDMARKS, Augmentation, joint_of
from neumap.training.places import training_scenes
from neumap.training.pretraining import PretrainSettings, pretrain
from neumap.training.scenes import TrainingScene
from neumap.training.trainee import Trainee
from neumap.virtual.curriculum import random_place

# seeds of places: encoders see the first of those of the heads
HEAD_PLACES, ENCODER_PLACES, FREE_PLACES = 100, 60, 10
HEAD_STEPS = 10
# in an example, fewer than in the product's training
FEW_KEYPOINTS = 512
LAYERS, ATTENDING_HEADS = 4, 4
# coordinates are of this size; waves encode anchors from this length down by octaves
EXTENT_M, LONGEST_WAVE_M, OCTAVES = 4.0, 32.0, 8
FREE_LATENTS, FREE_RATE, FREE_STEPS, FREE_TOKENS = 256, 1e-2, 200, 256
LAYER_RATE, REGRESSION_RATE = 5e-4, 1e-3


class Middle(Head):
    """The middle of the place for every keypoint: what is learned without looking."""

    def answer(self, sight: Sight) -> Answers:
        return Answers(torch.zeros(len(sight.rays), 3), torch.ones(len(sight.rays)))


class Alone(nn.Module):
    """Instead of the attention among tokens: nothing."""

    def forward(self, tokens: Tensor, *_: Tensor) -> Tensor:
        return tokens


class NoRivals(transformer.Rivals):
    """Tells nothing of other keypoints with the same code."""

    def most(self, values: Tensor) -> Tensor:
        return values

    def others(self, values: Tensor) -> Tensor:
        return torch.zeros_like(values)


class Unaware(Choosing):
    """The transformer, unaware of which keypoints have a code in common."""

    def rounds(self, sight: Sight, similarity: Tensor, index: Tensor) -> list[Tensor]:
        with mock.patch.object(transformer, "Rivals", NoRivals):
            return super().rounds(sight, similarity, index)


class FewCandidates(Choosing):
    """The transformer on six candidates."""

    candidates = 6


def without_self_attention() -> Choosing:
    """The transformer whose tokens do not attend to each other."""
    head = Choosing()
    for block in head.transformer.blocks:
        block.attend = Alone()
    return head


def of_one_block() -> Choosing:
    """The transformer of one block."""
    with mock.patch.object(transformer, "BLOCKS", 1):
        return Choosing()


class CoordinateDecoder(nn.Module):
    """NeuMap's (CVPR 2023) decoder in small: keypoints (Q, 64) attend to codes (M, 128), then tell coordinates (Q, 3)
    in metres, and the logit (Q,) that they have any.
    """

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Linear(EMBEDDING, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.out = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, 4))

    def forward(self, keypoints: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.token(keypoints)[None]
        for block in self.blocks:
            tokens = block(tokens, codes[None], None)
        out = self.out(tokens[0])
        return EXTENT_M * out[:, :3], out[:, 3]


def coordinate_loss(found: tuple[Tensor, Tensor], truth: Tensor, shown: Tensor) -> Tensor:
    """L1 of coordinates (Q, 3) in metres where there is a ``truth``, and cross-entropy of whether there is one (Q,)."""
    points, valid = found
    loss = functional.binary_cross_entropy_with_logits(valid, shown.to(valid.dtype))
    return loss + (points - truth)[shown].abs().mean() if shown.any() else loss


class Regressing(Head):
    """Coordinates are regressed from codes that are the landmarks: latents, and anchors as waves."""

    rate = REGRESSION_RATE

    def __init__(self) -> None:
        super().__init__()
        self.latent = nn.Linear(EMBEDDING, WIDTH)
        self.anchor = nn.Linear(6 * OCTAVES, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.decoder = CoordinateDecoder()

    def codes(self, sight: Sight) -> Tensor:
        """A code (L, 128) for each landmark."""
        waves = sight.points[..., None] * (2 * torch.pi / LONGEST_WAVE_M * 2.0 ** torch.arange(OCTAVES))
        anchors = torch.cat([waves.sin(), waves.cos()], dim=-1).flatten(1)
        codes: Tensor = self.norm(self.latent(sight.latents) + self.anchor(anchors))
        return codes

    def loss(self, sight: Sight) -> Tensor:
        return coordinate_loss(self.decoder(sight.keypoints, self.codes(sight)), sight.truth, sight.shown)

    def answer(self, sight: Sight) -> Answers:
        points, valid = self.decoder(sight.keypoints, self.codes(sight))
        return Answers(points, valid.sigmoid())


class Unanchored(Head):
    """The same from codes that know no tracks: random to begin with, and learned with the decoder in each place of its
    training; in a new place, under the frozen decoder, from what the mapping images saw.
    """

    rate = REGRESSION_RATE

    def __init__(self, places: int) -> None:
        super().__init__()
        self.decoder = CoordinateDecoder()
        # one parameter a place: those of places that are not drawn must stay as they are
        self.places = nn.ParameterList(torch.randn(FREE_LATENTS, WIDTH) for _ in range(places))
        self._here = torch.zeros(FREE_LATENTS, WIDTH)

    def groups(self) -> list[dict[str, Any]]:
        return [
            {"params": self.decoder.parameters()},
            {"params": self.places.parameters(), "lr": FREE_RATE, "weight_decay": 0.0},
        ]

    def loss(self, sight: Sight) -> Tensor:
        codes: Tensor = self.places[sight.place]
        asked = coordinate_loss(self.decoder(sight.keypoints, codes), sight.truth, sight.shown)
        return asked + self._mapping_loss(sight, codes)

    def _mapping_loss(self, sight: Sight, codes: Tensor) -> Tensor:
        some = torch.randperm(len(sight.views))[:FREE_TOKENS]
        points, _ = self.decoder(sight.views[some], codes)
        loss: Tensor = (points - sight.view_points[some]).abs().mean()
        return loss

    def move_to(self, sights: Sequence[Sight]) -> None:
        codes = torch.randn(FREE_LATENTS, WIDTH).requires_grad_(True)
        optimizer = torch.optim.Adam([codes], lr=FREE_RATE)
        for step in range(FREE_STEPS):
            optimizer.zero_grad()
            with torch.enable_grad():
                self._mapping_loss(sights[step % len(sights)], codes).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        self._here = codes.detach()

    def answer(self, sight: Sight) -> Answers:
        points, valid = self.decoder(sight.keypoints, self._here)
        return Answers(points, valid.sigmoid())


def train(heads: Mapping[str, Head], draw: Callable[[], Sight], steps: int, report: Callable[[str], object]) -> None:
    """Train all heads on the same ``steps`` images."""
    running = {}
    for name, head in heads.items():
        optimizer = torch.optim.AdamW(head.groups(), lr=head.rate, weight_decay=1e-3)
        rates = [group["lr"] for group in optimizer.param_groups]
        running[name] = optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps)
    sums = dict.fromkeys(heads, 0.0)
    for step in range(steps):
        sight = draw()
        for name, (optimizer, schedule) in running.items():
            loss = heads[name].loss(sight)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(heads[name].parameters(), 1.0)
            optimizer.step()
            schedule.step()
            sums[name] += float(loss.detach())
        if (step + 1) % 100 == 0:
            report(f"step {step + 1}: " + ", ".join(f"{name} {total / 100:.3f}" for name, total in sums.items()))
            sums = dict.fromkeys(heads, 0.0)
    for head in heads.values():
        head.eval().requires_grad_(False)


@dataclass(frozen=True)
class EncoderVariant:
    """A row: what an encoder's training differs in. It does not look at the columns ``unused`` (first, last + 1) of
    descriptors.
    """

    settings: PretrainSettings
    changed: Callable[[], AbstractContextManager[object]] = nullcontext
    unused: tuple[int, int] = (0, 0)


def encoder_variants(steps: int) -> dict[str, EncoderVariant]:
    """All encoders by name, the product's own way first."""
    # one image at a time, so that all variants are trained in minutes
    base = PretrainSettings(
        steps=steps, transformer_steps=HEAD_STEPS, images=1, keypoints=FEW_KEYPOINTS, landmarks=FEW_LANDMARKS
    )

    def no_coarse(fine: Tensor, coarse: Tensor) -> Tensor:
        return joint_of(fine, torch.zeros_like(coarse))

    return {
        "base": EncoderVariant(base),
        "without augmentation": EncoderVariant(replace(base, augmentation=Augmentation(0.0, False))),
        "without the second descriptor": EncoderVariant(
            base, lambda: mock.patch.object(examples, "joint_of", no_coarse), (128, 256)
        ),
        # principal components and k-means words as they are: steps so small that they change nothing
        "without pre-training": EncoderVariant(replace(base, steps=10, learning_rate=1e-9, transformer_rate=1e-9)),
    }


def train_encoder(
    name: str, variant: EncoderVariant, scenes: Sequence[TrainingScene], work: Path, report: Callable[[str], object]
) -> Path:
    """The file of a variant's decoder, which is trained where it is not there yet."""
    path = work / f"{name.replace(' ', '-')}.safetensors"
    if not path.exists():
        with variant.changed():
            trainee: Trainee = pretrain(
                scenes,
                variant.settings,
                path.with_suffix(".checkpoint"),
                lambda record: report(f"{name}: {json.dumps(record)}"),
            )
        for layer in (trainee.encoder.linear, trainee.encoder.mlp[0]):
            layer.weight[:, slice(*variant.unused)] = 0  # type: ignore[operator]
        save_decoder(path, DEFAULT, trainee.encoder, trainee.transformer, trainee.words.words.numpy())
    return path


def trained_heads(
    scenes: Sequence[TrainingScene], steps: int, report: Callable[[str], object]
) -> dict[str, tuple[Head, int]]:
    """All heads on the encoder that ships, with the steps each was trained."""
    torch.manual_seed(0)
    shipped = shipped_decoder()
    heads: dict[str, Head] = {
        "transformer": Choosing(),
        "transformer of one block": of_one_block(),
        "transformer on six candidates": FewCandidates(),
        "transformer without attention among keypoints": without_self_attention(),
        "transformer without rivals": Unaware(),
        "regression from tracks": Regressing(),
    }
    train(heads, Draws(scenes, shipped, Augmentation(), seed=1), steps, report)
    free = Unanchored(min(FREE_PLACES, len(scenes)))
    # a place's codes must be met again and again
    train({"free": free}, Draws(scenes[:FREE_PLACES], shipped, Augmentation(), seed=1), steps, report)
    return {
        "the middle of the place": (Middle(), 0),
        "nearest": (Nearest(), 0),
        "transformer, as shipped": (Choosing(shipped.transformer), PretrainSettings().transformer_steps),
        **{name: (head, steps) for name, head in heads.items()},
        "regression without tracks": (free, steps),
    }


def row(name: str, numbers: int, steps: int, judged: Sequence[Judged]) -> tuple[str, ...]:
    """A row of the table."""
    return name, str(numbers), str(steps), *figures(judged)


def count_numbers(module: nn.Module) -> int:
    """How many numbers are trained once for all places."""
    places = module.places.parameters() if isinstance(module, Unanchored) else ()
    return sum(p.numel() for p in module.parameters()) - sum(p.numel() for p in places)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="for places and encoders, which are kept")
    parser.add_argument("--steps", type=options.count, default=1500, help="of an encoder (default: 1500)")
    parser.add_argument("--head-steps", type=options.count, default=800, help="of a head (default: 800)")
    parser.add_argument("--places", type=options.count, default=HEAD_PLACES, help="to train in (default: 100)")
    parser.add_argument("--unseen", type=options.count, default=UNSEEN, help=f"places to judge in (default: {UNSEEN})")
    parser.add_argument("--only", choices=("encoders", "heads"), help="half of the table")
    parser.add_argument("--threads", type=options.threads, default=1)
    parser.add_argument("--json", type=Path, help="for the errors of every image")
    args = parser.parse_args()
    set_up(args.threads)

    def report(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    with StageProgress() as progress:
        # of the places that it was made for: those of the curriculum are larger and harder
        scenes = training_scenes(
            args.work / "places", range(args.places), [], args.threads, progress, place=random_place
        )
        unseen = unseen_places(args.work / "places", args.unseen, progress)
    scenes = [scene for scene in scenes if len(scene.points) >= FEWEST_SCENE_LANDMARKS]
    rows: dict[str, tuple[int, int, list[Judged]]] = {}

    def add(name: str, numbers: int, steps: int, judged: list[Judged]) -> None:
        rows[name] = numbers, steps, judged
        report(f"| {' | '.join(row(name, *rows[name]))} |")

    if args.only != "heads":
        for name, variant in encoder_variants(args.steps).items():
            path = train_encoder(name, variant, scenes[:ENCODER_PLACES], args.work, report)
            decoder = load_decoder(path)
            numbers = count_numbers(decoder.encoder) + decoder.codebook.words.size
            steps = variant.settings.steps if variant.settings.learning_rate > 1e-6 else 0
            add(f"encoder: {name}", numbers if steps else 0, steps, Trial(unseen, decoder).judge(Nearest()))
    if args.only != "encoders":
        trial = Trial(unseen, shipped_decoder())
        for name, (head, steps) in trained_heads(scenes, args.head_steps, report).items():
            add(f"head: {name}", count_numbers(head), steps, trial.judge(head))
    judged = {name: one for name, (_, _, one) in rows.items()}
    shown = [row(name, *content) for name, content in rows.items()]
    print(markdown(title(next(iter(judged.values()))), ("", "trained", "steps", *HEAD), shown), flush=True)
    if args.json:
        args.json.write_text(as_json(judged), encoding="utf-8")


if __name__ == "__main__":
    main()
