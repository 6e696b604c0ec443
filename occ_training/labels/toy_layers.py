"""Stand-ins of the image teachers over bags of the procedural world, in the real ones' formats.

They read the truth of the bag and spoil it in the ways in which the real teachers are wrong.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from occ_perception.bags.images import decode_values
from occ_perception.core.errors import BagError, ConfigError
from occ_training.labels.bag_images import BagImage, BagImages
from occ_training.labels.layers import DEPTH, LANGUAGE, MASKS, RAYS, STREET, truth_topic
from occ_training.labels.lidar_rays import RaySource
from occ_training.world.classes import Class, lookup
from occ_training.world.teachers import (
    CONFUSED,
    TOY_TEXT_ENCODER,
    Things,
    guessed_classes,
    guessed_depth,
    guessed_language,
)

PRIMITIVES = "/ground_truth/world/primitives"
KINDS = (DEPTH, MASKS, STREET, LANGUAGE)
_INSTANCES = 1000  # Cityscapes' instance images hold class * 1000 + instance
_PATCHES_ACROSS = 100  # of the text-image stand-in: 16 pixels of an image of 1600

# Names of several classes in Cityscapes' ids: the one that stands for them.
_KEPT = {Class.TRUNK: Class.VEGETATION, Class.MOTORCYCLIST: Class.BICYCLIST,
         Class.BARRIER: Class.OTHER_OBJECT, Class.CONE: Class.OTHER_OBJECT}  # fmt: skip


def class_of_street() -> npt.NDArray[np.uint8]:
    """Table `[256]` uint8 from Cityscapes' ids to the world's own; what is nothing is sky."""
    street, table = lookup("cityscapes"), np.full(256, Class.SKY, np.uint8)
    for class_id in Class:
        if class_id not in _KEPT and class_id != Class.FREE:
            table[street[class_id]] = class_id
    return table


def occ3d_of_street() -> npt.NDArray[np.uint8]:
    """Table `[256]` uint8 from Cityscapes' ids to Occ3D's, 0 = none, as the masks have them.

    Barriers and cones are both "static" to Cityscapes and get none.
    """
    occ3d = lookup("occ3d")[class_of_street()]
    return np.where((occ3d > 0) & (occ3d < 17), occ3d, 0).astype(np.uint8)


def street_confusions() -> dict[int, int]:
    """The stand-ins' confusion list in Cityscapes' ids."""
    street = lookup("cityscapes")
    return {int(street[a]): int(street[b]) for a, b in CONFUSED.items()}


@dataclass(frozen=True)
class ToyLayers:
    """Stand-in teachers.

    Attributes:
        kinds: Layers to make.
        channels: Channels of the text-image vectors.
        rays: Where rays come from.
    """

    kinds: tuple[str, ...] = (DEPTH, MASKS)
    channels: int = 512
    rays: RaySource = field(default_factory=RaySource)

    def __post_init__(self) -> None:
        """Refuse layers that have no stand-in.

        Raises:
            ConfigError: A kind is unknown, or there is none.
        """
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds:
            raise ConfigError(f"no stand-in makes {unknown}; there are: {', '.join(KINDS)}")

    @property
    def name(self) -> str:
        """Identity."""
        kinds = ",".join(sorted(self.kinds))
        return f"stand-in ({TOY_TEXT_ENCODER}); {kinds}; {self.channels}"

    def __call__(self, image: BagImage, bag: BagImages) -> dict[str, npt.NDArray[np.generic]]:
        """The layers of an image.

        Raises:
            BagError: The bag has no truth for this image.
        """
        made: dict[str, npt.NDArray[np.generic]] = {}
        if DEPTH in self.kinds:
            depth_m = truth(image, bag, "depth")
            made[DEPTH] = toy_depth(depth_m, random_of(image, bag, DEPTH))
        if MASKS in self.kinds or STREET in self.kinds:
            street = toy_classes(*things(image, bag), random_of(image, bag, MASKS))
            named = {STREET: street, MASKS: occ3d_of_street()[street]}
            made |= {kind: values for kind, values in named.items() if kind in self.kinds}
        if LANGUAGE in self.kinds:
            rays = self.rays.rays(image, bag)
            made[RAYS] = rays[None]
            made[LANGUAGE] = self._language(image, bag, rays)[None]
        return made

    def _language(
        self, image: BagImage, bag: BagImages, rays: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float16]:
        street, instance = things(image, bag)
        colors, seed = scene_colors(bag)
        seen = Things(class_of_street()[street], instance, colors, seed)
        patch = max(1, round(image.camera.width / _PATCHES_ACROSS))
        vectors = guessed_language(seen, random_of(image, bag, LANGUAGE), self.channels, patch)
        cells = (rays[:, :2] // patch).astype(np.int64)
        row, column = np.minimum(cells, np.array(vectors.shape[:2]) - 1).T
        return vectors[row, column].astype(np.float16)


def toy_depth(
    depth_m: npt.NDArray[np.float32], random: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Depth `[H, W]` float32 metres as a network guesses it, 0 = none.

    Args:
        depth_m: `[H, W]` true depth, 0 = none.
        random: Source of the errors.
    """
    return guessed_depth(np.where(depth_m > 0, depth_m, np.inf).astype(np.float32), random)


def toy_classes(
    street: npt.NDArray[np.uint8], instance: npt.NDArray[np.uint16], random: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Cityscapes' ids `[H, W]` as a segmenter draws them, 255 = none."""
    return guessed_classes(street, instance, street_confusions(), random)


def random_of(image: BagImage, bag: BagImages, teacher: str) -> np.random.Generator:
    """Errors that hang on recording, camera and instant only: any worker makes the same."""
    words = (bag.name, image.camera.image, teacher)
    return np.random.default_rng([*(zlib.crc32(w.encode()) for w in words), image.stamp_ns])


def truth(image: BagImage, bag: BagImages, kind: str) -> npt.NDArray[np.generic]:
    """The truth of every pixel of an image.

    Raises:
        BagError: The bag has none.
    """
    topic = truth_topic(image.camera.image, kind)
    topic = topic if bag.has(topic) else f"{topic}/compressed"
    if not bag.has(topic):
        raise BagError(
            f"bag {bag.name} has no {topic}: stand-ins label bags of the procedural world only"
        )
    return decode_values(bag.message(topic, image.stamp_ns))


def things(image: BagImage, bag: BagImages) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16]]:
    """Cityscapes' ids and instance numbers (0 = none) of every pixel."""
    combined = truth(image, bag, "instance").astype(np.uint16)
    instance = np.where(combined >= _INSTANCES, combined % _INSTANCES, 0)
    return truth(image, bag, "semantic").astype(np.uint8), instance.astype(np.uint16)


def scene_colors(bag: BagImages) -> tuple[Sequence[str], int]:
    """Colour of every instance, "none" first, and the seed of the scene."""
    known: Mapping[str, object] = json.loads(bag.text(PRIMITIVES)) if bag.has(PRIMITIVES) else {}
    rows = known.get("instances", [])
    colors = ["", *(str(row["color"]) for row in rows)]
    return colors + [""] * (_INSTANCES - len(colors)), int(
        dict(known.get("config", {})).get("seed", 0)
    )
