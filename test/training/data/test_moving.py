from typing import NamedTuple

import torch

from occ_training.data.moving import moved


class Pair(NamedTuple):
    image: torch.Tensor
    geometry: torch.Tensor


class Batch(NamedTuple):
    pairs: tuple[Pair, ...]
    nothing: None
    name: str


def test_tensors_move_and_everything_else_stays():
    pair = Pair(torch.zeros(2), torch.ones(3))
    found = moved(Batch((pair, pair), None, "a"), torch.device("meta"), but=("geometry",))
    assert type(found) is Batch and type(found.pairs[1]) is Pair
    assert [p.image.device.type for p in found.pairs] == ["meta", "meta"]
    assert found.pairs[0].geometry is pair.geometry
    assert found.nothing is None and found.name == "a"
