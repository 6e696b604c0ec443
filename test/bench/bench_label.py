"""How label workers scale: two processes with half the shards each against one with all.

Target: two processes on two free cores take at most 1 / 1.8 of the time of one.
    python test/bench/bench_label.py [--frames 60] [--bag BAG]
Without BAG a street of the procedural world is computed first. Prints one JSON object; with a busy
machine the ratio tells nothing, so the load is in it, too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TARGETS = {"speedup_of_two": 1.8}


def street(folder: Path, frames: int) -> Path:
    from occ_training.convert.content import Options
    from occ_training.convert.runner import convert_scene
    from occ_training.convert.world_bag import WorldScene
    from occ_training.world.config import WorldConfig

    scene = WorldScene(WorldConfig("nuscenes", preset="tiny", frames=frames))
    if convert_scene(scene, folder, Options()).problems:
        raise SystemExit("the street could not be written")
    return folder / scene.name


def worker(bag: Path, out: Path, shard: str) -> subprocess.Popen:
    words = ["label", "toy", str(bag), str(out), "--layers", "depth", "masks", "--shard", shard]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "occ_perception.cli", *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def seconds(bag: Path, out: Path, count: int) -> float:
    """Wall time of `count` workers."""
    start = time.perf_counter()
    workers = [worker(bag, out, f"{i}/{count}") for i in range(count)]
    codes = [process.wait() for process in workers]
    if not set(codes) <= {0, 3}:
        raise SystemExit(f"a worker failed: {codes}")
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--bag", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bag = options.bag or street(folder, options.frames)
        seconds(bag, folder / "warm", 1)
        start = seconds(bag, folder / "warm", 1)  # nothing left to do: what a start takes
        one, two = (seconds(bag, folder / f"layers{n}", n) - start for n in (1, 2))
    found = {
        "start_s": round(start, 2),
        "one_s": round(one, 2),
        "two_s": round(two, 2),
        "speedup_of_two": round(one / two, 2),
        "load": os.getloadavg()[0],
        "cores": os.cpu_count(),
        "targets": TARGETS,
    }
    sys.stdout.write(json.dumps(found) + "\n")
    return 0 if found["speedup_of_two"] >= TARGETS["speedup_of_two"] else 1


if __name__ == "__main__":
    sys.exit(main())
