"""Speed of LangOcc's own steps at published sizes: words to voxels, and the stereo cost volume.

Targets hold for an H200-class GPU: 17 prompts against 640,000 voxels in 2 ms, the cost volume of
six cameras in 5 ms. Without a GPU the same runs on the CPU for one camera, and no target holds.
    python test/bench/bench_langocc.py
The mask of what six moving cameras see has no target. Prints one JSON object.
"""

from __future__ import annotations

import itertools
import json
import sys

import numpy as np
import torch
from timing import milliseconds

from occ_perception.blocks.lift.lss import image_frustum
from occ_perception.blocks.lift.temporal_stereo import match_earlier, sweep_maps, sweep_positions
from occ_perception.core.camera import Camera
from occ_perception.geometry.transforms import R_BODY_OPTICAL
from occ_perception.systems.langocc.config import LangOccConfig
from occ_perception.systems.langocc.heads import PointHead, fold_prompts
from occ_perception.voxels.visibility import voxels_in_view

CONFIG = LangOccConfig()
PROMPTS, WORDS_MS, STEREO_MS = 17, 2.0, 5.0


def words(device: torch.device) -> float:
    """Class of every voxel from its features in front of the head's last layer."""
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    head = PointHead(CONFIG.scene_channels, CONFIG.language_channels).to(device, dtype)
    embeddings = torch.randn(PROMPTS, CONFIG.language_channels, device=device)
    prompts = fold_prompts(head, embeddings, torch.arange(PROMPTS))
    hidden = torch.randn(CONFIG.grid.count, CONFIG.scene_channels, device=device, dtype=dtype)
    return milliseconds(device, lambda: prompts.classify(hidden))


def stereo(device: torch.device, cameras: int) -> float:
    """Depth distributions of one key frame from the one before."""
    depths = CONFIG.depth_min_m + CONFIG.depth_step_m * torch.arange(CONFIG.bins)
    frustum = image_frustum(CONFIG.input_size, CONFIG.stereo_size, depths).to(device)
    size = (cameras, 256, *CONFIG.stereo_size)
    now, before = torch.randn(2, *size, device=device)
    K = torch.tensor([[557.0, 0, 352], [0, 557, 58], [0, 0, 1]])
    motion = torch.eye(4)
    motion[2, 3] = 3.0  # forward in half a second, at 6 m/s
    sweep = sweep_maps(K, motion, torch.eye(3), CONFIG.input_size).to(device)
    positions = sweep_positions(frustum, sweep.expand(cameras, 3, 4))
    return milliseconds(device, lambda: match_earlier(now, before, positions, CONFIG.match_group))


def known(device: torch.device) -> float:
    """Which voxels six cameras see that stand elsewhere in every set, as on a robot that drives."""
    turns = itertools.count()

    def camera(yaw: float) -> Camera:
        pose = np.eye(4)
        c, s = np.cos(yaw), np.sin(yaw)
        pose[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ R_BODY_OPTICAL
        pose[:3, 3] = (1.0, 0.0, 1.5)
        P = np.array([[1266.0, 0, 816, 0], [0, 1266, 491, 0], [0, 0, 1, 0]])
        return Camera("camera", P, 1600, 900, pose)

    def step() -> None:
        shift = 0.001 * next(turns)
        for number in range(6):
            voxels_in_view(CONFIG.grid, camera(number * np.pi / 3 + shift), device)

    return milliseconds(device, step)


@torch.inference_mode()
def main() -> int:
    """Measure and print; fail where a target that holds is missed."""
    is_gpu = torch.cuda.is_available()
    device, cameras = torch.device("cuda" if is_gpu else "cpu"), 6 if is_gpu else 1
    result = {
        "name": "LangOcc: words to voxels, stereo cost volume",
        "device": torch.cuda.get_device_name(device) if is_gpu else "cpu",
        "note": "" if is_gpu else "no GPU: no target holds, one camera instead of six",
        "voxels": CONFIG.grid.count,
        "prompts": PROMPTS,
        "words_ms": round(words(device), 2),
        "target_words_ms": WORDS_MS,
        "cameras": cameras,
        "stereo_ms": round(stereo(device, cameras), 2),
        "target_stereo_ms": STEREO_MS,
        "known_ms": round(known(device), 2),
    }
    if is_gpu:
        result["peak_memory_mb"] = torch.cuda.max_memory_allocated(device) // 2**20
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    missed = result["words_ms"] > WORDS_MS or result["stereo_ms"] > STEREO_MS
    return int(is_gpu and missed)


if __name__ == "__main__":
    sys.exit(main())
