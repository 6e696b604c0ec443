import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate.optimizer import AcceleratedOptimizer
from training.engine.toy_run import Numbers, squared_error, toy_loop, toy_recipe

from occ_perception.core.errors import ConfigError
from occ_training.engine.checkpointing import CheckpointError, CheckpointFolder
from occ_training.engine.schedule import EpochDrops
from occ_training.engine.tolerance import DataError
from occ_training.engine.trainer import Trainer

PROGRAM = Path(__file__).with_name("toy_run.py")


def run(output, *, dataset=None, losses=squared_error, resume=False, recipe=None, **loop):
    trainer = Trainer(recipe or toy_recipe(dataset, losses), toy_loop(output, **loop))
    if resume:
        assert trainer.resume()
    trainer.fit()
    return trainer


def log_of(output, group="train"):
    lines = map(json.loads, (output / "log.jsonl").read_text().splitlines())
    return [line for line in lines if line["group"] == group]


def losses_of(output):
    return [line["total"] for line in log_of(output)]


def assert_equal_ends(first, second):
    one, two = CheckpointFolder(first).newest(), CheckpointFolder(second).newest()
    assert one.step == two.step
    for mine, theirs in ((one.model, two.model), (one.ema, two.ema)):
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_the_loss_falls_and_everything_is_logged(tmp_path):
    run(tmp_path, recipe=toy_recipe(schedule=EpochDrops()), epochs=20)
    log, losses = log_of(tmp_path), losses_of(tmp_path)
    assert sum(losses[-6:]) < 0.5 * sum(losses[:6])
    assert [line["step"] for line in log] == list(range(1, 121))
    names = {"fit", "total", "gradient", "rate", "samples_per_s", "data_wait", "memory_gb"}
    assert names <= set(log[0])
    assert any((tmp_path / "curves").iterdir())
    config = json.loads((tmp_path / "last/config.json").read_text())
    assert config["loop"]["batch_size"] == 2 and config["recipe"] == {"lr": 0.01}


def test_bfloat16_learns_as_well(tmp_path):
    run(tmp_path, recipe=toy_recipe(schedule=EpochDrops()), epochs=20, precision="bf16")
    losses = losses_of(tmp_path)
    assert sum(losses[-6:]) < 0.5 * sum(losses[:6])
    weights = CheckpointFolder(tmp_path).newest().model
    assert all(t.dtype != torch.bfloat16 for t in weights.values())


def test_half_floats_are_refused_without_a_gpu(tmp_path):
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        Trainer(toy_recipe(), toy_loop(tmp_path, precision="fp16"))


def scaled(trainer):
    """What a trainer in fp16 has on a GPU: losses scaled so that small gradients survive."""
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    trainer._optimizer = AcceleratedOptimizer(trainer._optimizer.optimizer, scaler=scaler)
    trainer._accelerator.scaler = scaler
    trainer._accelerator._optimizers = [trainer._optimizer]
    return scaler


def test_scaled_losses_skip_a_step_that_overflows(tmp_path):
    calls = []

    def losses(network, batch):
        calls.append(None)
        factor = math.inf if len(calls) == 3 else 1.0
        return {"fit": squared_error(network, batch)["fit"] * factor}

    trainer = Trainer(toy_recipe(losses=losses), toy_loop(tmp_path, accumulate=1, epochs=1))
    scaler = scaled(trainer)
    trainer.fit()
    assert scaler.get_scale() == 32.0
    assert all(t.isfinite().all() for t in trainer.network.state_dict().values())
    again = Trainer(toy_recipe(), toy_loop(tmp_path, accumulate=1, epochs=2))
    scaler = scaled(again)
    assert again.resume() and scaler.get_scale() == 32.0


def test_the_same_seed_gives_the_same_losses(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(tmp_path / name, seed=seed)
    assert losses_of(tmp_path / "a") == losses_of(tmp_path / "b")
    assert losses_of(tmp_path / "a") != losses_of(tmp_path / "c")


def test_workers_change_nothing(tmp_path):
    run(tmp_path / "a")
    run(tmp_path / "b", workers=2)
    assert losses_of(tmp_path / "a") == losses_of(tmp_path / "b")


@pytest.mark.parametrize("steps", [4, 6, 10])
def test_resumed_equals_uninterrupted(tmp_path, steps):
    """In the middle of an epoch, at its end, and in the next one."""
    run(tmp_path / "whole")
    run(tmp_path / "parts", steps=steps)
    run(tmp_path / "parts", resume=True)
    assert losses_of(tmp_path / "whole") == losses_of(tmp_path / "parts")
    assert_equal_ends(tmp_path / "whole", tmp_path / "parts")


def program_env():
    path = os.pathsep.join((str(PROGRAM.parents[3]), str(PROGRAM.parents[2])))
    return {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""}


def test_killed_and_resumed_equals_uninterrupted(tmp_path):
    def start(output, seconds):
        command = [sys.executable, str(PROGRAM), str(output), str(seconds)]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL, env=program_env())

    killed = start(tmp_path / "killed", 0.05)
    log = tmp_path / "killed/log.jsonl"
    while not log.is_file() or len(log.read_text().splitlines()) < 9:
        assert killed.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert CheckpointFolder(tmp_path / "killed").newest().step < 18
    for name in ("killed", "whole"):
        assert start(tmp_path / name, 0.0).wait() == 0
    assert losses_of(tmp_path / "killed") == losses_of(tmp_path / "whole")
    assert_equal_ends(tmp_path / "killed", tmp_path / "whole")


