import torch

from occ_perception.text.tower import TextTower, tokens_of


def test_tokens_are_framed_and_padded():
    tokens = tokens_of(["road", "a parked car"])
    assert tokens.shape == (2, 77)
    assert tokens[0, 0] == 49406 and tokens[0, 2] == 49407 and tokens[0, 3:].sum() == 0


def test_a_text_does_not_depend_on_its_neighbours():
    torch.manual_seed(0)
    encoder = TextTower(width=32, layers=2, heads=4).eval()
    with torch.no_grad():
        both, alone = encoder.encode(["road", "a parked car"]), encoder.encode(["a parked car"])
    assert torch.allclose(both[1], alone[0], atol=1e-5)
    assert not torch.allclose(both[0], both[1], atol=1e-2)
