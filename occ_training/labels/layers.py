"""Where label layers are, and whether a layer is what a training asks for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from occ_perception.bags.reader import BagReader
from occ_perception.core.errors import BagError

ABOUT = "/labels/about"
PARTS = ".parts"

# Kinds of layers, last word of their topics.
DEPTH = "depth"  # 16FC1 metres, or PNG of 16 bits in millimetres; 0 = none
MASKS = "masks"  # PNG of Occ3D ids 0..16, 0 = none
STREET = "classes"  # PNG of Cityscapes ids, 255 = none
RAYS = "rays"  # 32FC3 [1, n]: row, column (pixels of the image) and LiDAR depth (metres)
LANGUAGE = "language"  # 16FC<c> [1, n]: text-image vector of every ray
PATCHES = "patches"  # 16FC<c> [h, w]: features of a self-supervised network


def layer_topic(image_topic: str, kind: str) -> str:
    """Topic of a camera's layer: /cam_front/image_rect_color/compressed -> /labels/cam_front/depth.

    Args:
        image_topic: Topic of the images.
        kind: One of this module's kinds.
    """
    return f"/labels{camera_of(image_topic)}/{kind}"


def truth_topic(image_topic: str, kind: str) -> str:
    """Topic of a camera's truth per pixel: "semantic", "instance" or "depth"."""
    return f"/ground_truth{camera_of(image_topic)}/{kind}"


def camera_of(image_topic: str) -> str:
    """Namespace of a camera, e.g. "/cam_front"."""
    return image_topic.removesuffix("/compressed").rsplit("/", 1)[0]


def read_about(layer: Path) -> dict[str, object]:
    """What a finished layer says of itself.

    Raises:
        BagError: It is no label layer.
    """
    with BagReader(layer) as bag:
        if ABOUT not in bag.topics:
            raise BagError(f"bag {layer} is no label layer: it has no {ABOUT}")
        return json.loads(bag.decode(next(bag.messages([ABOUT]))).data)


def find_layer(folder: Path, recording: str, teacher: str = "") -> Path:
    """The whole label layer of a recording.

    Args:
        folder: Folder of label layers, as `occ label` fills it.
        recording: Name of the bag that was labelled.
        teacher: What the layer's identity must begin with, e.g. "maskclip"; empty = any.

    Raises:
        BagError: The layer is missing, incomplete, or another model's.
    """
    layer = folder / recording
    if not layer.exists():
        begun = any((folder / PARTS).glob(f"{recording}-*/part_*"))
        state = "is incomplete" if begun else "does not exist"
        raise BagError(f"label layer {layer} {state}: run `occ label` on {recording} to the end")
    identity = str(read_about(layer)["identity"])
    if not identity.startswith(teacher):
        raise BagError(
            f"label layer {layer} was made by '{identity}', not by {teacher}: give the layers of "
            "that teacher"
        )
    return layer


def stamps_key(stamps_ns: Sequence[int]) -> str:
    """Hash by which a layer belongs to the images of a recording."""
    return hashlib.sha256(np.asarray(stamps_ns, np.int64).tobytes()).hexdigest()[:16]


def parts_folder(out: Path, recording: str, about: Mapping[str, object]) -> Path:
    """Where the parts of a layer lie until it is whole."""
    return out / PARTS / f"{recording}-{digest_of(about)}"


def digest_of(about: Mapping[str, object]) -> str:
    """Short hash of what a layer says of itself."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]