def test_an_average_follows_the_weights(tmp_path):
    trainer = run(tmp_path, epochs=1)
    assert trainer._ema.updates == 6
    start = toy_recipe().network.layers[0].weight
    average, end = trainer._ema.state["layers.0.weight"], trainer.network.layers[0].weight
    assert 0 < (average - start).norm() < (end - start).norm() * 1.5
    assert not torch.equal(average, end)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"batch_size": 1}, "loop.batch_size was 2 and is 1"), ({"seed": 4}, "loop.seed")],
)
def test_another_run_is_not_continued(tmp_path, change, named):
    run(tmp_path, steps=4)
    with pytest.raises(CheckpointError, match=named):
        Trainer(toy_recipe(), toy_loop(tmp_path, **change)).resume()


def test_another_world_size_is_refused(tmp_path):
    run(tmp_path, steps=4)
    trainer = Trainer(toy_recipe(), toy_loop(tmp_path))
    trainer.settings["processes"] = 2
    with pytest.raises(CheckpointError, match="processes was 1 and is 2"):
        trainer.resume()


def test_two_processes_share_the_samples_and_write_one_run(tmp_path):
    port = str(20000 + os.getpid() % 20000)
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", port]
    assert (
        subprocess.run(
            [sys.executable, *launch, str(PROGRAM), str(tmp_path), "0", "auto"],
            env=program_env(),
            check=False,
        ).returncode
        == 0
    )
    checkpoint = CheckpointFolder(tmp_path).newest()
    assert checkpoint.config["processes"] == 2 and len(checkpoint.training["random"]) == 2
    assert checkpoint.step == 9  # half as many as one process takes
    assert [line["step"] for line in log_of(tmp_path)] == list(range(1, 10))
    with pytest.raises(CheckpointError, match="processes was 2 and is 1"):
        Trainer(toy_recipe(), toy_loop(tmp_path)).resume()


def test_other_workers_and_more_epochs_are_allowed(tmp_path):
    run(tmp_path, epochs=1)
    assert run(tmp_path, resume=True, epochs=2, log_every=2).step == 12


def test_another_network_is_refused(tmp_path):
    run(tmp_path, steps=4)
    other = torch.nn.Linear(4, 1)
    recipe = toy_recipe(network=other, optimizer=torch.optim.AdamW(other.parameters()))
    with pytest.raises(CheckpointError, match="another network"):
        Trainer(recipe, toy_loop(tmp_path)).resume()


def test_damaged_samples_are_passed_over_and_counted(tmp_path):
    trainer = run(tmp_path, dataset=Numbers(damaged=(3, 7)), epochs=2)
    assert len(trainer._failures.seen) == 2
    assert CheckpointFolder(tmp_path).newest().state["failures"] == [
        "sample 3: cut off",
        "sample 7: cut off",
    ]


def test_too_many_damaged_samples_are_an_error(tmp_path):
    with pytest.raises(DataError, match="2 damaged samples, 1 are tolerated"):
        run(tmp_path, dataset=Numbers(damaged=(3, 7)), damaged=1)


def test_too_little_data_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="do not fill one batch"):
        Trainer(toy_recipe(Numbers(3)), toy_loop(tmp_path))


def test_a_step_without_finite_gradient_changes_nothing(tmp_path):
    calls = []

    def sometimes(network, batch):
        calls.append(1)
        return {
            "fit": squared_error(network, batch)["fit"] * (torch.nan if calls[2:] == [1] else 1)
        }

    trainer = run(tmp_path, losses=sometimes)
    assert all(t.isfinite().all() for t in trainer.network.state_dict().values())


def test_nothing_but_nan_stops_the_run_and_names_the_loss(tmp_path):
    def never(network, batch):
        return {"good": squared_error(network, batch)["fit"], "bad": network(batch.x).sum() / 0}

    with pytest.raises(ConfigError, match="losses not finite: bad"):
        run(tmp_path, losses=never)


def test_the_best_score_keeps_its_checkpoint(tmp_path):
    scores = iter((0.1, 0.9, 0.5, 0.3))
    recipe = toy_recipe(validate=lambda network: {"miou": next(scores)}, best="miou")
    run(tmp_path, recipe=recipe, epochs=4, checkpoint_every=0, keep=1)
    assert CheckpointFolder(tmp_path).newest().step == 24
    assert json.loads((tmp_path / "best/state.json").read_text())["step"] == 12
    assert [line["miou"] for line in log_of(tmp_path, "validation")] == [0.1, 0.9, 0.5, 0.3]
