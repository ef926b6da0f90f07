"""A made-up scene whose truth is known to the last digit: points on the walls of a room, cameras that look at them.

Descriptors are those of random product-quantized codes, so that a map stores them without loss.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from neumap.arrays import Float32Array, FloatArray, ImageArray, IntArray
from neumap.features import default_settings
from neumap.features.extractor import Features
from neumap.features.sift import RootSift
from neumap.geometry import cameras, se3
from neumap.mapping.keyframes import Keyframes
from neumap.mapping.tracks import Tracks, tracks_from_labels
from neumap.maps.drift import DriftField
from neumap.maps.neural_map import LandmarkCodes, NeuralMap, encode_anchors, group_into_voxels
from neumap.model.codebooks import Codes, shipped_codebooks
from neumap.model.decoder import shipped_decoder
from neumap.records import Camera

CAMERA = cameras.make_camera(640, 480, [500, 0, 319.5, 0, 500, 239.5, 0, 0, 1])
FOCAL_PX = 500.0
VIEW = np.array([-0.639, -0.479, 0.641, 0.481])
# how wide the patch is that a keypoint stands for
PATCH_M = 0.06


def look_at(eye: FloatArray, target: FloatArray) -> FloatArray:
    """map_from_camera (4, 4) of a camera at ``eye`` that looks at ``target``, upright in a map whose z is up."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return se3.make_pose(np.stack([right, np.cross(forward, right), forward], axis=1), eye)


def ring(count: int, radius: float = 1.0) -> FloatArray:
    """Poses (count, 4, 4) of cameras on a circle, looking outwards."""
    angle = np.arange(count) * 2 * np.pi / count
    outwards = np.stack([np.cos(angle), np.sin(angle), np.zeros(count)], axis=1)
    return np.array([look_at(radius * d, 2 * radius * d) for d in outwards])


def sideways(count: int, step_m: float = 0.1) -> FloatArray:
    """Poses (count, 4, 4) of cameras that move along a wall, all looking at it from 2.5 m."""
    x = (np.arange(count) - (count - 1) / 2) * step_m
    return np.array([look_at(np.array([c, 0.5, 0.1 * np.sin(3 * c)]), np.array([c, 3.0, 0.0])) for c in x])


def wall_points(rng: np.random.Generator, count: int) -> FloatArray:
    """Points (count, 3) on and up to 30 cm in front of the walls of a 6 x 6 x 3 m room around the origin."""
    along, up = rng.uniform(-3, 3, count), rng.uniform(-1.5, 1.5, count)
    wall, depth = rng.integers(0, 4, count), 3 - rng.uniform(0, 0.3, count)
    x = np.choose(wall, [depth, -depth, along, along])
    y = np.choose(wall, [along, along, depth, -depth])
    return np.stack([x, y, up], axis=1)


@dataclass(frozen=True)
class Scene:
    """L points (L, 3) and their codes."""

    points: FloatArray
    fine: Codes
    coarse: Codes

    @property
    def descriptors(self) -> Float32Array:
        return shipped_codebooks()[f"descriptor-{self.fine.shape[1]}"].decode(self.fine)

    @property
    def coarse_descriptors(self) -> Float32Array:
        return shipped_codebooks()[f"coarse-{self.coarse.shape[1]}"].decode(self.coarse)


def make_scene(rng: np.random.Generator, count: int, parts: tuple[int, int] = (16, 8)) -> Scene:
    """Random points with random codes."""
    fine, coarse = (rng.integers(0, 256, (count, p)).astype(np.uint8) for p in parts)
    return Scene(wall_points(rng, count), fine, coarse)


def no_drift() -> DriftField:
    """A field without viewpoints, and a prior that differs from axis to axis."""
    scale = np.array([1, 2, 4, 0.5, 1, 2]) * 1e-3
    return DriftField(np.zeros((0, 4, 4)), np.zeros((0, 6)), scale, 0.5, 0.5, 0.1)


def make_map(scene: Scene, voxel_m: float = 10.0) -> NeuralMap:
    """The map whose landmarks are the scene's points, ordered by voxel."""
    grid, voxel = group_into_voxels(scene.points, voxel_m, 1)
    order = np.argsort(voxel, kind="stable")
    return NeuralMap(
        features=default_settings(),
        grid=grid,
        landmarks=LandmarkCodes(
            anchors=encode_anchors(scene.points[order], voxel[order], grid),
            descriptors=scene.fine[order],
            coarse=scene.coarse[order],
            offsets=np.concatenate([[0], np.cumsum(np.bincount(voxel, minlength=len(grid)))]),
        ),
        drift=no_drift(),
    )


def make_latent_map(scene: Scene, parts: int = 8, anchor_bits: int = 12, voxel_m: float = 10.0) -> NeuralMap:
    """As :func:`make_map`, for the frozen decoder: latents of ``parts`` bytes, as of a view from 2 m."""
    frozen = shipped_decoder()
    neural_map = make_map(scene, voxel_m)
    grid, voxel = group_into_voxels(scene.points, voxel_m, 1)
    order = np.argsort(voxel, kind="stable")
    size = np.full(len(order), PATCH_M * FOCAL_PX / 2.0)
    embedded = frozen.embed(scene.descriptors, scene.coarse_descriptors, size, np.zeros(len(order)))
    latents = frozen.codebook.encode(embedded[order], parts)
    codes = LandmarkCodes(
        anchors=encode_anchors(scene.points[order], voxel[order], grid, anchor_bits),
        descriptors=latents,
        coarse=latents[:, :0],
        offsets=neural_map.landmarks.offsets,
        anchor_bits=anchor_bits,
    )
    return replace(neural_map, landmarks=codes, decoder_id=frozen.decoder_id)


