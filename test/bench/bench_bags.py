"""How fast bags are read and written: raw 1.4 MB images, sequentially. Prints JSON."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from occ_perception.bags.reader import BagReader
from occ_perception.bags.writer import BagWriter

HEIGHT, WIDTH, IMAGES = 376, 1241, 300
REQUIRED_PER_S = 100.0


def write(path: Path) -> float:
    """Write the images; return the seconds, the flush to the disk included."""
    rng = np.random.default_rng(0)
    picture = {
        "height": HEIGHT,
        "width": WIDTH,
        "encoding": "rgb8",
        "step": WIDTH * 3,
        "data": rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8),
    }
    begin = time.perf_counter()
    with BagWriter(path) as bag:
        data = bag.types.encode("sensor_msgs/msg/Image", picture)
        bag.add_topic("/image", "sensor_msgs/msg/Image")
        for number in range(IMAGES):
            bag.write("/image", number * 10**8, data)
    return time.perf_counter() - begin


def read(path: Path, *, decode: bool) -> float:
    """Read all images one after the other; return the seconds, opening included."""
    begin = time.perf_counter()
    with BagReader(path) as bag:
        for message in bag.messages():
            if decode:
                bag.decode(message)
    return time.perf_counter() - begin


def main() -> int:
    """Measure and print; fail if reading is slower than required."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bag"
        rates = {
            "write_images_per_s": IMAGES / write(path),
            "read_images_per_s": IMAGES / read(path, decode=False),
            "read_and_decode_images_per_s": IMAGES / read(path, decode=True),
        }
    result = {
        "image_bytes": HEIGHT * WIDTH * 3,
        "images": IMAGES,
        "required_read_images_per_s": REQUIRED_PER_S,
        **{name: round(rate, 1) for name, rate in rates.items()},
    }
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return int(rates["read_images_per_s"] < REQUIRED_PER_S)


if __name__ == "__main__":
    sys.exit(main())
