"""Speed and memory of reading training samples at random places of a bag.

Targets: 60 stereo samples of 1226x370 per second on two cores including decoding, 85 % of the time
in the image codec, memory flat over 10 000 reads, a 10 GB bag opens in 1 s after the first time.
    python test/bench/bench_dataset.py [--images DIR] [--reads 10000] [--large-gb 10]
DIR holds image_0 and image_1 of a KITTI sequence. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from bench_convert import make_tree
from torch.utils.data import DataLoader

from occ_perception.bags.index import open_index
from occ_perception.bags.writer import BagWriter
from occ_training.convert import messages
from occ_training.convert.content import Options
from occ_training.convert.kitti import find_sequences
from occ_training.convert.runner import convert
from occ_training.data.bag_dataset import BagDataset, ShuffledOrder, single_threaded
from occ_training.data.bag_scene import SampleSpec

TARGETS = {"samples_per_s": 60, "codec_share": 0.85, "open_s": 1.0, "growth_mb": 20}
CAMERAS = tuple(f"/camera/{side}/image_rect/compressed" for side in ("left", "right"))
SPEC = SampleSpec(cameras=CAMERAS)


def memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def nothing(samples: list) -> int:
    return len(samples)


def samples_per_s(bag: Path, workers: int, seconds: float = 10.0) -> float:
    dataset = BagDataset([bag], SPEC)
    loader = DataLoader(
        dataset,
        batch_size=4,
        sampler=ShuffledOrder(len(dataset), seed=1),
        num_workers=workers,
        collate_fn=nothing,
        worker_init_fn=single_threaded,
        persistent_workers=True,
    )
    sum(loader)  # workers start, files come into the cache
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        count += sum(loader)
    return count / (time.perf_counter() - start)


def codec_share(bag: Path, reads: int = 200) -> tuple[float, float]:
    """Share of the processor time that decoding takes, and milliseconds per sample."""
    dataset = BagDataset([bag], SPEC)
    order = np.random.default_rng(0).integers(len(dataset), size=reads).tolist()
    spent = 0.0
    real = {name: getattr(cv2, name) for name in ("imdecode", "cvtColor")}

    def timed(call):
        def run(*arguments, **named):
            nonlocal spent
            start = time.process_time()
            try:
                return call(*arguments, **named)
            finally:
                spent += time.process_time() - start

        return run

    dataset[0]
    try:
        for name, call in real.items():
            setattr(cv2, name, timed(call))
        start = time.process_time()
        for i in order:
            dataset[i]
        total = time.process_time() - start
    finally:
        for name, call in real.items():
            setattr(cv2, name, call)
    return spent / total, 1000 * total / reads


def memory_growth_mb(bag: Path, reads: int) -> float:
    """How much the process grows from the 500th read on."""
    dataset = BagDataset([bag], SPEC)
    rng = np.random.default_rng(0)
    before = 0.0
    for read in range(reads):
        dataset[int(rng.integers(len(dataset)))]
        if read == min(500, reads // 2):
            before = memory_mb()
    return memory_mb() - before


def open_seconds(folder: Path, gigabytes: float) -> tuple[float, float]:
    """Opening a large bag for the first and for the second time."""
    path, size = folder / "large", 270_000
    image = messages.compressed_image("/camera/left/image_rect", "left", 0, bytes(size), "png")
    with BagWriter(path) as bag:
        bag.add_topic(image.topic, image.msgtype)
        data = bytearray(bag.types.encode(image.msgtype, image.fields))
        for number in range(round(gigabytes * 1e9 / size)):
            data[4:12] = number.to_bytes(4, "little") + bytes(4)
            bag.write(image.topic, number * 10**9, bytes(data))
    times = []
    for _ in range(2):
        start = time.perf_counter()
        open_index(path)
        times.append(time.perf_counter() - start)
    return times[0], times[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--reads", type=int, default=10_000)
    parser.add_argument("--large-gb", type=float, default=10.0)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = make_tree(Path(folder) / "kitti", options.frames, options.images)
        list(convert(find_sequences(root, semantic=False), Path(folder) / "out", Options()))
        bag = Path(folder) / "out" / "kitti_06"
        share, sample_ms = codec_share(bag)
        result = {
            "name": "random access to stereo samples",
            "samples_per_s_one_core": round(1000 / sample_ms, 1),
            "samples_per_s": round(samples_per_s(bag, workers=2), 1),
            "codec_share": round(share, 3),
            "reads": options.reads,
            "growth_mb": round(memory_growth_mb(bag, options.reads), 1),
            "targets": TARGETS,
        }
        if options.large_gb:
            first, again = open_seconds(Path(folder), options.large_gb)
            result |= {"large_gb": options.large_gb, "first_open_s": round(first, 2)}
            result["open_s"] = round(again, 4)
    json.dump(result, sys.stdout, indent=1)
    sys.stdout.write("\n")
    good = (
        result["samples_per_s"] >= TARGETS["samples_per_s"],
        share >= TARGETS["codec_share"],
        result["growth_mb"] <= TARGETS["growth_mb"],
        result.get("open_s", 0.0) <= TARGETS["open_s"],
    )
    return int(not all(good))


if __name__ == "__main__":
    sys.exit(main())
