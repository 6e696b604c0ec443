"""Tiny field systems and a camera that looks along the grid's x axis."""

from dataclasses import replace

import numpy as np

from occ_perception.core.camera import Camera
from occ_perception.core.types import CameraFrame
from occ_perception.geometry.transforms import R_BODY_OPTICAL
from occ_perception.systems.scenedino.config import SceneDinoConfig
from occ_perception.systems.scenedino.system import SceneDinoSystem
from occ_perception.systems.vipocc.config import ViPOccConfig
from occ_perception.systems.vipocc.system import ViPOccSystem

SPACE = {"origin_m": (0.0, -6.0, -2.0), "voxel_m": 1.0, "grid_shape": (14, 12, 4), "samples": 8}
VIPOCC = ViPOccConfig(
    input_size=(64, 128),
    backbone="resnet10t",
    backbone_maps=(64, 64, 128, 256, 512),
    decoder_widths=(8, 8, 8, 8, 8),
    feature_channels=8,
    hidden_channels=8,
    depth_backbone="resnet10t",
    depth_widths=(8, 8, 8, 8, 8),
    **SPACE,
)
SCENEDINO = SceneDinoConfig(
    input_size=(32, 64),
    vit="vit_tiny_patch16_224",
    vit_patch=16,
    patch=16,
    blocks=(0, 1, 2),
    vit_depth=4,
    level_channels=(8, 8, 8, 8),
    decoder_channels=8,
    hidden_channels=8,
    latent_channels=4,
    expansion_channels=8,
    feature_channels=192,
    code_channels=8,
    classes=5,
    **SPACE,
)
BUILD = {"vipocc": (ViPOccSystem, VIPOCC), "scenedino": (SceneDinoSystem, SCENEDINO)}


def build(name, **changes):
    system, config = BUILD[name]
    return system(replace(config, **changes))


def camera(width=192, height=96, focal=84.0, forward_m=0.0, distortion=()):
    pose = np.eye(4)
    pose[:3, :3], pose[0, 3] = R_BODY_OPTICAL, forward_m
    P = np.array([[focal, 0, width / 2, 0], [0, focal, height / 2, 0], [0, 0, 1.0, 0]])
    return Camera("camera", P, width, height, pose, distortion)


def frame(seen_by=None, seed=0):
    seen_by = seen_by or camera()
    shape = (seen_by.height, seen_by.width, 3)
    image = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return CameraFrame(image, seen_by, stamp_ns=5)
