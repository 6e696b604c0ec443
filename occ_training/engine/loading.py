"""Batches of one epoch, loaded by workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from occ_training.data.bag_dataset import single_threaded
from occ_training.engine.recipe import LoopConfig, Recipe
from occ_training.engine.tolerance import Collate, Loaded, TolerantDataset


def batches_of(
    recipe: Recipe, order: Sampler[int], config: LoopConfig, epoch: int, *, pinned: bool
) -> Iterator[Loaded[Any]]:
    """Batches of what is left of an epoch.

    Args:
        recipe: Data set and how batches are made.
        order: Samples in their order.
        config: Batch size, workers, seed.
        epoch: Which one.
        pinned: Have batches in memory that a GPU can read from.
    """
    if hasattr(recipe.dataset, "set_epoch"):
        recipe.dataset.set_epoch(epoch)
    loader = DataLoader(
        TolerantDataset(recipe.dataset),
        batch_size=config.batch_size,
        sampler=order,
        num_workers=config.workers,
        collate_fn=Collate(recipe.collate),
        worker_init_fn=single_threaded,
        drop_last=True,
        pin_memory=pinned,
        # Its own randomness: the global one must not depend on how often a run was resumed.
        generator=torch.Generator().manual_seed(config.seed + epoch),
    )
    return iter(loader)
