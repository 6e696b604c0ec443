"""Speed of converting a KITTI stereo sequence whose PNG bytes are passed through.

Target: 25 frame pairs per second on one core, bound by the disk.
    python test/bench/bench_convert.py [--frames 300] [--images DIR]
DIR holds image_0 and image_1 of a KITTI sequence, whose files are used again and again; without it
pictures of noise of the same size are made. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from occ_training.convert.content import Options
from occ_training.convert.kitti import find_sequences
from occ_training.convert.runner import convert

TARGET_PAIRS_PER_S = 25
CALIBRATION = """P0: 707.0912 0 601.8873 0 0 707.0912 183.1104 0 0 0 1 0
P1: 707.0912 0 601.8873 -379.8145 0 707.0912 183.1104 0 0 0 1 0
Tr: -0.00185774 -0.99996595 -0.00803998 -0.00478403 -0.00648147 0.00805186 -0.99994661 \
-0.07337429 0.99997731 -0.00180553 -0.00649620 -0.33399681
"""


def make_tree(root: Path, frames: int, images: Path | None) -> Path:
    folder = root / "sequences" / "06"
    for camera in ("image_0", "image_1"):
        target = folder / camera
        target.mkdir(parents=True)
        sources = sorted((images / camera).glob("*.png")) if images else [noise(root)]
        for number in range(frames):
            shutil.copy(sources[number % len(sources)], target / f"{number:06d}.png")
    (folder / "calib.txt").write_text(CALIBRATION)
    (folder / "times.txt").write_text("".join(f"{0.1 * i:.6f}\n" for i in range(frames)))
    return root


def noise(root: Path) -> Path:
    """A picture whose file is about as large as one of KITTI (270 kB)."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (93, 307), dtype=np.uint8)
    picture = cv2.resize(coarse, (1226, 370)).astype(int) + rng.integers(-4, 5, (370, 1226))
    path = root / "noise.png"
    cv2.imwrite(str(path), picture.clip(0, 255).astype(np.uint8))
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--images", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = make_tree(Path(folder) / "kitti", options.frames, options.images)
        cpu, wall = time.process_time(), time.perf_counter()
        (report,) = convert(find_sequences(root, semantic=False), Path(folder) / "out", Options())
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        size_mb = sum(p.stat().st_size for p in Path(folder).glob("out/*/*.mcap")) / 1e6
    assert not report.problems, report.problems
    result = {
        "name": "convert KITTI stereo, PNG passed through",
        "frame_pairs": options.frames,
        "pairs_per_s": round(options.frames / wall, 1),
        "pairs_per_cpu_s": round(options.frames / cpu, 1),
        "target_pairs_per_s": TARGET_PAIRS_PER_S,
        "bag_mb": round(size_mb, 1),
        "mb_per_s": round(size_mb / wall, 1),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    json.dump(result, sys.stdout, indent=1)
    sys.stdout.write("\n")
    return int(options.frames / wall < TARGET_PAIRS_PER_S)


if __name__ == "__main__":
    sys.exit(main())
