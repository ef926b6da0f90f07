"""Held-out virtual places, and the evaluation of decoders in them.

The figures are the accuracy of keypoints that show a landmark of the map, and of poses by RANSAC on the positions that
a head assigns to keypoints.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.scoring import LOST, metres_and_degrees, within
from neumap.arrays import Float32Array, FloatArray
from neumap.geometry import se3
from neumap.localization.pnp import RansacSettings, ransac_pose
from neumap.model.decoder import FrozenDecoder
from neumap.model.transformer import CANDIDATES, SAME_PLACE_M, Sighting, Transformer, leads
from neumap.progress import Progress
from neumap.training.examples import FEWEST_SCENE_LANDMARKS, Augmentation, Example, ExampleSource
from neumap.training.places import training_scenes
from neumap.training.pretraining import LATENT_BYTES, PretrainSettings
from neumap.training.scenes import TrainingScene
from neumap.training.trainee import ResidualWords, choice_loss
from neumap.virtual.curriculum import random_place

# first seed and number of held-out places: no training reaches them (but one with --seed 2), nor that of the shipped
# encoder
FIRST_UNSEEN, UNSEEN = 2_000_000, 16
# in an example, fewer than in the product's training
FEW_LANDMARKS = 2048
# random keypoints of an image
KEYPOINTS = 512
# draws of a held-out place; images drawn again are evaluated once
DRAWS = 12
# POSE_KEYPOINTS: smallest number of keypoints showing a landmark of the map for which a pose is computed
POSE_KEYPOINTS = 20
# answers less certain than this are no hypotheses; RANSAC's threshold is as of a camera of this focal length
CERTAIN, FOCAL_PX = 0.05, 525.0
CHOICE_RATE = 1.5e-3
# candidates that the ratio of the nearest one considers
NEAREST = 6
# bounds of keypoint errors in metres, names of BOUNDS for poses, and the columns of a table
KEYPOINTS_M, POSES = (0.05, 0.25), ("5 cm, 5°", "25 cm, 10°")
HEAD = ("keypoints, 5 cm", "25 cm", "median", *(f"poses, {bound}" for bound in POSES))


class Sight(NamedTuple):
    """One image against the landmarks of its place, as the frozen encoder sees them. Points are in metres from the
    middle of the place, which is number ``place`` among its kind.

    ``keypoints`` (Q, 64) and their ``rays`` (Q, 2); ``latents`` (L, 64) and ``points`` (L, 3) of landmarks, and
    ``right`` (Q, L), which of them a keypoint shows; ``views`` (S, 64), what mapping images saw at ``view_points``
    (S, 3).
    """

    place: int
    keypoints: Tensor
    rays: Tensor
    latents: Tensor
    points: Tensor
    right: Tensor
    views: Tensor
    view_points: Tensor

    @property
    def shown(self) -> Tensor:
        """Mask (Q,) of the keypoints that show a landmark of the map."""
        return self.right.any(dim=1)

    @property
    def truth(self) -> Tensor:
        """The points (Q, 3) that keypoints show; the origin for those that show none."""
        weight = self.right.to(self.points.dtype)
        return weight @ self.points / weight.sum(dim=1, keepdim=True).clamp_min(1)


class Draws:
    """Images drawn from places with a frozen encoder, as in the transformer's training, with fewer landmarks."""

    def __init__(
        self, scenes: Sequence[TrainingScene], decoder: FrozenDecoder, augmentation: Augmentation, seed: int
    ) -> None:
        self._sources = [ExampleSource([scene], seed + i, augmentation) for i, scene in enumerate(scenes)]
        self._middles = [torch.from_numpy(scene.points.mean(axis=0)) for scene in scenes]
        self._rng = np.random.default_rng(seed)
        self._encoder = decoder.encoder
        self._words = ResidualWords().requires_grad_(False)
        self._words.words.copy_(torch.from_numpy(decoder.codebook.words))
        self._settings = PretrainSettings()

    def __call__(self) -> Sight:
        """Draw an image of any place."""
        return self.of(int(self._rng.integers(len(self._sources))))[1]

    @torch.no_grad()
    def of(self, place: int) -> tuple[Example, Sight]:
        """Draw an image of one place."""
        s = self._settings
        example = self._sources[place].draw(KEYPOINTS, FEW_LANDMARKS, s.views)
        each = self._encoder(example.view_descriptors, example.view_shape).unflatten(0, example.counts.shape)
        means = functional.normalize((each * example.counts[..., None]).sum(dim=1), dim=1)
        points = example.points - self._middles[place]
        usable = example.counts > 0
        return example, Sight(
            place=place,
            keypoints=self._encoder(example.descriptors, example.shape),
            rays=example.rays,
            latents=functional.normalize(self._words(means, LATENT_BYTES), dim=1),
            points=points,
            right=example.right,
            views=each[usable],
            view_points=points[:, None].expand(-1, s.views, -1)[usable],
        )


