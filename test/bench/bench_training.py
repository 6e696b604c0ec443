"""What a training and an evaluation cost beside the network.

Targets: a step of VLScene nano waits for its data less than 15 % of the time; of an evaluation of
100 frames with truth in the bag less than 10 % is spent outside the network.
    python test/bench/bench_training.py [--bag BAG] [--frames 100] [--steps 40] [--preset nano]
Without BAG a street of the procedural world is computed first, a second or so per frame. Prints a
table, and one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

TARGETS = {"data_wait": 0.15, "outside_network": 0.10}
TRUTH_EVERY = 5  # frames of KITTI's drives
FIRST = 2  # steps until the workers are up and the memory is there


def street(folder: Path, frames: int) -> Path:
    """Bag with as many stereo pairs, all of which have voxel truth."""
    from occ_training.convert.content import Options
    from occ_training.convert.runner import convert_scene
    from occ_training.convert.world_bag import WorldScene
    from occ_training.world.config import WorldConfig

    config = WorldConfig(preset="small", frames=TRUTH_EVERY * frames)
    scene = WorldScene(config, ("image_2", "image_3"), os.cpu_count() or 1, TRUTH_EVERY)
    problems = convert_scene(scene, folder, Options()).problems
    if problems:
        raise SystemExit(f"the street cannot be written: {problems}")
    return folder / scene.name


def training(bag: Path, output: Path, options: argparse.Namespace) -> dict[str, float]:
    """Steps of the recipe as it is: where their time went."""
    from occ_training.data.bag_scene import Bags
    from occ_training.engine.logging import LINES
    from occ_training.engine.trainer import Trainer
    from occ_training.recipes.catalog import Request, find_trainable

    trainable = find_trainable("vlscene")
    preset = trainable.presets[options.preset](output)
    loop = replace(
        preset.loop, steps=FIRST + options.steps, checkpoint_every=0, log_every=1,
        device="cpu" if options.device == "cpu" else "auto",
    )  # fmt: skip
    preset = replace(preset, loop=loop)
    trainer = Trainer(trainable.build(preset, Request([Bags(bag, ())], teacher="toy")), loop)
    trainer.fit()
    lines = [json.loads(line) for line in (output / LINES).read_text("utf-8").splitlines()]
    steps = [line for line in lines if line["group"] == "train"][FIRST:]
    samples = loop.batch_size * loop.accumulate
    times = [samples / line["samples_per_s"] for line in steps]
    waits = [line["data_wait"] * span for line, span in zip(steps, times, strict=True)]
    return {
        "steps": len(steps),
        "workers": loop.workers,
        "batch": loop.batch_size,
        "step_s": round(sum(times) / len(times), 3),
        "data_wait": round(sum(waits) / sum(times), 4),
        "memory_gb": round(max(line["memory_gb"] for line in steps), 2),
    }


class TimedSystem:
    """A system that measures how long its network takes."""

    def __init__(self, system: Any) -> None:
        self._system, self.seconds = system, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._system, name)

    def infer(self, views: Any, context: Any) -> Any:
        """Answer; a GPU has to be done before the clock is read."""
        import torch

        start = time.perf_counter()
        answer = self._system.infer(views, context)
        if answer.labels.is_cuda:
            torch.cuda.synchronize(answer.labels.device)
        self.seconds += time.perf_counter() - start
        return answer


def evaluation(bag: Path, options: argparse.Namespace) -> dict[str, float]:
    """Frames from the bag to the scores: opening, images, network, truth, counting."""
    from occ_perception.eval.benchmarks import benchmarks
    from occ_perception.eval.scoring import evaluate_system
    from occ_perception.systems.catalog import build_system
    from occ_perception.weights.load import load_weights
    from occ_perception.weights.shipped import chosen_weights

    system = build_system("vlscene", preset=options.preset, device=options.device)
    weights = chosen_weights(options.weights, "vlscene", options.preset)
    if weights is not None:
        load_weights(system.network, weights, "vlscene")
    timed = TimedSystem(system)
    start = time.perf_counter()
    out = evaluate_system(timed, [bag], benchmarks("vlscene", system), frames=options.frames)
    total = time.perf_counter() - start
    return {
        "frames": len(out.frames),
        "frame_s": round(total / max(1, len(out.frames)), 3),
        "network_s": round(timed.seconds, 2),
        "outside_network": round(1 - timed.seconds / total, 4),
    }


def show(result: dict[str, Any]) -> None:
    """The shares beside their targets."""
    table = Table(title=f"vlscene {result['preset']} on {result['device']}", title_justify="left")
    for name in ("what", "measured", "wanted"):
        table.add_column(name, justify="left" if name == "what" else "right")
    train, score = result["training"], result["evaluation"]
    rows = (
        ("training: waiting for data", train["data_wait"], TARGETS["data_wait"]),
        ("evaluation: outside the network", score["outside_network"], TARGETS["outside_network"]),
    )
    for name, share, limit in rows:
        table.add_row(name, f"{share:.1%}", f"< {limit:.0%}")
    table.add_row("training: one step", f"{train['step_s']:.2f} s", "-")
    table.add_row("training: memory", f"{train['memory_gb']:.1f} GB", "-")
    table.add_row("evaluation: one frame", f"{score['frame_s']:.2f} s", "-")
    Console(stderr=True).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bag", type=Path)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--weights", default="", help='file, or "random"; default: the shipped')
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bag = options.bag or street(Path(scratch), options.frames)
        result = {
            "name": "training and evaluation beside the network",
            "preset": options.preset,
            "device": options.device,
            "training": training(bag, Path(scratch) / "run", options),
            "evaluation": evaluation(bag, options),
            "load": os.getloadavg()[0],
            "targets": TARGETS,
        }
    show(result)
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    wait, outside = result["training"]["data_wait"], result["evaluation"]["outside_network"]
    return int(wait >= TARGETS["data_wait"] or outside >= TARGETS["outside_network"])


if __name__ == "__main__":
    sys.exit(main())
