"""A small training for tests of the loop; also a program, so that it can be killed."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.data import Dataset

from occ_perception.core.errors import BagError
from occ_training.engine.ema import EmaConfig
from occ_training.engine.recipe import LoopConfig, Recipe
from occ_training.engine.schedule import EpochDrops, Warmup
from occ_training.engine.trainer import Trainer


class ToyBatch(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor

    def to(self, device):
        return ToyBatch(self.x.to(device), self.y.to(device))


class Numbers(Dataset):
    """Sample i is i; some may be damaged, and reading may take time."""

    def __init__(self, length=24, damaged=(), seconds=0.0):
        self.length, self.damaged, self.seconds = length, damaged, seconds
        self.epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        time.sleep(self.seconds)
        if index in self.damaged:
            raise BagError("cut off")
        noise = torch.Generator().manual_seed(1000 * self.epoch + index)
        x = torch.randn(4, generator=noise)
        return x, x.sum() + 5


def collate(samples):
    return ToyBatch(*(torch.stack(part) for part in zip(*samples, strict=True)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1)
        )
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        return self.layers(x)[:, 0]


def squared_error(network, batch):
    return {"fit": ((network(batch.x) - batch.y) ** 2).mean()}


def toy_recipe(dataset=None, losses=squared_error, **changes):
    torch.manual_seed(3)
    net = Net()
    recipe = Recipe(
        network=net,
        optimizer=torch.optim.AdamW(net.parameters(), lr=1e-2),
        schedule=EpochDrops((2,), warmup=Warmup(3)),
        dataset=dataset or Numbers(),
        collate=collate,
        losses=losses,
        config={"lr": 1e-2},
        ema=EmaConfig(start=0),
    )
    return dataclasses.replace(recipe, **changes)


def toy_loop(output, **changes):
    values = {"epochs": 3, "batch_size": 2, "accumulate": 2, "clip_norm": 5.0, "workers": 0}
    values |= {"device": "cpu", "checkpoint_every": 4, "log_every": 1}
    return LoopConfig(Path(output), **(values | changes))


if __name__ == "__main__":
    output, seconds, *device = sys.argv[1:]
    loop = toy_loop(output, **({"device": device[0]} if device else {}))
    trainer = Trainer(toy_recipe(Numbers(seconds=float(seconds))), loop)
    trainer.resume()
    trainer.fit()
    # Threads of a process group that lives on can abort a program that is done.
    assert not torch.distributed.is_initialized()
