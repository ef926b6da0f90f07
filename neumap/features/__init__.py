"""Keypoints and descriptors of images: the extractors there are, by the names that maps and decoders call them.

What an extractor is says :mod:`~neumap.features.extractor`.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from neumap.errors import ConfigError

if TYPE_CHECKING:
    from neumap.features.extractor import Extractor, FeatureSettings

# EXTRACTORS: module and class of each, imported when it is used. DEFAULT: the one whose features the shipped decoder
# reads.
EXTRACTORS = {"rootsift": "neumap.features.sift:RootSift"}
DEFAULT = "rootsift"


@cache
def extractor_class(name: str) -> type[Extractor]:
    """Return the class of an extractor. Raises :class:`~neumap.errors.ConfigError` for a name that is none."""
    if name not in EXTRACTORS:
        raise ConfigError(f"unknown feature extractor '{name}': known are {', '.join(EXTRACTORS)}")
    module, _, kind = EXTRACTORS[name].partition(":")
    found: type[Extractor] = getattr(import_module(module), kind)
    return found


def make_extractor(settings: FeatureSettings) -> Extractor:
    """Make the extractor that these settings are of."""
    return extractor_class(settings.extractor)(settings)


def default_settings(name: str = DEFAULT) -> FeatureSettings:
    """Return the settings of an extractor that it has unless told others."""
    return extractor_class(name).settings_class()