class Answers(NamedTuple):
    """Positions of keypoints: ``points`` (Q, 3) in metres from the place's centre, and their confidence (Q,)."""

    points: Tensor
    confidence: Tensor


class Head(nn.Module):
    """A head, which locates keypoints from the embeddings of the frozen encoder."""

    rate = CHOICE_RATE

    def loss(self, sight: Sight) -> Tensor:
        """Return the training loss."""
        raise NotImplementedError

    def answer(self, sight: Sight) -> Answers:
        """Return the answers for one image."""
        raise NotImplementedError

    def move_to(self, sights: Sequence[Sight]) -> None:
        """Prepare for a new place with the mapped ``sights``."""

    def groups(self) -> list[dict[str, Any]]:
        """Return the parameter groups of the optimizer."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]


class Nearest(Head):
    """The most similar landmark; its confidence is the lead over any other place (Lowe's ratio)."""

    def answer(self, sight: Sight) -> Answers:
        similarity, index = (sight.keypoints @ sight.latents.T).topk(NEAREST, dim=1)
        candidates = sight.points[index]
        distance = (2 - 2 * similarity).clamp_min(1e-9).sqrt()
        elsewhere = (candidates - candidates[:, :1]).norm(dim=2) > SAME_PLACE_M
        second = distance.masked_fill(~elsewhere, torch.inf).amin(dim=1)
        second = torch.where(second.isfinite(), second, distance[:, -1])
        return Answers(candidates[:, 0], (2 * (1 - distance[:, 0] / second)).clamp(0, 1))


class Choosing(Head):
    """The product's head: the transformer chooses among the most similar candidates of each keypoint."""

    candidates = CANDIDATES

    def __init__(self, transformer: Transformer | None = None) -> None:
        super().__init__()
        self.transformer = transformer or Transformer()

    def rounds(self, sight: Sight, similarity: Tensor, index: Tensor) -> list[Tensor]:
        """The logits (Q, K + 1) of each round, of candidates ``index`` (Q, K)."""
        points, latents = sight.points[index], sight.latents[index]
        found: list[Tensor] = self.transformer(
            Sighting(similarity, index, points, latents, sight.keypoints, sight.rays)
        )
        return found

    def choose(self, sight: Sight) -> tuple[list[Tensor], Tensor]:
        """The logits (Q, K + 1) of each round, and which landmarks (Q, K) the candidates are."""
        similarity, index = (sight.keypoints @ sight.latents.T).topk(self.candidates, dim=1)
        return self.rounds(sight, similarity, index), index

    def loss(self, sight: Sight) -> Tensor:
        rounds, index = self.choose(sight)
        right = sight.right.gather(1, index)
        return torch.stack([choice_loss(logits, right) for logits in rounds]).mean()

    def answer(self, sight: Sight) -> Answers:
        rounds, index = self.choose(sight)
        candidates = sight.points[index]
        lead, best = leads(rounds[-1], candidates)
        return Answers(candidates[torch.arange(len(best)), best], lead)


@dataclass(frozen=True)
class UnseenPlace:
    """A place to judge in: its images' true poses ``map_from_camera`` (F, 4, 4), and its camera."""

    scene: TrainingScene
    poses: FloatArray
    focal_px: float


@dataclass(frozen=True)
class Judged:
    """One image's errors (S,) in metres of the keypoints that show a landmark, and of its pose, metres and degrees,
    where it was asked.
    """

    place: int
    image: int
    errors_m: Float32Array
    pose: tuple[float, float] | None


def unseen_places(folder: Path, count: int, progress: Progress) -> list[UnseenPlace]:
    """Return the first ``count`` usable places; their scenes are cached in a folder."""
    places = []
    for seed in range(FIRST_UNSEEN, FIRST_UNSEEN + count):
        made = training_scenes(folder, [seed], [], 1, progress, place=random_place)
        places += [unseen_place(seed, scene) for scene in made if len(scene.points) >= FEWEST_SCENE_LANDMARKS]
    return places


def unseen_place(seed: int, scene: TrainingScene) -> UnseenPlace:
    """The place of ``seed`` as it was made."""
    place = random_place(seed)
    poses = np.stack([frame.map_from_camera for frame in (*place.mapping, *place.query)])  # type: ignore[misc]
    return UnseenPlace(scene, poses, float(np.sqrt(np.linalg.det(place.query[0].camera.matrix[:2, :2]))))


def image_of(scene: TrainingScene, example: Example) -> int:
    """Return the image of an example, identified by the exact position of a keypoint."""
    return int(scene.image[(scene.rays == example.rays[0].numpy()).all(axis=1)][0])


class Trial:
    """Images of held-out places without augmentation, with the embeddings of one encoder; the same for each encoder."""

    def __init__(self, places: Sequence[UnseenPlace], decoder: FrozenDecoder) -> None:
        self._places = places
        draws = Draws([place.scene for place in places], decoder, Augmentation(0.0, False), seed=7)
        self._images: list[dict[int, Sight]] = []
        for number, place in enumerate(places):
            drawn = [draws.of(number) for _ in range(DRAWS)]
            self._images.append({image_of(place.scene, example): sight for example, sight in drawn})

    @torch.no_grad()
    def judge(self, head: Head) -> list[Judged]:
        """Return the errors of a head's answers for each image."""
        torch.manual_seed(0)
        out = []
        for place, images in zip(self._places, self._images, strict=True):
            head.move_to(list(images.values()))
            out += [judge_image(head, sight, place, image) for image, sight in images.items()]
        return out


def judge_image(head: Head, sight: Sight, place: UnseenPlace, image: int) -> Judged:
    """Return the errors of a head's answers for one image."""
    answers = head.answer(sight)
    errors = (answers.points - sight.truth).norm(dim=1)[sight.shown].numpy()
    if len(errors) < POSE_KEYPOINTS:
        return Judged(sight.place, image, errors, None)
    order = (-answers.confidence).argsort(stable=True)
    order = order[answers.confidence[order] > CERTAIN]
    points = answers.points[order].double().numpy() + place.scene.points.mean(axis=0)
    settings = RansacSettings()
    settings = replace(settings, max_error_px=settings.max_error_px * place.focal_px / FOCAL_PX)
    found = ransac_pose(sight.rays[order].double().numpy(), points, place.focal_px, settings)
    if found is None:
        return Judged(sight.place, image, errors, LOST)
    return Judged(sight.place, image, errors, metres_and_degrees(se3.invert_pose(found[0]), place.poses[image]))


def figures(judged: Sequence[Judged]) -> tuple[str, ...]:
    """Return the cells of :data:`HEAD`."""
    errors = np.concatenate([one.errors_m for one in judged])
    poses = np.array([one.pose for one in judged if one.pose is not None])
    return (
        *(f"{100 * (errors < metres).mean():.1f} %" for metres in KEYPOINTS_M),
        f"{np.median(errors):.2f} m",
        *(f"{100 * within(poses, bound).mean():.1f} %" for bound in POSES),
    )


def title(judged: Sequence[Judged]) -> str:
    """Return the title of a table, from any of its rows."""
    places, keypoints = len({one.place for one in judged}), sum(len(one.errors_m) for one in judged)
    asked = sum(one.pose is not None for one in judged)
    return f"{places} unseen places: {keypoints} keypoints of {len(judged)} images, {asked} poses"


def as_json(rows: Mapping[str, Sequence[Judged]]) -> str:
    """Return the errors of every image, by row."""
    content = {name: [asdict(one) | {"errors_m": one.errors_m.tolist()} for one in row] for name, row in rows.items()}
    return json.dumps(content)
