#!/usr/bin/env python3
"""How well ``neumap check`` predicts, from a map alone, which images are localized, and how accurately.

    python benchmarks/check.py --work WORK [--fit SEED ...] [--score SEED ...] [--scenes SCENE=MAP ...] [--threads N]

Held-out virtual places are mapped, with and without depth, whole or in part; half of the queries come from another
drive, half have random poses. Maps and results are kept in WORK. WEIGHTS, NOISE_PX and ERROR of
neumap/localization/outlook.py are fitted to the places of --fit; the present ones are scored on the places of --score,
and on the query images of recorded scenes (SCENE is a folder with query/, MAP a map of it). The Brier score of the
predicted probability is compared with that of a constant, the localized fraction of the scored images.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import scipy.optimize

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.coverage import within_reach
from benchmarks.scoring import markdown
from neumap.arrays import FloatArray
from neumap.cli import options
from neumap.geometry import se3
from neumap.geometry.cameras import make_camera
from neumap.io.sources import open_source
from neumap.localization.localizer import Localizer
from neumap.localization.outlook import ERROR, NOISE_PX, WEIGHTS, Outlook
from neumap.mapping.build import map_of
from neumap.mapping.settings import MappingSettings
from neumap.mapping.survey import survey
from neumap.maps.map_file import load_map, save_map
from neumap.maps.neural_map import NeuralMap
from neumap.process import set_up
from neumap.records import Camera, Frame
from neumap.virtual import photos
from neumap.virtual.curriculum import CHANGED, STEADY, random_camera, random_size, spread_drive
from neumap.virtual.drive import clearance, drive
from neumap.virtual.grounds import make_ground
from neumap.virtual.layout import make_room
from neumap.virtual.scene import Room
from neumap.virtual.walk import Way, walk

# seeds of held-out places: those to fit to and those to score on
FIRST_SEED, FIT, SCORE = 7_000_000, range(9), range(9, 16)
# the places: kind; number of mapping images; used fraction of the drive; range of depth, metres; bytes of the map
GROUNDS = ("room", "room", "hall", "courtyard", "corridor")
IMAGES, PARTS, REACHES_M, SIZES = (16, 28, 40), (1.0, 0.5, 0.25), (0.0, np.inf), (25_000, 50_000, 100_000)
# queries of a place; smallest distance of a camera from obstacles, metres
QUERIES, CLEAR_M = 48, 0.4
# largest errors of a right pose, metres and degrees
RIGHT_M, RIGHT_DEG = 0.25, 10.0
# regularization of the weights
RIDGE = 1e-3


@dataclass(frozen=True)
class Asked:
    """What came of N images asked of a map: of each a row of ``came`` (N, 4): whether it was localized rightly, by how
    much it is off, by how much it says that it may be and by how much its reprojection errors alone say so, metres.
    """

    neural_map: NeuralMap
    camera: Camera
    poses: FloatArray
    came: FloatArray

    @property
    def right(self) -> FloatArray:
        """Which images were localized rightly (N,), 1 or 0."""
        return self.came[:, 0]

    def features(self) -> tuple[FloatArray, FloatArray]:
        """What the model weighs (N, 2), and the standard deviation (N,) of positions, of errors of a pixel."""
        outlook = Outlook(self.neural_map, self.camera)
        found = [outlook.features(pose[:3, 3], pose[None, :3, :3]) for pose in self.poses]
        unit = np.concatenate([each.unit for each in found])
        sigma_m = np.sqrt(np.trace(unit[:, :3, :3], axis1=1, axis2=2))
        filled = np.concatenate([each.filled for each in found])
        return np.stack([np.ones_like(filled), filled], axis=1), sigma_m

    def foreseen(self) -> FloatArray:
        """The probabilities (N,) and expected errors (N,) of the images, (2, N)."""
        outlook = Outlook(self.neural_map, self.camera)
        each = [outlook(pose[:3, 3], pose[None, :3, :3]) for pose in self.poses]
        return np.array([[one.probability[0] for one in each], [one.error_m[0] for one in each]])


def place(seed: int) -> tuple[list[Frame], list[Frame], int]:
    """Return mapping frames and queries of the place of a seed, and the bytes of its map."""
    rng = np.random.default_rng([FIRST_SEED + seed, 31])
    kind = GROUNDS[seed % len(GROUNDS)]
    camera = random_camera(rng)
    count, part = int(rng.choice(IMAGES)), float(rng.choice(PARTS))
    if kind == "courtyard":
        size = (float(rng.uniform(20, 45)), float(rng.uniform(20, 45)), float(rng.uniform(6, 12)))
        room = make_ground(FIRST_SEED + seed, size, roofed=False)
        way = Way("across", span=part)
        mapping = walk(room, FIRST_SEED + seed, count, "mapping", way)
        driven = walk(room, FIRST_SEED + seed, QUERIES // 2, "query", replace(way, span=1.0))
    else:
        size, detail = random_size(rng, kind)
        room = make_room(FIRST_SEED + seed, size, detail=detail)
        mapping = drive(room, FIRST_SEED + seed, int(count / part), "mapping")[:count]
        driven = spread_drive(room, FIRST_SEED + seed, QUERIES // 2, "query")
    asked = np.concatenate([driven, anywhere(room, rng, QUERIES - len(driven))])
    frames = photos.take(room, camera, mapping, name="mapping", light=STEADY, seed=seed)
    query = photos.take(room, camera, asked, name="query", light=CHANGED, seed=seed)
    reach = float(rng.choice(REACHES_M))
    return [within_reach(frame, reach) for frame in frames], query, int(rng.choice(SIZES))


def anywhere(room: Room, rng: np.random.Generator, count: int) -> FloatArray:
    """Return random poses (``count``, 4, 4) in a room."""
    spots = rng.uniform(0, room.size[:2], (200 * count, 2))
    spots = spots[clearance(room, spots) > CLEAR_M][:count]
    yaw, pitch = rng.uniform(-np.pi, np.pi, len(spots)), rng.normal(-0.1, 0.1, len(spots))
    height = rng.uniform(0.6, 1.6, len(spots))
    return se3.make_pose(se3.optical_axes(yaw, pitch, 0 * yaw), np.column_stack([spots, height]))


def ask(neural_map: NeuralMap, frames: Sequence[Frame]) -> Asked:
    """Localize frames with known poses in a map."""
    localizer = Localizer(neural_map)
    came = np.full((len(frames), 4), np.nan)
    came[:, 0] = 0
    for i, frame in enumerate(frames):
        _, found, verdict = localizer.solve(localizer.look(frame.read_image(), frame.camera))
        if found is not None and verdict.map_from_camera is not None and verdict.covariance is not None:
            error = se3.pose_error(verdict.map_from_camera, np.asarray(frame.map_from_camera))
            off_m, off_deg = np.linalg.norm(error[:3]), np.rad2deg(np.linalg.norm(error[3:]))
            sigmas = [np.sqrt(np.trace(each[:3, :3])) for each in (verdict.covariance, found.covariance)]
            came[i] = off_m < RIGHT_M and off_deg < RIGHT_DEG, off_m, *sigmas
    return Asked(neural_map, frames[0].camera, np.array([frame.map_from_camera for frame in frames]), came)


def virtual(work: Path, seed: int) -> Asked:
    """Localize the queries of the place of a seed, or read the cached results in ``work``."""
    path, map_path = work / f"{seed}.npz", work / f"{seed}.neumap"
    if not path.exists():
        mapping, query, size = place(seed)
        made = map_of(survey(mapping, MappingSettings()), replace(MappingSettings(), size_bytes=size))
        asked = ask(save_map(map_path, made), query)
        keep(path, asked)
        print(f"{seed}: {asked.right.mean():.0%} of {len(query)}, {len(mapping)} images", file=sys.stderr, flush=True)
    return read(path, load_map(map_path))


def recorded(work: Path, scene: Path, map_path: Path) -> Asked:
    """Localize the queries of a recorded scene, or read the cached results in ``work``."""
    path, neural_map = work / f"{map_path.stem}.npz", load_map(map_path)
    if not path.exists():
        keep(path, ask(neural_map, open_source(scene / "query", poses=True).frames))
    return read(path, neural_map)


def keep(path: Path, asked: Asked) -> None:
    c = asked.camera
    size = c.width, c.height
    np.savez(path, size=size, matrix=c.matrix, lens=c.distortion, poses=asked.poses, came=asked.came)


def read(path: Path, neural_map: NeuralMap) -> Asked:
    kept = np.load(path)
    camera = make_camera(int(kept["size"][0]), int(kept["size"][1]), kept["matrix"], "plumb_bob", kept["lens"])
    return Asked(neural_map, camera, kept["poses"], kept["came"])


def fit(asked: Sequence[Asked]) -> tuple[FloatArray, float, float]:
    """Fit WEIGHTS, NOISE_PX and ERROR to results."""
    values, sigma_m = (np.concatenate(each) for each in zip(*(one.features() for one in asked), strict=True))
    came = np.concatenate([one.came for one in asked])
    right = came[:, 0]

    def loss(weights: FloatArray) -> float:
        odds = values @ weights
        return float((np.logaddexp(0, odds) - right * odds).sum() + RIDGE * weights @ weights)

    found = right > 0
    return (
        scipy.optimize.minimize(loss, np.zeros(values.shape[1])).x,
        float(np.nanmedian(came[found, 3] / sigma_m[found])),
        float(np.median(came[found, 1] / came[found, 2])),
    )


def rows(asked: Mapping[str, Asked]) -> list[tuple[str, ...]]:
    """Return a row for each, and one for all together."""
    foreseen = {name: one.foreseen() for name, one in asked.items()}
    table = [row(name, one.came, foreseen[name]) for name, one in asked.items()]
    if len(asked) > 1:
        came = np.concatenate([one.came for one in asked.values()])
        table.append(row("all", came, np.concatenate(list(foreseen.values()), axis=1)))
    return table


def row(name: str, came: FloatArray, foreseen: FloatArray) -> tuple[str, ...]:
    right, (probability, error_m) = came[:, 0], foreseen
    brier, constant = np.mean((probability - right) ** 2), right.mean() * (1 - right.mean())
    both = (right > 0) & np.isfinite(error_m)
    better = f"{100 * (1 - brier / constant):.0f} %" if constant else "-"
    return (
        name,
        str(len(right)),
        f"{100 * right.mean():.0f} %",
        f"{100 * probability.mean():.0f} %",
        f"{brier:.3f}",
        f"{constant:.3f}",
        better,
        f"{100 * np.median(came[both, 1]):.1f} cm",
        f"{100 * np.median(error_m[both]):.1f} cm",
    )


HEAD = ("place", "images", "localized", "foreseen", "Brier", "of the constant", "less", "off", "foreseen to be")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for maps and results, which are kept")
    parser.add_argument("--fit", type=int, nargs="*", default=FIT, metavar="SEED")
    parser.add_argument("--score", type=int, nargs="*", default=SCORE, metavar="SEED")
    parser.add_argument("--scenes", nargs="*", default=(), metavar="SCENE=MAP")
    parser.add_argument("--threads", type=options.threads, default=1)
    args = parser.parse_args()
    set_up(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    known = {f"{GROUNDS[seed % len(GROUNDS)]} {seed}": virtual(args.work, seed) for seed in args.fit}
    unseen = {f"{GROUNDS[seed % len(GROUNDS)]} {seed}": virtual(args.work, seed) for seed in args.score}
    scenes = [text.split("=") for text in args.scenes]
    real = {Path(path).stem: recorded(args.work, Path(scene), Path(path)) for scene, path in scenes}
    for title, asked in (("fitted to", known), ("scored on", unseen), ("recorded", real)):
        if asked:
            print(markdown(title, HEAD, rows(asked)), flush=True)
    if known:
        weights, noise_px, error = fit(list(known.values()))
        now = f"WEIGHTS {np.round(WEIGHTS, 2)}, NOISE_PX {NOISE_PX}, ERROR {ERROR}"
        print(f"fitted: WEIGHTS {np.round(weights, 2)}, NOISE_PX {noise_px:.2f}, ERROR {error:.2f}; in force: {now}")


if __name__ == "__main__":
    main()
