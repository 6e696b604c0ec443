"""Training of LangOcc's reducer on the class embeddings alone; seconds on a CPU."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from occ_perception.core.errors import WeightsError
from occ_perception.systems.langocc.reducer import ClipReducer
from occ_perception.text.embeddings import TextEmbeddings
from occ_perception.weights.files import open_verified, write_weights
from occ_training.losses.reducer import angle_loss

_GOOD_ENOUGH = 1e-4  # of the loss, and of its change
_PATIENCE = 30
REDUCER = "reducer.U"  # its name in weights of the whole network


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


def write_reducer(path: Path, reducer: ClipReducer, words: TextEmbeddings) -> None:
    """Keep a reducer as a weights file, for label layers and trainings that share it.

    Raises:
        WeightsError: The target cannot be written.
    """
    channels, reduced = reducer.U.shape
    about = {
        "system": "langocc",
        "config": {"clip": words.clip, "clip_channels": channels, "language_channels": reduced},
        "labels": "",
        "grid": {},
        "source": f"fitted to {len(words.prompts)} words",
        "source_sha256": "",
        "licence": "Apache-2.0",
    }
    write_weights(path, {REDUCER: reducer.U}, about)


def read_reducer(reducer: ClipReducer, path: Path) -> None:
    """Take over the reducer of a weights file of LangOcc Reduced, or of one that holds no more.

    Raises:
        WeightsError: The file is damaged, has no reducer, or one of another size.
    """
    _, archive = open_verified(path)
    if REDUCER not in archive.keys():  # noqa: SIM118  (no mapping)
        raise WeightsError(f"'{path.name}' has no reducer: give weights of LangOcc Reduced")
    U = archive.get_tensor(REDUCER).float()
    if U.shape != reducer.U.shape:
        raise WeightsError(
            f"the reducer in '{path.name}' is {tuple(U.shape)}, this network's is "
            f"{tuple(reducer.U.shape)}: fit one of this size (occ words reducer)"
        )
    with torch.no_grad():
        reducer.U.copy_(U)
