"""Which benchmarks judge which system, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from occ_perception.core.errors import ConfigError
from occ_perception.eval.occ3d import GAUSSIANFLOWOCC_PROTOCOL, LANGOCC_PROTOCOL
from occ_perception.eval.scoring import Scorer
from occ_perception.eval.voxel_scorers import (
    CompletionScorer,
    GeometryScorer,
    Occ3DScorer,
    RayScorer,
)
from occ_perception.systems.base import OccupancySystem

Make = Callable[[OccupancySystem, str], Scorer]


def _geometry(system: OccupancySystem, topic: str) -> Scorer:
    return GeometryScorer(topic, free_id=system.labels.free_id)


def _in_view(system: OccupancySystem, topic: str) -> Scorer:
    return GeometryScorer(topic, free_id=system.labels.free_id, in_view=True)


# Name -> how to make it for a system and the topic of the truth.
BENCHMARKS: Mapping[str, Make] = {
    "completion": lambda system, topic: CompletionScorer(topic),
    "geometry": _geometry,
    "geometry_in_view": _in_view,
    "occ3d": lambda system, topic: Occ3DScorer(LANGOCC_PROTOCOL, topic),
    "occ3d_15": lambda system, topic: Occ3DScorer(GAUSSIANFLOWOCC_PROTOCOL, topic),
    "rayiou": lambda system, topic: RayScorer(topic),
}

# What each publication reports; the first one decides which frames are the worst.
OF_SYSTEM: Mapping[str, tuple[str, ...]] = {
    "vlscene": ("completion",),
    "langocc": ("occ3d",),
    "gaussianflowocc": ("occ3d_15",),
    "vipocc": ("geometry_in_view",),
    "scenedino": ("geometry_in_view",),
}


def benchmarks(
    system_name: str, system: OccupancySystem, names: Sequence[str] = (), topic: str = ""
) -> list[Scorer]:
    """Benchmarks by name.

    Args:
        system_name: Key of the catalogue.
        system: Whose answers are judged.
        names: Keys of `BENCHMARKS`; empty = those of the publication.
        topic: Topic of the voxel truth; empty = the only one.

    Raises:
        ConfigError: A name is not known.
    """
    wanted = tuple(names) or OF_SYSTEM[system_name]
    unknown = [name for name in wanted if name not in BENCHMARKS]
    if unknown:
        raise ConfigError(f"unknown benchmark '{unknown[0]}'; available: {', '.join(BENCHMARKS)}")
    return [BENCHMARKS[name](system, topic) for name in wanted]
