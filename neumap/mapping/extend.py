"""Add a recording to a map, with landmarks in the map's own form: ``neumap map --extend``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from neumap.mapping.align import Alignment, check_one_frame, find_alignment
from neumap.mapping.build import FEWEST_VIEWPOINTS, compose
from neumap.mapping.calibration import calibrate
from neumap.mapping.encoding import encode, form_of
from neumap.mapping.merge import merge_all
from neumap.mapping.selection import by_usefulness
from neumap.mapping.settings import MappingSettings
from neumap.mapping.survey import Survey, survey
from neumap.mapping.work import NOWHERE, Work
from neumap.maps.drift import thin_field
from neumap.maps.moving import transformed
from neumap.maps.neural_map import NeuralMap
from neumap.progress import Progress, ignore
from neumap.records import Frame

# FEWEST_ADDED: landmarks that a recording may add to a map, however few images it has.
FEWEST_ADDED = 1500


def extend_map(
    neural_map: NeuralMap,
    frames: Sequence[Frame],
    use_depth: bool = True,
    seed: int = 0,
    progress: Progress = ignore,
    apart: bool = False,
    align: bool = False,
    work: Work = NOWHERE,
) -> tuple[NeuralMap, Alignment | None]:
    """Return ``neural_map`` extended by posed ``frames`` with poses in its frame, and the alignment found, if any.

    With ``align`` the poses may be in any frame; its alignment with the map is found from common landmarks. The
    expected accuracy is measured on frames set aside, in the whole map; too few frames keep that of ``neural_map``.
    ``apart`` is as of :func:`~neumap.mapping.merge.merge_maps`, ``work`` as of
    :func:`~neumap.mapping.build.build_map`. Raises what these raise, and
    :func:`~neumap.mapping.align.find_alignment` or :func:`~neumap.mapping.align.check_one_frame`.
    """
    settings = MappingSettings(
        decoder=neural_map.decoder,
        use_depth=use_depth,
        seed=seed,
        frame_id=neural_map.frame_id,
        features=neural_map.features,
    )
    place = survey(frames, settings, progress, work)
    added = _map_like(neural_map, place, settings, progress)
    found, aside, names = None, place.aside, ("the map that is extended", "what is added to it")
    if align:
        found = find_alignment(neural_map, added, names)
        move = found.first_from_second
        added = transformed(added, move)
        aside = tuple(replace(each, map_from_camera=move @ np.asarray(each.map_from_camera)) for each in aside)
    elif not apart:
        check_one_frame([neural_map, added], names)
    merged = merge_all([neural_map, added], apart, names)
    return calibrate(merged, aside, progress, least=neural_map.calibration), found


def _map_like(neural_map: NeuralMap, place: Survey, settings: MappingSettings, progress: Progress) -> NeuralMap:
    """Make a map of a surveyed place, not calibrated, with the landmark form of ``neural_map`` and its number of
    landmarks per image.
    """
    form, share = form_of(neural_map), len(place.keyframes) / max(neural_map.mapping_images, 1)
    count = max(round(share * len(neural_map.landmarks)), FEWEST_ADDED)
    chosen = by_usefulness(place.candidates, count, progress)
    drift = thin_field(place.drift, max(round(share * len(neural_map.drift.poses)), FEWEST_VIEWPOINTS))
    return compose(place, encode(place, chosen, form, progress), form, drift, settings)
