"""All pictures, of runs that went well, that failed and that are empty: nothing is cut or covered, and all can tell the
colours apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from small_maps import small_map

from neumap.arrays import FloatArray
from neumap.geometry.se3 import make_pose, rotation_exp
from neumap.records import PoseEstimate, Status, Trajectory, lost
from neumap.report.evaluation import evaluate, lost_poses
from neumap.report.evaluation_figure import draw_evaluation
from neumap.report.figures import Example, draw_report
from neumap.report.map_figure import draw_map
from neumap.report.pictures import COLOURS
from neumap.report.replay_figure import STATE_COLOURS, draw_replay
from neumap.report.replay_report import STATES, ReplayLog, StatusLine, report

figure = pytest.importorskip("matplotlib.figure")
pytest.importorskip("evo")

SECOND = 1_000_000_000
REASON = "only 7 inliers, 1 of them certain: not enough to tell this place from another one that looks like it"
LANDMARKS = np.random.default_rng(1).uniform(0, [6, 4, 2], (3000, 3))
# looks along the path; for a camera z is ahead, for a base x
AHEAD = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])


def path(count: int, heading: FloatArray, width: float = 4.0) -> Trajectory:
    """A path of ``count`` poses, a second apart, that is ``width`` metres wide."""
    t = np.linspace(0, 1, count)
    at = np.stack([1 + width * t, 2 + np.sin(5 * t), 0 * t + 1], axis=1)
    return Trajectory(np.arange(count) * SECOND, make_pose(np.tile(heading, (count, 1, 1)), at))


def estimated(truth: Trajectory, far: dict[int, float]) -> Trajectory:
    """Poses about 1 cm off, but for those that are ``far`` off by metres."""
    rng, poses = np.random.default_rng(0), truth.map_from_camera.copy()
    poses[:, :3, 3] += 0.006 * rng.normal(size=(len(poses), 3))
    poses[:, :3, :3] = poses[:, :3, :3] @ rotation_exp(0.004 * rng.normal(size=(len(poses), 3)))
    for index, metres in far.items():
        poses[index, 0, 3] += metres
    return Trajectory(truth.stamps_ns, poses)


def some(trajectory: Trajectory, kept: slice) -> Trajectory:
    return Trajectory(trajectory.stamps_ns[kept], trajectory.map_from_camera[kept])


def draw_an_evaluation(to: Path, kind: str, width: float = 4.0) -> None:
    truth = path(40, AHEAD, width)
    if kind == "good":
        draw_evaluation(to, evaluate(estimated(truth, {}), truth))
        return
    found = estimated(truth, {3: 1.5, 9: 40.0}) if kind == "failing" else truth
    found = some(found, slice(0, 30) if kind == "failing" else slice(0, 0))
    draw_evaluation(to, evaluate(found, truth, 40), lost_poses(truth.stamps_ns, found, truth))


def replayed(kind: str) -> tuple[ReplayLog, Trajectory]:
    """Half of a minute, of which the second half is lost in a failing run, and all of it in an empty one."""
    truth = path(31, np.eye(3))
    kept = {"good": slice(0, 31), "failing": slice(0, 15), "empty": slice(0, 0)}[kind]
    poses = some(estimated(truth, {} if kind == "good" else {2: 2.0}), kept)
    statuses = []
    for second in range(31):
        state = "TRACKING" if second < len(poses) else "UNINITIALIZED" if not len(poses) else "LOST"
        statuses.append(StatusLine(second * SECOND, state, "" if state == "TRACKING" else REASON, 0.1, second + 1, 0))
    # what the end of a recording looks like
    statuses.append(StatusLine(31 * SECOND, "LOST", "no image since 1 s", 0.0, 31, 0))
    covariances = np.tile(np.diag([1e-4] * 3 + [1e-5] * 3), (len(poses), 1, 1))
    nothing = np.zeros(0, np.int64), np.zeros((0, 4, 4))
    log = ReplayLog(0, 30 * SECOND, 0, tuple(statuses), poses, covariances, poses.stamps_ns, *nothing, searched=31)
    return log, truth


def draw_a_replay(to: Path, kind: str, with_truth: bool = True) -> None:
    log, truth = replayed(kind)
    known = truth if with_truth else None
    draw_replay(to, log, report(log, known), known, LANDMARKS if kind != "empty" else LANDMARKS[:0])


def answer(pose: FloatArray) -> PoseEstimate:
    pixels = np.random.default_rng(0).uniform(0, 120, (40, 2)).astype(np.float32)
    return PoseEstimate(Status.LOCALIZED, "", pose, 1e-5 * np.eye(6), 40, 0.8, pixels, np.zeros((40, 3), "f4"), {})


def draw_a_report(to: Path, kind: str) -> None:
    truth, image = path(12, AHEAD).map_from_camera, np.full((120, 160), 90, np.uint8)
    estimates = [
        answer(pose) for pose in estimated(path(12, AHEAD), {} if kind == "good" else {2: 1, 3: 30}).map_from_camera
    ]
    if kind == "failing":
        estimates[6:] = [lost(REASON)] * 6
    examples = [Example(image, e, pose) for e, pose in zip(estimates, truth, strict=True)]
    if kind == "empty":
        truth, estimates, examples = truth[:0], [], []
    landmarks = LANDMARKS[:0] if kind == "empty" else LANDMARKS
    draw_report(
        to,
        mapping_poses=truth + 0.0,
        truth=None if kind == "empty" else truth,
        estimates=estimates,
        landmarks=landmarks,
        examples=examples,
        title="A camera localized in a virtual room, from single images",
    )


def draw_a_map(to: Path, kind: str) -> None:
    draw_map(to, replace(small_map(0 if kind == "empty" else 30), mapping_images=30))


def draw_an_evaluation_by_number(to: Path, kind: str) -> None:
    truth = path(40, AHEAD)
    found = {"good": truth, "failing": estimated(truth, {3: 1.5}), "empty": some(truth, slice(0, 0))}[kind]
    draw_evaluation(to, evaluate(found, truth, 60))


PICTURES: dict[str, Callable[[Path, str], None]] = {
    "evaluation": draw_an_evaluation,
    "evaluation of a square path": lambda to, kind: draw_an_evaluation(to, kind, width=2.0),
    "evaluation of a straight path": lambda to, kind: draw_an_evaluation(to, kind, width=40.0),
    "evaluation of a number of images": draw_an_evaluation_by_number,
    "replay": draw_a_replay,
    "replay without truth": lambda to, kind: draw_a_replay(to, kind, with_truth=False),
    "report": draw_a_report,
    "map": draw_a_map,
}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are saved."""
    saved: list[Any] = []
    save = figure.Figure.savefig

    def keep(self: Any, *arguments: Any, **options: Any) -> None:
        saved.append(self)
        save(self, *arguments, **options)

    monkeypatch.setattr(figure.Figure, "savefig", keep)
    return saved


