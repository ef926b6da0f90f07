"""Fitting a map's codes to all mapping images under the frozen network: ``neumap map --fit``.

Tracks are matched by plain descriptors from image to image, and miss views that the frozen encoder knows again. So a
map's landmarks are looked for once more, where they must be in every mapping image, in rounds, since latents of more
views find more views (hard expectation maximization, as k-means is). A latent becomes the mean of all views found, its
anchor the point that they agree on.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from neumap.arrays import Float32Array, FloatArray, IntArray
from neumap.geometry import se3
from neumap.localization.verification import IN_FRONT_M, mutual_best
from neumap.mapping.correspondences import NEAREST_KEYPOINTS, agree_in_depth
from neumap.mapping.keyframes import Keyframes
from neumap.mapping.tracks import POINT_LOSS_PX, Tracks, mean_descriptors, refine_points
from neumap.model.decoder import shipped_decoder
from neumap.progress import Progress, count_up

# FIT_ROUNDS: after two hardly any view is new.
FIT_ROUNDS = 2
# FIT_RADIUS_PX: how far from its projection a landmark is looked for: keypoints further off would blur where it is.
FIT_RADIUS_PX = POINT_LOSS_PX


def fit_to_images(
    tracks: Tracks,
    keyframes: Keyframes,
    adjusted: FloatArray,
    embeddings: Float32Array,
    progress: Progress = lambda *_: None,
) -> Tracks:
    """Return the tracks of a map's landmarks with all views in which the frozen encoder finds them, and points refined
    on these.

    ``adjusted`` (F, 4, 4) are the keyframes' poses, ``embeddings`` (N, D) what the frozen encoder makes of all
    keypoints.
    """
    step = count_up(progress, "fit codes", FIT_ROUNDS * len(keyframes))
    fitted = tracks
    for _ in range(FIT_ROUNDS):
        looks = mean_descriptors(fitted, embeddings)
        found = []
        for i in range(len(keyframes)):
            found.append(find_in_image(i, tracks.points, looks, keyframes, adjusted[i], embeddings))
            step(1)
        fitted = with_views(tracks, np.concatenate(found))
    return refine_points(fitted, keyframes, adjusted)[0]


def find_in_image(
    i: int,
    points: FloatArray,
    looks: Float32Array,
    keyframes: Keyframes,
    map_from_camera: FloatArray,
    embeddings: Float32Array,
) -> IntArray:
    """Return the keypoints of image ``i`` and the landmarks they show (M, 2): within a few pixels of where one of
    ``points`` (L, 3) projects, like its ``looks`` (L, D), as far away where depth is known, and the best of both ends.
    """
    here = keyframes.slice(i)
    if here.start == here.stop:
        return np.zeros((0, 2), np.int64)
    seen = se3.transform_points(se3.invert_pose(map_from_camera), points)
    rays = seen[:, :2] / np.maximum(seen[:, 2:], IN_FRONT_M)
    left, top, right, bottom = keyframes.view
    inside = (rays > [left, top]).all(axis=1) & (rays < [right, bottom]).all(axis=1)
    visible = np.flatnonzero((seen[:, 2] > IN_FRONT_M) & inside)
    tree = cKDTree(keyframes.rays[here])
    radius = FIT_RADIUS_PX / keyframes.focal_px[i]
    _, near = tree.query(rays[visible], k=np.arange(1, NEAREST_KEYPOINTS + 1), distance_upper_bound=radius)
    row, column = np.nonzero(near < tree.n)
    keypoint, landmark = near[row, column] + here.start, visible[row]
    alike = np.einsum("ij,ij->i", embeddings[keypoint], looks[landmark])
    good = (alike > shipped_decoder().min_similarity) & agree_in_depth(keyframes.depth[keypoint], seen[landmark, 2])
    keypoint, landmark, alike = keypoint[good], landmark[good], alike[good]
    best = mutual_best(keypoint, landmark, alike)
    return np.stack([keypoint[best], landmark[best]], axis=1)


def with_views(tracks: Tracks, found: IntArray) -> Tracks:
    """Return the tracks with the keypoints and tracks ``found`` (M, 2) as further observations."""
    known = np.stack([tracks.keypoint, tracks.track], axis=1)
    both = np.unique(np.concatenate([known, found])[:, ::-1], axis=0)
    return Tracks(both[:, 1], both[:, 0], tracks.points)
