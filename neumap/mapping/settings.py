"""The settings of ``neumap map``. This module does not import torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from neumap.errors import ConfigError
from neumap.features import default_settings
from neumap.features.extractor import FeatureSettings
from neumap.maps import DECODERS, LATENT
from neumap.maps.neural_map import mismatch

# QUICK_BYTES: size of a quick map. LEAST_BYTES: smaller sizes leave no room for landmarks.
QUICK_BYTES, LEAST_BYTES = 100_000, 15_000


@dataclass(frozen=True)
class MappingSettings:
    """Settings of mapping.

    ``size_bytes`` None: the default number of landmarks, of any size. Raises :class:`~neumap.errors.ConfigError` for
    invalid combinations.
    """

    decoder: str = LATENT
    size_bytes: int | None = None
    quick: bool = False
    use_depth: bool = True
    seed: int = 0
    frame_id: str = "map"
    features: FeatureSettings = field(default_factory=default_settings)

    def __post_init__(self) -> None:
        if self.decoder not in DECODERS:
            raise ConfigError(f"unknown decoder '{self.decoder}': choose one of {', '.join(DECODERS)}")
        if self.size_bytes is not None and self.size_bytes < LEAST_BYTES:
            raise ConfigError(
                f"a map of {self.size_bytes} bytes holds too little: give at least {LEAST_BYTES // 1000}KB"
            )
        if reason := mismatch(self.decoder, self.features):
            raise ConfigError(reason)

    @property
    def budget(self) -> int | None:
        """The bytes of the map at most; None: unlimited."""
        return self.size_bytes or (QUICK_BYTES if self.quick else None)
