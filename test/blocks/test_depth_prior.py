"""The pseudo depth's teacher, as far as it can be told without its weights."""

import pytest
import torch

from occ_perception.blocks.depth_prior import DepthPriorConfig, scaled_positions


@pytest.mark.parametrize(
    ("image", "wanted"),
    [((192, 640), (518, 1722)), ((518, 518), (518, 518)), ((376, 1408), (518, 1946))],
)
def test_the_input_keeps_the_aspect_in_whole_patches(image, wanted):
    assert DepthPriorConfig(image_size=image).input_size == wanted


def test_positions_of_the_same_grid_stay_bitwise():
    table = torch.randn(1, 10, 4)
    assert scaled_positions(table, (3, 3), (3, 3)) is table


def test_positions_are_scaled_not_resized():
    table = torch.randn(1, 10, 4)
    scaled = scaled_positions(table, (3, 3), (4, 5))
    patches = table[:, 1:].mT.unflatten(2, (3, 3))
    resized = torch.nn.functional.interpolate(patches, size=(4, 5), mode="bicubic")
    assert scaled.shape == (1, 21, 4)
    assert torch.equal(scaled[:, 0], table[:, 0])
    assert not torch.allclose(scaled[:, 1:], resized.flatten(2).mT, atol=1e-3)
