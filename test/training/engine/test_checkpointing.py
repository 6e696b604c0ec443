import errno
import json

import pytest
import torch

from occ_training.engine import checkpointing
from occ_training.engine.checkpointing import (
    Checkpoint,
    CheckpointError,
    CheckpointFolder,
    read_checkpoint,
)


def checkpoint(step, value=0.0):
    return Checkpoint(
        step=step,
        model={"w": torch.full((3,), value), "view": torch.eye(2).T},
        training={"optimizer": {"state": {0: torch.ones(2)}}, "random": []},
        state={"epoch": 1},
        config={"lr": 0.1},
        ema={"w": torch.zeros(3)},
    )


def test_what_was_saved_comes_back(tmp_path):
    folder = CheckpointFolder(tmp_path / "run")
    folder.save(checkpoint(5, 2.0))
    back = folder.newest()
    assert back.step == 5 and back.state == {"epoch": 1} and back.config == {"lr": 0.1}
    assert torch.equal(back.model["w"], torch.full((3,), 2.0))
    assert torch.equal(back.training["optimizer"]["state"][0], torch.ones(2))
    assert set(back.ema) == {"w"}


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert CheckpointFolder(tmp_path / "nothing").newest() is None


def test_links_and_the_number_kept(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=2)
    folder.save(checkpoint(1), best=True)
    for step in (2, 3, 4):
        folder.save(checkpoint(step))
    names = sorted(p.name for p in tmp_path.glob("step_*"))
    assert names == ["step_00000001", "step_00000003", "step_00000004"]
    assert (tmp_path / "last").resolve().name == "step_00000004"
    assert read_checkpoint(tmp_path / "best").step == 1


@pytest.mark.parametrize(
    "name", ["model.safetensors", "training.pt", "state.json", "ema.safetensors"]
)
@pytest.mark.parametrize("harm", ["cut", "gone", "garbage"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, name, harm):
    folder = CheckpointFolder(tmp_path)
    folder.save(checkpoint(1))
    newest = folder.save(checkpoint(2))
    path = newest / name
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-7])
    elif harm == "gone":
        path.unlink()
    else:
        path.write_bytes(b"\xff" * path.stat().st_size)
    assert folder.newest().step == 1


def test_when_all_are_damaged_that_is_an_error_not_a_new_start(tmp_path):
    folder = CheckpointFolder(tmp_path)
    (folder.save(checkpoint(1)) / "state.json").write_text("{}")
    with pytest.raises(CheckpointError, match="can be read"):
        folder.newest()


def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    folder = CheckpointFolder(tmp_path)
    folder.save(checkpoint(1))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpointing, "save_file", full)
    with pytest.raises(CheckpointError, match="the disk is full"):
        folder.save(checkpoint(2))
    monkeypatch.undo()
    assert folder.newest().step == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last", "step_00000001"]


def test_remains_of_a_killed_run_are_swept_and_never_read(tmp_path):
    folder = CheckpointFolder(tmp_path)
    folder.save(checkpoint(1))
    remains = tmp_path / ".step_00000009.partial-abc"
    remains.mkdir()
    (remains / "state.json").write_text(json.dumps({"step": 9}))
    assert folder.newest().step == 1
    folder.save(checkpoint(2))
    assert not remains.exists()


def test_nothing_in_a_checkpoint_is_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    path = CheckpointFolder(tmp_path).save(checkpoint(1))
    size = (path / "training.pt").stat().st_size
    torch.save({"trap": Trap()}, path / "training.pt")
    state = json.loads((path / "state.json").read_text())
    assert state["files"]["training.pt"] == size
    state["files"]["training.pt"] = (path / "training.pt").stat().st_size
    (path / "state.json").write_text(json.dumps(state))
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
    assert not (tmp_path / "sprung").exists()
