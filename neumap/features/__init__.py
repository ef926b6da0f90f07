"""Registry of the feature extractors, by the names that maps and decoders store.

:mod:`~neumap.features.extractor` defines their interface.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from neumap.errors import ConfigError

if TYPE_CHECKING:
    from neumap.features.extractor import Extractor, FeatureSettings

# EXTRACTORS: module and class of each, imported on first use. DEFAULT: that of the shipped decoder.
EXTRACTORS = {"rootsift": "neumap.features.sift:RootSift"}
DEFAULT = "rootsift"


@cache
def extractor_class(name: str) -> type[Extractor]:
    """Return the class of an extractor. Raises :class:`~neumap.errors.ConfigError` for an unknown name."""
    if name not in EXTRACTORS:
        raise ConfigError(f"unknown feature extractor '{name}': known are {', '.join(EXTRACTORS)}")
    module, _, kind = EXTRACTORS[name].partition(":")
    found: type[Extractor] = getattr(import_module(module), kind)
    return found


def make_extractor(settings: FeatureSettings) -> Extractor:
    """Make the extractor of the settings."""
    return extractor_class(settings.extractor)(settings)


def default_settings(name: str = DEFAULT) -> FeatureSettings:
    """Return the default settings of an extractor."""
    return extractor_class(name).settings_class()
