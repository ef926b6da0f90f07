"""Examples drawn from training scenes: keypoints of images, landmarks of other images, and their matches.

Scenes are kept on the training device and drawn there: otherwise a GPU would wait for each example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from neumap.arrays import IntArray
from neumap.features.extractor import COARSE_SHARE
from neumap.model.encoder import SMALLEST_SIZE_PX, USUAL_SIZE_PX
from neumap.model.transformer import distances
from neumap.training.scenes import UNKNOWN, TrainingScene

# RIGHT_M: largest distance from a keypoint's landmark of others that count as right, metres.
RIGHT_M = 0.04
# FEWEST_SCENE_LANDMARKS: scenes with fewer landmarks are skipped: the choice would be too easy.
FEWEST_SCENE_LANDMARKS = 800
# MAX_ROLL_RAD, MAX_LOG_ZOOM: largest roll, and largest logarithm of the zoom, of an image.
MAX_ROLL_RAD, MAX_LOG_ZOOM = np.deg2rad(25.0), 0.3
# QUICK_LOOKS: fraction of the examples with the keypoints of a quick look only.
QUICK_LOOKS = 0.5


@dataclass(frozen=True)
class Augmentation:
    """The augmentation of queries: noise relative to descriptors, and whether to roll and zoom (``turns``)."""

    noise: float = 0.35
    turns: bool = True


class Example(NamedTuple):
    """Q keypoints of one or several images of a place, and V views each of L landmarks to choose from.

    ``counts`` (L, V) is 1 for usable views; ``right`` (Q, L) is true for right answers.
    """

    descriptors: Tensor  # (Q, D)
    shape: Tensor  # (Q, 3)
    rays: Tensor  # (Q, 2)
    view_descriptors: Tensor  # (L * V, D)
    view_shape: Tensor  # (L * V, 3)
    counts: Tensor
    points: Tensor  # (L, 3)
    right: Tensor


class _SceneOnDevice:
    """The arrays of a training scene on a device, with indices.

    These are the first keypoint of each image, the first view of each landmark in ``by_landmark``, and the images of
    ``queries``. ``lowest`` is a lower bound of descriptor values.
    """

    def __init__(self, scene: TrainingScene, device: torch.device) -> None:
        def put(array: npt.NDArray[Any]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        self.descriptors, self.coarse, self.rays = put(scene.descriptors), put(scene.coarse), put(scene.rays)
        self.size, self.angle = put(scene.size), put(scene.angle)
        self.image, self.landmark = put(scene.image.astype(np.int64)), put(scene.landmark.astype(np.int64))
        self.points, self.mapped = put(scene.points), put(scene.mapped)
        by_landmark = np.argsort(scene.landmark, kind="stable")
        starts = np.searchsorted(scene.landmark[by_landmark], np.arange(len(scene.points) + 1))
        self.by_landmark, self.landmark_start = put(by_landmark), put(starts)
        self.image_start = np.searchsorted(scene.image, np.arange(len(scene.mapped) + 1))
        self._known, self._quick = scene.landmark != UNKNOWN, scene.quick
        # if all images were mapped, each is a query about the landmarks of the others
        asking = np.flatnonzero(scene.mapped if scene.mapped.all() else ~scene.mapped)
        self.queries = asking[[len(self.asked(int(image))) > 0 for image in asking]]
        # histograms stay non-negative, other descriptors have no bound
        negative = min(scene.descriptors.min(initial=0), scene.coarse.min(initial=0)) < 0
        self.lowest = -torch.inf if negative else 0.0

    def asked(self, image: int, quick: bool = False) -> IntArray:
        """Return the keypoints of an image with a known label; those of its ``quick`` look only, if it has any."""
        first, end = self.image_start[image : image + 2]
        known = self._known[first:end]
        few = known & self._quick[first:end]
        return np.asarray(first + np.flatnonzero(few if quick and few.any() else known))


class ExampleSource:
    """Draws examples from scenes, on ``device``, the same for the same seed and kind of device.

    Scenes with too few landmarks are skipped. Raises ValueError if no scene is left.
    """

    def __init__(
        self, scenes: Sequence[TrainingScene], seed: int, augmentation: Augmentation, device: torch.device | str = "cpu"
    ) -> None:
        self._device = torch.device(device)
        self._scenes = [
            _SceneOnDevice(scene, self._device) for scene in scenes if len(scene.points) >= FEWEST_SCENE_LANDMARKS
        ]
        self._scenes = [scene for scene in self._scenes if len(scene.queries)]
        if not self._scenes:
            raise ValueError(f"no training scene has {FEWEST_SCENE_LANDMARKS} landmarks")
        self._augmentation = augmentation
        self._rng = np.random.default_rng(seed)
        self.generator = torch.Generator(self._device).manual_seed(seed)

    @property
    def descriptor_size(self) -> int:
        """Length of a joint descriptor."""
        return sum(part.shape[1] for part in (self._scenes[0].descriptors, self._scenes[0].coarse))

    @property
    def keypoints(self) -> list[int]:
        """Number of keypoints of each scene, to identify the scenes."""
        return [len(scene.image) for scene in self._scenes]

    def state(self) -> dict[str, Any]:
        """Return the state for :meth:`restore`."""
        torch_state = self.generator.get_state()
        return {"numpy": self._rng.bit_generator.state, "torch": torch_state, "device": self._device.type}

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a :meth:`state`; on another kind of device the draws differ, but follow from it."""
        self._rng.bit_generator.state = state["numpy"]
        if state["device"] == self._device.type:
            self.generator.set_state(state["torch"])
        else:
            self.generator.manual_seed(int(self._rng.integers(2**62)))

    def begin_anew(self, seed: Sequence[int]) -> None:
        """Restart the generators from a ``seed``."""
        self._rng = np.random.default_rng(seed)
        self.generator.manual_seed(int(self._rng.integers(2**62)))

    def draw(self, keypoints: int, landmarks: int, views: int, images: int = 1) -> Example:
        """Draw up to ``keypoints`` of up to ``images`` of one place, and ``landmarks`` with ``views`` each."""
        scene = self._scenes[self._rng.integers(len(self._scenes))]
        queries = self._rng.choice(scene.queries, min(images, len(scene.queries)), replace=False)
        # as in localization: some images by a quick look, some by a full one
        quick = self._rng.random() < QUICK_LOOKS
        of_queries = np.concatenate([scene.asked(q, quick) for q in queries])
        order = torch.randperm(len(of_queries), generator=self.generator, device=self._device)
        asked = torch.from_numpy(of_queries).to(self._device)[order[:keypoints]]
        shown = scene.landmark[asked]
        chosen = self._choose(len(scene.points), shown, landmarks)
        # query images give no views of landmarks
        counted = scene.mapped.clone()
        counted[torch.from_numpy(queries).to(self._device)] = False
        start, end = scene.landmark_start[chosen], scene.landmark_start[chosen + 1]
        at = start[:, None] + (self._uniform(len(chosen), views) * (end - start)[:, None]).long()
        view = scene.by_landmark[at.clamp_max(len(scene.by_landmark) - 1)]
        usable = counted[scene.image[view]] & (end > start)[:, None]
        kept = usable.any(dim=1).nonzero()[:, 0]
        chosen, view, usable = chosen[kept], view[kept], usable[kept]
        points = scene.points[chosen]
        near = distances(scene.points[shown.clamp_min(0)], points) < RIGHT_M
        flat = view.flatten()
        descriptors, shape = self._as_seen_now(scene, asked)
        return Example(
            descriptors=descriptors,
            shape=shape,
            rays=scene.rays[asked],
            view_descriptors=joint_of(scene.descriptors[flat].float(), scene.coarse[flat].float()),
            view_shape=_shape(scene.size[flat], scene.angle[flat]),
            counts=usable.float(),
            points=points,
            right=near & (shown >= 0)[:, None],
        )

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator, device=self._device)

    def _choose(self, count: int, shown: Tensor, wanted: int) -> Tensor:
        """Choose ``wanted`` of ``count`` landmarks as in a map: most of those ``shown`` (-1: none), and others."""
        rank = self._uniform(count)
        visible = torch.zeros(count + 1, dtype=torch.bool, device=self._device)
        visible[shown] = True
        rank = rank - (visible[:count] & (self._uniform(count) < 0.7)).float()
        return rank.topk(min(wanted, count), largest=False).indices.sort().values

    def _as_seen_now(self, scene: _SceneOnDevice, asked: Tensor) -> tuple[Tensor, Tensor]:
        """Return augmented descriptors and shapes: each image is rolled and zoomed as a whole."""
        size, angle = scene.size[asked], scene.angle[asked]
        if self._augmentation.turns:
            zoom, roll = (2 * self._uniform(2, len(scene.mapped)) - 1)[:, scene.image[asked]]
            size, angle = size * (MAX_LOG_ZOOM * zoom).exp(), angle + MAX_ROLL_RAD * roll
        noisy = [self._noisy(part[asked].float(), scene.lowest) for part in (scene.descriptors, scene.coarse)]
        return joint_of(*noisy), _shape(size, angle)

    def _noisy(self, descriptors: Tensor, lowest: float) -> Tensor:
        count, width = descriptors.shape
        if not width:
            return descriptors
        strength = self._augmentation.noise * self._uniform(count, 1) / width**0.5
        noise = strength * torch.randn(count, width, generator=self.generator, device=self._device)
        return functional.normalize((descriptors + noise).clamp_min(lowest), dim=1)


def joint_of(fine: Tensor, coarse: Tensor) -> Tensor:
    """Return what :func:`~neumap.features.extractor.joint_descriptors` does, on any device."""
    if not coarse.shape[1]:
        return fine
    return torch.cat([(1 - COARSE_SHARE) ** 0.5 * fine, COARSE_SHARE**0.5 * coarse], dim=1)


def _shape(size: Tensor, angle: Tensor) -> Tensor:
    """Return what :func:`~neumap.model.encoder.keypoint_shape` does, on any device."""
    return torch.stack([(size.clamp_min(SMALLEST_SIZE_PX) / USUAL_SIZE_PX).log(), angle.sin(), angle.cos()], dim=1)