def visible(points: FloatArray, map_from_camera: FloatArray, camera: Camera = CAMERA) -> tuple[IntArray, FloatArray]:
    """Which points are in front of the camera and in its image, and all points (L, 3) in the camera frame."""
    seen = se3.transform_points(se3.invert_pose(map_from_camera), points)
    pixels = cameras.project(camera, seen)
    with np.errstate(invalid="ignore"):
        inside = (pixels >= 0).all(axis=1) & (pixels <= [camera.width - 1, camera.height - 1]).all(axis=1)
    return np.flatnonzero(inside & (seen[:, 2] > 0.2)), seen


def features_of(
    scene: Scene,
    map_from_camera: FloatArray,
    rng: np.random.Generator,
    noise_px: float = 0.0,
    descriptor_noise: float = 0.0,
    camera: Camera = CAMERA,
) -> tuple[Features, FloatArray, IntArray]:
    """What a camera sees of a scene in random order: features, their rays (N, 2), and the point (N,) each one is."""
    found, seen = visible(scene.points, map_from_camera, camera)
    found = rng.permutation(found)
    pixels = cameras.project(camera, seen[found]) + rng.normal(size=(len(found), 2)) * noise_px

    def disturbed(descriptors: Float32Array) -> Float32Array:
        noisy = descriptors + rng.normal(size=descriptors.shape) * descriptor_noise / np.sqrt(descriptors.shape[1])
        noisy = np.maximum(noisy, 0)
        return np.asarray(noisy / np.linalg.norm(noisy, axis=1, keepdims=True), dtype=np.float32)

    features = Features(
        pixels=pixels.astype(np.float32),
        size=(PATCH_M * FOCAL_PX / seen[found, 2]).astype(np.float32),
        angle=np.zeros(len(found), np.float32),
        response=np.linspace(1, 0.1, len(found), dtype=np.float32),
        descriptors=disturbed(scene.descriptors[found]),
        coarse=disturbed(scene.coarse_descriptors[found]),
    )
    return features, cameras.normalize(camera, pixels), found


def make_keyframes(
    scene: Scene, poses: FloatArray, rng: np.random.Generator, noise_px: float = 0.0, descriptor_noise: float = 0.0
) -> tuple[Keyframes, IntArray]:
    """Keyframes with exact depths that see a scene from ``poses`` (F, 4, 4), and the point (N,) of each keypoint."""
    views = [features_of(scene, pose, rng, noise_px, descriptor_noise) for pose in poses]
    counts = [len(f) for f, _, _ in views]
    depths = [visible(scene.points, pose)[1][found, 2] for pose, (_, _, found) in zip(poses, views, strict=True)]
    keyframes = Keyframes(
        map_from_camera=poses,
        focal_px=np.full(len(poses), FOCAL_PX),
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        image=np.repeat(np.arange(len(poses)), counts),
        rays=np.concatenate([rays for _, rays, _ in views]),
        depth=np.concatenate(depths),
        size=np.concatenate([f.size for f, _, _ in views]).astype(np.float64),
        angle=np.concatenate([f.angle for f, _, _ in views]).astype(np.float64),
        descriptors=np.concatenate([f.descriptors for f, _, _ in views]).astype(np.float16),
        coarse=np.concatenate([f.coarse for f, _, _ in views]).astype(np.float16),
        quick=np.ones(sum(counts), dtype=bool),
        view=VIEW,
        depth_measured=True,
        similarities=RootSift.similarities,
    )
    return keyframes, np.concatenate([found for _, _, found in views])


def true_tracks(scene: Scene, point: IntArray, min_views: int) -> Tracks:
    """The tracks of a scene's points that so many of keypoints showing ``point`` (N,) see."""
    label = np.unique(point, return_index=True)[1][np.searchsorted(np.unique(point), point)]
    return tracks_from_labels(label, scene.points[point].__getitem__, np.ones(len(point), dtype=bool), min_views)


def first_views(tracks: Tracks) -> Tracks:
    """The first two views of each track."""
    first = np.searchsorted(tracks.track, np.arange(len(tracks)))
    seen = np.sort(np.concatenate([first, first + 1]))
    return Tracks(tracks.keypoint[seen], tracks.track[seen], tracks.points)


def texture(rng: np.random.Generator, height: int, width: int) -> ImageArray:
    """A grey image (height, width) with blobs and corners of all sizes."""
    image = np.zeros((height, width), np.float32)
    for sigma in (1.0, 2.0, 4.0, 8.0, 16.0):
        layer = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), sigma)
        image += np.asarray(layer) * sigma
    for _ in range(height * width // 2500):
        x, y = (int(rng.integers(0, n)) for n in (width, height))
        w, h = (int(n) for n in rng.integers(6, 40, 2))
        image[y : y + h, x : x + w] += rng.normal() * 2
    image = (image - image.min()) / np.ptp(image)
    return np.asarray(np.rint(255 * image), dtype=np.uint8)


def turned(rotation_vector: FloatArray, translation: FloatArray) -> FloatArray:
    """A rigid transform (4, 4)."""
    return se3.make_pose(se3.rotation_exp(rotation_vector), translation)
