import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from occ_perception.cli import main
from occ_perception.commands.train import overridden
from occ_perception.core.errors import ConfigError
from occ_perception.weights.files import describe
from occ_training.engine.checkpointing import CheckpointFolder
from occ_training.recipes.catalog import find_trainable
from occ_training.recipes.vlscene import PRESETS

STEPS = 3


def words(bag, output, *more):
    return [
        "train", "vlscene", "--preset", "nano", "--teacher", "toy", "--data", str(bag),
        "--output", str(output), "--steps", str(STEPS), "--loop.workers", "0",
        "--loop.checkpoint-every", "1", "--loop.log-every", "1", *more,
    ]  # fmt: skip


def start(bag, output, *more):
    command = [sys.executable, "-m", "occ_perception.cli", *words(bag, output, *more)]
    quiet = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, **quiet)


def losses(output):
    return [json.loads(line)["total"] for line in (output / "log.jsonl").read_text().splitlines()]


def test_nano_learns_is_killed_and_ends_as_if_nothing_had_happened(truth_bag, tmp_path):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = start(truth_bag, killed)
    while not (killed / "last").exists():
        assert process.poll() is None, "the training ended before it could be killed"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert CheckpointFolder(killed).newest().step < STEPS
    assert start(truth_bag, killed, "--resume").wait() == 0
    assert start(truth_bag, whole).wait() == 0
    assert losses(killed) == losses(whole) and len(losses(whole)) == STEPS
    assert losses(whole)[-1] < losses(whole)[0]
    first, second = (CheckpointFolder(folder).newest() for folder in (killed, whole))
    assert all(torch.equal(first.model[name], second.model[name]) for name in first.model)
    info = describe(whole / "weights.safetensors")
    assert info.system == "vlscene" and info.parameters < 4_000_000
    assert (whole / "weights.safetensors").stat().st_size < 8_000_000
    assert main(words(truth_bag, whole)) == 2  # a run is not overwritten by accident


def test_what_cannot_be_trained_is_refused_with_a_sentence(truth_bag, tmp_path, capsys):
    cases = {
        "unknown values speed": ["--config", str(tmp_path / "wrong.yaml")],
        "cannot be read": ["--config", str(tmp_path / "missing.yaml")],
        "is no MCAP bag": ["--layers", str(tmp_path / "nowhere")],
    }
    (tmp_path / "wrong.yaml").write_text("loop: {speed: 3}")
    for sentence, more in cases.items():
        assert main(words(truth_bag, tmp_path / "run", *more)) == 2
        assert sentence in " ".join(capsys.readouterr().err.split())


def test_what_the_recipe_has_to_say_is_printed(truth_bag, tmp_path, capsys, monkeypatch):
    trainable = find_trainable("vlscene")

    def build(preset, request):
        return replace(trainable.build(preset, request), notes=("12 of 14 tensors taken over",))

    told = replace(trainable, build=build)
    monkeypatch.setattr("occ_perception.commands.train.find_trainable", lambda system: told)
    assert main(words(truth_bag, tmp_path / "run", "--dry-run")) == 0
    assert "12 of 14 tensors taken over" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_file_changes_values_of_the_preset():
    preset = PRESETS["nano"](Path("run"))
    values = {
        "training": {"rate": 0.5, "topics": {"points": ""}},
        "network": {"input_size": [64, 96]},
    }
    changed = overridden(preset, values, "x.yaml")
    assert changed.training.rate == 0.5 and changed.training.topics.points == ""
    assert changed.network.input_size == (64, 96) and changed.loop == preset.loop
    with pytest.raises(ConfigError, match=r"x.yaml: training: topics: unknown values lidar"):
        overridden(preset, {"training": {"topics": {"lidar": "/x"}}}, "x.yaml")