def texts(drawn: Any) -> Iterator[tuple[str, Any]]:
    """Every text of a figure that is seen, and the box (pixels) that it takes."""
    shown = [drawn._suptitle] if drawn._suptitle is not None else []
    for axes in drawn.axes if hasattr(drawn, "axes") else []:
        legend = axes.get_legend()
        shown += [axes.title, axes._left_title, axes._right_title, *axes.texts, *(legend.get_texts() if legend else [])]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            shown += [axis.label, *(label for tick in ticks for label in (tick.label1, tick.label2))]
    for text in shown:
        if text.get_visible() and text.get_text().strip():
            yield text.get_text(), text.get_window_extent()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["good", "failing", "empty"])
@pytest.mark.parametrize("name", PICTURES)
def test_no_text_is_cut_or_covers_another(tmp_path: Path, drawn: list[Any], name: str, kind: str) -> None:
    PICTURES[name](tmp_path / "drawn.png", kind)
    [one] = drawn
    found = list(texts(one))
    assert len(found) > 10
    width, height = one.get_size_inches() * one.dpi
    for text, box in found:
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= width, text
        assert box.y1 <= height, text
    for (text, box), (other, its) in combinations(found, 2):
        apart = box.x1 <= its.x0 or its.x1 <= box.x0 or box.y1 <= its.y0 or its.y1 <= box.y0
        assert apart, f"{text!r} covers {other!r}"


def test_what_failed_is_seen(tmp_path: Path, drawn: list[Any]) -> None:
    for name in ("evaluation", "replay", "report"):
        PICTURES[name](tmp_path / "drawn.png", "failing")
    said = [" ".join(text for text, _ in texts(one)).replace("\n", " ") for one in drawn]
    assert "wrong by more than 25 cm (2, 1 of them beyond the edge)" in said[0]
    assert "lost (10)" in said[0]
    assert "30 of 40 images localized" in said[0]
    assert "wrong by more than 25 cm (1)" in said[1]
    assert "no fix (16)" in said[1]
    assert "wrong by more than 25 cm (2, 1 of them beyond the edge)" in said[2]
    assert "lost (6)" in said[2]
    assert REASON.split(":")[0] in said[2]


def test_what_is_empty_says_why(tmp_path: Path, drawn: list[Any]) -> None:
    for name in ("replay", "report", "evaluation"):
        PICTURES[name](tmp_path / "drawn.png", "empty")
    said = [" ".join(text for text, _ in texts(one)).replace("\n", " ") for one in drawn]
    assert f"nothing was localized: {REASON} (31 of 31 images)" in said[0]
    assert "no image was asked for" in said[1]
    assert "no image was localized" in said[2]
    assert "lost (40)" in said[2]


def test_the_end_of_a_recording_is_no_failure(tmp_path: Path, drawn: list[Any]) -> None:
    PICTURES["replay"](tmp_path / "drawn.png", "good")
    states = next(axes for axes in drawn[0].axes if axes.get_ylabel() == "state")
    assert {patch.get_facecolor()[:3] for patch in states.patches} == {rgb(STATE_COLOURS["TRACKING"])}
    assert states.get_xlim() == pytest.approx((0.0, 30.0))


def rgb(colour: str) -> tuple[float, float, float]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))  # type: ignore[return-value]


# what people without long, middle or short cones see of linear red, green and blue (Machado et al. 2009)
SEEN = {
    "all": np.eye(3),
    "no long": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no middle": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no short": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.mark.parametrize("eyes", SEEN)
@pytest.mark.parametrize(
    "colours",
    [
        [STATE_COLOURS[state] for state in STATES],
        [COLOURS.good, COLOURS.fair, COLOURS.bad, COLOURS.wrong, COLOURS.truth, COLOURS.faint],
    ],
)
def test_colours_are_told_apart(colours: list[str], eyes: str) -> None:
    linear = np.array([rgb(colour) for colour in colours]) ** 2.2 @ np.array(SEEN[eyes]).T
    seen = np.clip(linear, 0, 1) ** (1 / 2.2)
    lab = cv2.cvtColor(seen[None].astype(np.float32), cv2.COLOR_RGB2Lab)[0]
    for i, j in combinations(range(len(colours)), 2):
        # 2.3 is just noticeable side by side
        assert np.linalg.norm(lab[i] - lab[j]) > 20, (colours[i], colours[j])
