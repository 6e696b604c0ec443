"""Stand-ins for the teachers that label pictures: wrong in the ways the real ones are wrong.

Results with stand-ins are labelled so; the truth is never stored beside them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from occ_training.world.classes import COUNT, Class
from occ_training.world.config import stream
from occ_training.world.render import CameraRender
from occ_training.world.scene import Scene

FloatImage = npt.NDArray[np.float32]
UNLABELLED = 255
TOY_TEXT_ENCODER = "toy text encoder"

CONFUSED: dict[int, int] = {
    Class.TRUCK: Class.BUS, Class.BUS: Class.TRUCK, Class.SIDEWALK: Class.ROAD,
    Class.ROAD: Class.SIDEWALK, Class.FENCE: Class.BUILDING, Class.BUILDING: Class.FENCE,
    Class.TERRAIN: Class.VEGETATION, Class.VEGETATION: Class.TERRAIN,
}  # fmt: skip
_FAR_M = 40.0

# Words that mean a class to the toy text encoder; the first is the class's own name.
SYNONYMS: dict[Class, tuple[str, ...]] = {
    Class.CAR: ("car", "vehicle", "sedan", "van"), Class.BICYCLE: ("bicycle", "bike"),
    Class.MOTORCYCLE: ("motorcycle", "scooter"), Class.TRUCK: ("truck", "lorry"),
    Class.BUS: ("bus",), Class.CONSTRUCTION_VEHICLE: ("construction vehicle", "excavator"),
    Class.TRAILER: ("trailer",), Class.PERSON: ("person", "pedestrian"),
    Class.BICYCLIST: ("bicyclist", "cyclist"), Class.MOTORCYCLIST: ("motorcyclist",),
    Class.ROAD: ("road", "street", "highway"), Class.PARKING: ("parking",),
    Class.SIDEWALK: ("sidewalk", "walkway"), Class.OTHER_GROUND: ("traffic island",),
    Class.BUILDING: ("building", "house"), Class.FENCE: ("fence", "wall"),
    Class.VEGETATION: ("vegetation", "tree", "bush"), Class.TRUNK: ("trunk",),
    Class.TERRAIN: ("terrain", "grass"), Class.POLE: ("pole", "street lamp"),
    Class.TRAFFIC_SIGN: ("traffic sign",), Class.TRAFFIC_LIGHT: ("traffic light",),
    Class.BARRIER: ("barrier", "barricade"), Class.CONE: ("traffic cone", "cone"),
    Class.OTHER_STRUCTURE: ("bus shelter",), Class.OTHER_OBJECT: ("bin", "box"),
    Class.SKY: ("sky",),
}  # fmt: skip

_CLASS_OF = {name: class_id for class_id, names in SYNONYMS.items() for name in names}
# The longest name that fits counts: a bus shelter is no bus, a street lamp no street.
_NAMES = re.compile(rf"\b({'|'.join(sorted(_CLASS_OF, key=len, reverse=True))})(?:e?s)?\b")


def _rng(scene: Scene, teacher: str, render: CameraRender) -> np.random.Generator:
    camera = crc32(render.camera.name.encode())
    return stream(scene.config.seed, f"teacher {teacher}", camera, scene.stamp_ns(render.time_s))


def _smooth_field(rng: np.random.Generator, shape: tuple[int, int], cell: int) -> FloatImage:
    """Smooth random field of unit variance."""
    coarse = rng.standard_normal((shape[0] // cell + 4, shape[1] // cell + 4))
    fine = ndimage.zoom(coarse, cell, order=3)[: shape[0], : shape[1]]
    return (fine / max(fine.std(), 1e-6)).astype(np.float32)


def pseudo_depth(scene: Scene, render: CameraRender) -> FloatImage:
    """Depth `[H, W]` float32 as a metric depth network guesses it; 0 = none (sky)."""
    return guessed_depth(render.depth_m, _rng(scene, "depth", render))


def guessed_depth(depth_m: FloatImage, rng: np.random.Generator) -> FloatImage:
    """True depth x (1 + smooth field of 8 %), edges bleeding 2 pixels, +10 % beyond 40 m.

    Args:
        depth_m: `[H, W]` true depth along the axis, infinite where there is no surface.
        rng: Source of the errors.

    Returns:
        `[H, W]` float32 metres, 0 = none.
    """
    none = ~np.isfinite(depth_m)
    filled = np.where(none, 0.0, depth_m)
    # At an edge a network smears foreground and background over a few pixels.
    weight = ndimage.uniform_filter((~none).astype(np.float32), 5)
    smeared = ndimage.uniform_filter(filled, 5) / np.maximum(weight, 1e-3)
    step = ndimage.maximum_filter(filled, 3) - ndimage.minimum_filter(filled, 3)
    edge = step > 0.15 * np.maximum(filled, 1.0)
    guess = np.where(ndimage.binary_dilation(edge), smeared, filled)
    guess = guess * (1.0 + 0.08 * _smooth_field(rng, depth_m.shape, max(8, depth_m.shape[0] // 5)))
    guess = np.where(depth_m > _FAR_M, 1.1 * guess, guess)
    return np.where(none, 0.0, np.maximum(guess, 0.05)).astype(np.float32)


def pseudo_classes(scene: Scene, render: CameraRender) -> npt.NDArray[np.uint8]:
    """Class image `[H, W]` uint8 as an open-vocabulary segmenter draws it; 255 = missing."""
    key = (render.class_id, render.instance_id)
    return guessed_classes(*key, CONFUSED, _rng(scene, "classes", render))


def guessed_classes(
    class_id: npt.NDArray[np.uint8],
    instance_id: npt.NDArray[np.uint16],
    confused: Mapping[int, int],
    rng: np.random.Generator,
) -> npt.NDArray[np.uint8]:
    """Borders displaced by 0-3 pixels, 7 % of segments renamed, 5 % missing.

    Args:
        class_id: `[H, W]` true classes, in any data set's ids.
        instance_id: `[H, W]` instances.
        confused: What a class is taken for when it is renamed.
        rng: Source of the errors.

    Returns:
        `[H, W]` uint8, 255 = missing.
    """
    shape = class_id.shape
    v, u = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    du, dv = (np.rint(1.5 * _smooth_field(rng, shape, 12)).clip(-3, 3) for _ in range(2))
    row = (v + dv).astype(np.int64).clip(0, shape[0] - 1)
    column = (u + du).astype(np.int64).clip(0, shape[1] - 1)
    moved = class_id[row, column]
    key = moved.astype(np.int64) * 65536 + instance_id[row, column]
    out = moved.copy()
    for value in np.unique(key):
        segments, count = ndimage.label(key == value)
        fate = rng.random(count + 1)
        renamed = confused.get(int(value) // 65536)
        if renamed is not None:
            out[(fate < 0.07)[segments] & (segments > 0)] = renamed
        out[(fate > 0.95)[segments] & (segments > 0)] = UNLABELLED
    return out


def text_embedding(text: str, channels: int = 512) -> FloatImage:
    """Unit vector `[channels]` float32 of a text in the toy encoder.

    A known word gives its class's direction plus a little of its own; colour words shift it as
    they shift the features of instances; unknown texts get a direction of their own.
    """
    words = text.lower()
    direction = np.zeros(channels)
    for name in dict.fromkeys(_NAMES.findall(words)):
        class_id = _CLASS_OF[name]
        own = 0.0 if name == SYNONYMS[class_id][0] else 0.25
        direction += class_embeddings(channels)[class_id] + own * _unit(name, channels)
    for color in COLORS:
        if color in words.split():
            direction += 0.3 * _unit(f"color {color}", channels)
    if not direction.any():
        direction = _unit(words, channels)
    return (direction / np.linalg.norm(direction)).astype(np.float32)


COLORS = ("white", "silver", "black", "grey", "blue", "red", "green", "yellow", "orange")


def _unit(name: str, channels: int) -> npt.NDArray[np.float64]:
    v = stream(0, f"toy text {name}", channels).standard_normal(channels)
    return v / np.linalg.norm(v)


def class_embeddings(channels: int) -> npt.NDArray[np.float64]:
    """`[classes, channels]` unit vectors, the same in every scene."""
    return np.stack([_unit(f"class {i}", channels) for i in range(COUNT)])


def text_image_features(
    scene: Scene, render: CameraRender, channels: int = 512, patch: int = 16
) -> FloatImage:
    """Features `[H / patch, W / patch, channels]` float32 of a text-image model."""
    colors = ["", *(str(row["color"]) for row in scene.instances)]
    things = Things(render.class_id, render.instance_id, colors, scene.config.seed)
    return guessed_language(things, _rng(scene, "text-image", render), channels, patch)


@dataclass(frozen=True, eq=False)
class Things:
    """What is to be seen in a picture.

    Attributes:
        class_id: `[H, W]` internal classes.
        instance_id: `[H, W]` instances, 0 = none.
        colors: Name of the colour of every instance, the one of "none" first.
        seed: Of the scene, so that instances of two scenes differ.
    """

    class_id: npt.NDArray[np.uint8]
    instance_id: npt.NDArray[np.uint16]
    colors: Sequence[str]
    seed: int


def guessed_language(
    things: Things, rng: np.random.Generator, channels: int = 512, patch: int = 16
) -> FloatImage:
    """Features `[H / patch, W / patch, channels]` float32 as a text-image model gives them.

    The class's vector, 0.15 of an instance's own (and of its colour's), averaged over the patch,
    0.1 noise; unit length.
    """
    height, width = (n // patch * patch for n in things.class_id.shape)
    rows, cols = height // patch, width // patch
    instance = things.instance_id[:height, :width]
    key = things.class_id[:height, :width].astype(np.int64) * 65536 + instance
    values, which = np.unique(key, return_inverse=True)
    table = class_embeddings(channels)[values // 65536]
    for row, value in enumerate(values):
        own = int(value) % 65536
        if own:
            table[row] += 0.15 * _unit(f"{things.seed} {own}", channels)
            table[row] += 0.3 * _unit(f"color {things.colors[own]}", channels)
    patch_of = (np.arange(height)[:, None] // patch) * cols + np.arange(width) // patch
    share = np.zeros((rows * cols, len(values)))
    np.add.at(share, (patch_of.ravel(), which.ravel()), 1.0 / patch**2)
    features = share @ table
    features += 0.1 * rng.standard_normal(features.shape) / np.sqrt(channels)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return features.reshape(rows, cols, channels).astype(np.float32)


def patch_features(
    scene: Scene, render: CameraRender, channels: int = 384, patch: int = 8
) -> FloatImage:
    """Features `[H / patch, W / patch, channels]` float32 of a self-supervised patch network.

    A smooth random function of class, depth and height in the picture's world, plus a pattern
    fixed to the position in the image, which a student must learn to explain away.
    """
    v, u = (np.arange(n // patch) * patch + patch // 2 for n in render.class_id.shape)
    v, u = np.meshgrid(v, u, indexing="ij")
    ray, _ = render.camera.lens.rays(np.stack((u, v), -1).astype(np.float64))
    distance = np.where(np.isfinite(render.distance_m[v, u]), render.distance_m[v, u], 100.0)
    T = render.T_world_cam
    world = (ray * distance[..., None]) @ T[:3, :3].T + T[:3, 3]
    ground, _ = scene.ground.height(world[..., 0], world[..., 1])
    state = np.stack(
        (0.5 * (world[..., 2] - ground), 0.2 * world[..., 0], 0.2 * world[..., 1],
         np.log(distance)), -1,
    )  # fmt: skip
    rng = stream(0, "toy patch network", channels)
    weights = 0.35 * rng.standard_normal((state.shape[-1], channels))
    phase = rng.uniform(0, 2 * np.pi, (COUNT, channels))
    features = np.sin(state @ weights + phase[render.class_id[v, u]])
    artefact = rng.standard_normal((4, channels))
    where = np.stack((np.cos(v / 29.0), np.sin(v / 31.0), np.cos(u / 37.0), np.sin(u / 23.0)), -1)
    return (features + 0.15 * where @ artefact).astype(np.float32)
