"""Training of LangOcc's reducer on the class embeddings alone; seconds on a CPU."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from occ_perception.systems.langocc.reducer import ClipReducer
from occ_training.losses.reducer import angle_loss

_GOOD_ENOUGH = 1e-4  # of the loss, and of its change
_PATIENCE = 30


def train_reducer(
    reducer: ClipReducer,
    embeddings: Float[Tensor, "n c"],
    steps: int = 250,
    rate: float = 1e-3,
) -> list[float]:
    """Fit a reducer to unit vectors, all of them in every step.

    Args:
        reducer: Is changed.
        embeddings: Class embeddings, unit length.
        steps: At most so many; it stops as published: on NaN (a cosine rounded above one, no harm
            done), on a tiny loss, or when the loss has stood still for long.
        rate: Learning rate.

    Returns:
        The loss before every step.
    """
    optimizer = torch.optim.Adam(reducer.parameters(), lr=rate)
    losses: list[float] = []
    still = 0
    while len(losses) < steps and still <= _PATIENCE:
        loss = angle_loss(embeddings, reducer.reconstruct(reducer(embeddings)))
        value = float(loss.detach())
        if loss.isnan() or value < _GOOD_ENOUGH:
            break
        still = still + 1 if losses and abs(value - losses[-1]) < _GOOD_ENOUGH else 0
        losses.append(value)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses
