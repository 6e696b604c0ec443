"""Training of the reducer, and the losses that separate classes."""

import torch
from torch.nn import functional as F

from occ_perception.systems.langocc.reducer import ClipReducer
from occ_training.losses.reducer import cosine_separation, margin_separation, similarities
from occ_training.recipes.clip_reducer import train_reducer


def embeddings():
    """Twelve vectors that need only four dimensions."""
    g = torch.Generator().manual_seed(0)
    return F.normalize(torch.randn(12, 4, generator=g) @ torch.randn(4, 32, generator=g), dim=-1)


def test_what_is_lost_by_reducing_is_learnt_to_be_kept():
    torch.manual_seed(0)
    reducer, vectors = ClipReducer(32, 6), embeddings()
    losses = train_reducer(reducer, vectors, steps=250, rate=1e-2)
    assert losses[-1] < 0.2 * losses[0]
    kept = (reducer.reconstruct(reducer(vectors)) * vectors).sum(-1)
    assert float(kept.min()) > 0.95


def test_training_stops_on_nan_before_it_can_do_harm():
    torch.manual_seed(0)
    reducer = ClipReducer(8, 8)
    reducer.U.data = torch.eye(8)
    losses = train_reducer(reducer, torch.eye(8) * 1.1)  # cosines above one
    assert losses == []
    assert torch.equal(reducer.U, torch.eye(8))


def test_separate_classes_cost_nothing():
    vectors = torch.eye(4)[[0, 0, 1, 1]]
    pairs = similarities(vectors, torch.tensor([5, 5, 9, 9]))
    assert float(cosine_separation(*pairs)) == 0
    assert float(margin_separation(*pairs, margin=1.0)) == 0
    mixed = similarities(vectors, torch.tensor([5, 9, 9, 9]))
    assert float(cosine_separation(*mixed)) > 0
