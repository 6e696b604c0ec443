"""ViPOcc at toy size: what it answers and what its depth branch does."""

import pytest
import torch
from systems.field_rigs import VIPOCC as TOY

from occ_perception.blocks.fields.pixel_field import keep_visible
from occ_perception.core.errors import ConfigError
from occ_perception.systems.vipocc.config import ViPOccConfig
from occ_perception.systems.vipocc.model import DepthBranch, ViPOcc, occupied_cells
from occ_perception.systems.vipocc.ray_opacity import lookup_opacity, opacity_volume

K = torch.tensor([[0.8, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return ViPOcc(TOY).eval()


def test_points_that_the_camera_does_not_see_have_no_density(model):
    points = torch.tensor([[[0.0, 0.0, 10.0], [0.0, 0.0, -5.0], [90.0, 0.0, 10.0]]])
    field = model.density_net.field
    located = field.locate(points, torch.eye(4)[None], K[None], TOY.input_size)
    density = model(torch.zeros(1, 3, 64, 128), keep_visible(located))
    assert density[0] >= 0 and density[1:].isnan().all()


def test_without_a_residual_the_pseudo_depth_comes_back(model):
    branch = DepthBranch(TOY).eval()
    torch.nn.init.zeros_(branch.residual.decoder.output.weight)
    torch.nn.init.zeros_(branch.residual.decoder.output.bias)
    pseudo = torch.full((1, 1, 64, 128), 20.0)
    depth = branch(torch.zeros(1, 3, 64, 128), pseudo)
    torch.testing.assert_close(depth, pseudo)
    far = branch(torch.zeros(1, 3, 64, 128), torch.full((1, 1, 64, 128), 500.0))
    torch.testing.assert_close(far, torch.full_like(far, 80.0))


def test_bts_has_no_depth_branch():
    assert ViPOcc(ViPOccConfig.bts()).depth_net is None


def test_image_sizes_that_do_not_halve_are_refused():
    with pytest.raises(ConfigError, match="multiples of 32"):
        ViPOccConfig(input_size=(200, 640))


def test_a_cell_is_occupied_by_the_mean_of_its_corners():
    density = torch.zeros(2, 2, 3)
    density[:, :, 0] = 1.2
    assert occupied_cells(density, 0.5).tolist() == [[[1.0, 0.0]]]


def test_opacity_is_found_again_along_its_own_ray(model):
    hidden = model.density_net.encode(torch.rand(1, 3, 64, 128) * 2 - 1)
    volume = opacity_volume(model.density_net, hidden, K)
    samples = torch.arange(TOY.samples) / TOY.samples
    # middle of each interval, at the pixel in the corner of the image
    middle = samples + 0.5 / TOY.samples
    at = 1 / ((1 - samples) / TOY.near_m + samples / TOY.far_m)
    direction = torch.tensor([-1 / 0.8, -1 / 2.0, 1.0])
    points = at[:, None] * direction / direction.norm()
    found = lookup_opacity(volume, points, K, TOY.near_m, TOY.far_m)
    inverse = torch.nn.functional.grid_sample(
        volume[0, 0].view(1, 1, 1, -1),
        torch.stack([2 * middle - 1, torch.zeros_like(middle)], dim=-1)[None, None],
        padding_mode="border",
        align_corners=True,
    )
    torch.testing.assert_close(found, inverse.flatten(), rtol=1e-4, atol=1e-5)
