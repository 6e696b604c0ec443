"""Hashes of decoded arrays: same seed, same world, whatever container the bytes are kept in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, fields

import numpy as np

from occ_training.world.config import WORLD_VERSION, WorldConfig
from occ_training.world.frames import Frame
from occ_training.world.scene import Scene


def digest(array: np.ndarray) -> str:
    """SHA-256 of an array's dtype, shape and little-endian values."""
    array = np.ascontiguousarray(array)
    head = f"{array.dtype.newbyteorder('<').str} {array.shape} ".encode()
    data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    return hashlib.sha256(head + data).hexdigest()


def frame_digests(frame: Frame) -> dict[str, str]:
    """Hashes of everything in a frame, by a path-like name."""
    out = {"pose": digest(frame.T_world_base)}
    for name, picture in frame.pictures.items():
        for key in ("rgb", "depth_m", "distance_m", "class_id", "instance_id"):
            value = getattr(picture, key)
            if value is not None:
                out[f"{name}/{key}"] = digest(value)
    if frame.sweep is not None:
        for key in ("points", "reflectance", "ring", "offset_s", "class_id", "instance_id"):
            out[f"lidar/{key}"] = digest(getattr(frame.sweep, key))
    if frame.voxels is not None:
        out["voxels/exact"] = digest(frame.voxels.exact.labels)
        out["voxels/camera_mask"] = digest(frame.voxels.camera_mask)
        if frame.voxels.sensed is not None:
            for key in ("labels", "moving", "invalid", "occluded", "scan"):
                out[f"voxels/{key}"] = digest(getattr(frame.voxels.sensed, key))
    return dict(sorted(out.items()))


def manifest(config: WorldConfig, frames: Iterable[Frame]) -> dict[str, object]:
    """Version, configuration and hashes of a scene; equal for equal worlds."""
    return {
        "world_version": WORLD_VERSION,
        "config": asdict(config),
        "frames": {frame.index: frame_digests(frame) for frame in frames},
    }


def primitives_json(scene: Scene) -> str:
    """All solids, bodies and instances of a scene as JSON: the oracle for tests."""
    table = {f.name: getattr(scene.prims, f.name).tolist() for f in fields(scene.prims)}
    return json.dumps(
        {
            "world_version": WORLD_VERSION,
            "config": asdict(scene.config),
            "instances": list(scene.instances),
            "sun": scene.looks.sun.tolist(),
            "primitives": table,
        }
    )
