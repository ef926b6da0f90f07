"""Examples drawn from training scenes: an image's keypoints, landmarks of other images, and which belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from neumap_ros.core.network import keypoint_geometry
from neumap_ros.core.quantization import joint_descriptors
from neumap_ros.core.training_scene import TrainingScene

# a landmark this near to the one that a keypoint shows is as right an answer
RIGHT_M = 0.04
FEWEST_LANDMARKS = 800
MAX_ROLL_RAD, MAX_LOG_ZOOM = np.deg2rad(25.0), 0.3


@dataclass(frozen=True)
class Augmentation:
    """How much a query differs from how it was seen: relative noise of descriptors, and whether it is rolled and
    zoomed."""

    noise: float = 0.35
    turns: bool = True


class Example(NamedTuple):
    """One image's Q keypoints with their ``descriptors`` (Q, 256), ``shape`` (Q, 3) and ``rays`` (Q, 2); the views
    (L, V) of landmarks, in ``view_descriptors`` (L * V, 256) and ``view_shape`` (L * V, 3), of which ``counts`` (L, V)
    is 1 where a view may be used; the landmarks' ``points`` (L, 3); ``right`` (Q, L), which answers are right.
    """

    descriptors: Tensor
    shape: Tensor
    rays: Tensor
    view_descriptors: Tensor
    view_shape: Tensor
    counts: Tensor
    points: Tensor
    right: Tensor


@dataclass(frozen=True)
class _Indexed:
    """A scene with where each image's keypoints (F + 1,) and each landmark's views (L + 1, in ``by_landmark``) are."""

    scene: TrainingScene
    image_start: npt.NDArray[np.int64]
    by_landmark: npt.NDArray[np.int64]
    landmark_start: npt.NDArray[np.int64]
    queries: npt.NDArray[np.int64]


def _index(scene: TrainingScene) -> _Indexed:
    by_landmark = np.argsort(scene.landmark, kind="stable")
    # where all images were mapped, each is asked about what the others saw
    queries = np.flatnonzero(~scene.mapped) if (~scene.mapped).any() else np.arange(len(scene.mapped))
    return _Indexed(
        scene=scene,
        image_start=np.searchsorted(scene.image, np.arange(len(scene.mapped) + 1)),
        by_landmark=by_landmark,
        landmark_start=np.searchsorted(scene.landmark[by_landmark], np.arange(len(scene.points) + 1)),
        queries=queries,
    )


class ExampleSource:
    """Draws examples from scenes, the same for the same seed. Scenes of too few landmarks are left out.

    Raises ValueError where no scene is left.
    """

    def __init__(self, scenes: Sequence[TrainingScene], seed: int, augmentation: Augmentation) -> None:
        self._scenes = [_index(scene) for scene in scenes if len(scene.points) >= FEWEST_LANDMARKS]
        if not self._scenes:
            raise ValueError(f"no training scene has {FEWEST_LANDMARKS} landmarks")
        self._augmentation = augmentation
        self._rng = np.random.default_rng(seed)
        self._generator = torch.Generator().manual_seed(seed)

    @property
    def keypoints(self) -> list[int]:
        """How many keypoints each scene has, by which to know the same scenes again."""
        return [len(indexed.scene.image) for indexed in self._scenes]

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` needs to go on from here."""
        return {"numpy": self._rng.bit_generator.state, "torch": self._generator.get_state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state`."""
        self._rng.bit_generator.state = state["numpy"]
        self._generator.set_state(state["torch"])

    def begin_anew(self, seed: Sequence[int]) -> None:
        """Draw as another source of the same scenes, the same for the same ``seed``."""
        self._rng = np.random.default_rng(seed)
        self._generator.manual_seed(int(self._rng.integers(2**62)))

    def draw(self, keypoints: int, landmarks: int, views: int) -> Example:
        """One image with up to so many keypoints and about so many landmarks of so many views each."""
        rng = self._rng
        indexed = self._scenes[rng.integers(len(self._scenes))]
        scene = indexed.scene
        query = int(rng.choice(indexed.queries))
        asked = rng.permutation(np.arange(*indexed.image_start[query : query + 2]))[:keypoints]
        shown = scene.landmark[asked]
        # most of what the image shows, and as many others as a map would hold
        wanted = np.unique(shown[shown >= 0])
        wanted = wanted[rng.random(len(wanted)) < 0.7]
        chosen = np.union1d(wanted, rng.permutation(len(scene.points))[:landmarks])
        start, end = indexed.landmark_start[chosen], indexed.landmark_start[chosen + 1]
        at = start[:, None] + (rng.random((len(chosen), views)) * (end - start)[:, None]).astype(np.int64)
        view = indexed.by_landmark[np.minimum(at, len(indexed.by_landmark) - 1)]
        usable = (scene.image[view] != query) & scene.mapped[scene.image[view]] & (end > start)[:, None]
        kept = usable.any(axis=1)
        chosen, view, usable = chosen[kept], view[kept], usable[kept]
        points = torch.from_numpy(scene.points[chosen])
        truth = torch.from_numpy(scene.points[np.maximum(shown, 0)])
        right = (torch.cdist(truth, points) < RIGHT_M) & torch.from_numpy(shown >= 0)[:, None]
        flat = view.reshape(-1)
        descriptors, shape = self._as_seen_now(scene, asked)
        return Example(
            descriptors=descriptors,
            shape=shape,
            rays=torch.from_numpy(scene.rays[asked]),
            view_descriptors=torch.from_numpy(_joint(scene, flat)),
            view_shape=torch.from_numpy(keypoint_geometry(scene.size[flat], scene.angle[flat])),
            counts=torch.from_numpy(usable.astype(np.float32)),
            points=points,
            right=right,
        )

    def _as_seen_now(self, scene: TrainingScene, asked: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """The image's keypoints as another camera might see them."""
        size, angle = scene.size[asked], scene.angle[asked]
        if self._augmentation.turns:
            size = size * np.exp(self._rng.uniform(-MAX_LOG_ZOOM, MAX_LOG_ZOOM))
            angle = angle + self._rng.uniform(-MAX_ROLL_RAD, MAX_ROLL_RAD)
        noisy = [self._noisy(part[asked].astype(np.float32)) for part in (scene.descriptors, scene.coarse)]
        shape = keypoint_geometry(size.astype(np.float32), angle.astype(np.float32))
        return torch.from_numpy(joint_descriptors(*noisy)), torch.from_numpy(shape)

    def _noisy(self, descriptors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        count, width = descriptors.shape
        strength = self._augmentation.noise * torch.rand(count, 1, generator=self._generator) / width**0.5
        noise = strength * torch.randn(count, width, generator=self._generator)
        return functional.normalize((torch.from_numpy(descriptors) + noise).clamp_min(0), dim=1).numpy()


def _joint(scene: TrainingScene, keypoints: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    fine, coarse = (part[keypoints].astype(np.float32) for part in (scene.descriptors, scene.coarse))
    return joint_descriptors(fine, coarse)
