"""A two-layer network, the map of its imaginary official checkpoint, and such a checkpoint."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from occ_perception.core.errors import WeightsError
from occ_perception.weights.load import wanted_shapes


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.neck = nn.Conv2d(2, 3, 1)
        self.norm = nn.BatchNorm2d(3)


class TinyMap:
    system = "tiny"
    labels = "semantickitti"
    licence = "Apache-2.0"

    def config(self):
        return {"channels": 3}

    def grid(self):
        return {"shape": (1, 2, 3)}

    def drop_reason(self, key):
        if key.endswith("num_batches_tracked"):
            return "counter"
        return "teacher" if key.startswith("teacher.") else None

    def rename(self, key):
        renamed = key.replace("img_neck.", "neck.").replace("bn.", "norm.")
        return renamed if renamed in self.wanted() else None

    def relayout(self, key, tensor):
        return tensor.movedim(-1, 1) if key == "img_neck.weight" else tensor

    def check(self, official):
        if float(official.get("teacher.grid", torch.zeros(1)).max()) > 1:
            raise WeightsError("the checkpoint is for another grid")

    def wanted(self):
        return wanted_shapes(Tiny())


def official_state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "img_neck.weight": torch.randn(3, 1, 1, 2, generator=generator),  # [out, kx, ky, in]
        "img_neck.bias": torch.randn(3, generator=generator),
        "bn.weight": torch.ones(3),
        "bn.bias": torch.zeros(3),
        "bn.running_mean": torch.randn(3, generator=generator),
        "bn.running_var": torch.ones(3),
        "bn.num_batches_tracked": torch.tensor(7),
        "teacher.weight": torch.zeros(5, dtype=torch.float16),
    }


@pytest.fixture
def tiny_map():
    return TinyMap()


@pytest.fixture
def network():
    return Tiny()


@pytest.fixture
def state():
    return official_state()


@pytest.fixture
def official(tmp_path, state):
    path = tmp_path / "official.pth"
    torch.save({"meta": {"epoch": 3}, "state_dict": state}, path)
    return path
