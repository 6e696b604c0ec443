"""The head: slabs equal the whole, axes are not confused, points are looked up as published."""

import pytest
import torch

from occ_perception.systems.vlscene.head import AnisotropicBlock, OccupancyHead, PointHead


@pytest.fixture
def head():
    torch.manual_seed(0)
    return OccupancyHead(in_channels=8, classes=5, widths=(8, 6)).eval()


@pytest.fixture(params=[((2, 2, 2), True), ((4, 4, 2), True), ((4, 2, 1), False)])
def any_head(request):
    torch.manual_seed(0)
    upsample, slips = request.param
    return OccupancyHead(8, 5, (8, 6), upsample, published_slips=slips).eval()


@pytest.mark.parametrize("slab", [1, 5, 32, 64])
@pytest.mark.parametrize("shape", [(9, 6, 4), (1, 3, 2), (2, 2, 2)])
def test_slabs_equal_the_whole(any_head, slab, shape):
    head = any_head
    features = torch.randn(2, 6, *shape)
    probability = head.logits(features).softmax(dim=1)
    labels, confidence = head.predict(features, slab=slab)
    assert labels.dtype == torch.uint8
    assert labels.shape == (2, *(n * f for n, f in zip(shape, head.upsample, strict=True)))
    torch.testing.assert_close(confidence, probability.amax(dim=1))
    chosen = probability.gather(1, labels[:, None].long())[:, 0]
    torch.testing.assert_close(chosen, confidence)  # equal even where two classes tie


@pytest.mark.parametrize("shape", [(5, 6, 4), (1, 3, 2)])
def test_some_voxels_equal_those_of_the_whole(any_head, shape):
    features = torch.randn(2, 6, *shape)
    whole = any_head.logits(features).movedim(1, -1).flatten(0, 3)
    voxels = torch.randperm(len(whole))[:20]
    torch.testing.assert_close(any_head.logits_at(features, voxels), whole[voxels])


def test_head_doubles_the_resolution(head):
    features = head(torch.randn(1, 8, 4, 4, 2))
    assert features.shape == (1, 6, 4, 4, 2)
    assert head.logits(features).shape == (1, 5, 8, 8, 4)


def test_corners_are_aligned(head):
    features = torch.randn(1, 6, 4, 3, 2)
    logits = head.logits(features)
    corner = head.classify(head.norm(features[0, :, -1, -1, -1]))
    torch.testing.assert_close(logits[0, :, -1, -1, -1], corner)


@pytest.mark.parametrize(("name", "axis"), [("along_x", 0), ("along_y", 1), ("along_z", 2)])
def test_each_branch_looks_along_its_axis(name, axis):
    block = AnisotropicBlock(2)
    x = torch.zeros(1, 2, 9, 9, 9)
    x[0, :, 4, 4, 4] = 1.0
    for conv in getattr(block, name):
        conv.bias.data.zero_()
        touched = conv(x).abs().sum(dim=(0, 1)).nonzero()
        spread = touched.amax(dim=0) - touched.amin(dim=0) + 1
        assert spread[axis] == max(conv.kernel_size)
        assert spread.sum() == max(conv.kernel_size) + 2


@pytest.fixture
def point_head():
    torch.manual_seed(0)
    return PointHead(4, 3, 5, lower_m=(0.0, -4.0, -1.0), upper_m=(8.0, 4.0, 1.0))


def test_points_outside_grid_and_image_see_only_biases(point_head):
    scene, image = torch.randn(4, 8, 8, 4), torch.randn(3, 6, 8)
    points = torch.tensor([[100.0, 100.0, 100.0], [-50.0, 0.0, 0.0]])
    behind = torch.tensor([[0.1, 0.1, -1.0], [1.5, 0.0, 9.0]])
    logits = point_head(scene, image, points, behind)
    torch.testing.assert_close(logits[0], logits[1])


def test_scene_is_sampled_with_x_and_z_exchanged(point_head):
    scene = torch.zeros(4, 8, 8, 4)
    scene[:, 0, 4, 3] = 7.0  # low x, high z: where the published model looks for high x, low z
    sampled = point_head._from_scene(scene, torch.tensor([[6.9, 0.5, -0.9], [0.5, 0.5, 0.9]]))
    assert sampled[0].sum() > 20
    assert sampled[1].sum() == 0


def test_without_the_slips_the_scene_is_sampled_where_the_point_is():
    limits = {"lower_m": (0.0, -4.0, -1.0), "upper_m": (8.0, 4.0, 1.0)}
    head = PointHead(4, 3, 5, **limits, published_slips=False)
    scene = torch.zeros(4, 8, 8, 4)
    scene[:, 6, 4, 0] = 7.0
    sampled = head._from_scene(scene, torch.tensor([[6.5, 0.5, -0.75], [0.5, 0.5, 0.9]]))
    torch.testing.assert_close(sampled[0], torch.full((4,), 7.0))
    assert sampled[1].sum() == 0


def test_image_counts_only_where_seen(point_head):
    image = torch.ones(3, 6, 8)
    uvd = torch.tensor([[0.0, 0.0, 5.0], [0.0, 0.0, 0.0], [1.0, 0.0, 5.0], [0.0, -1.2, 5.0]])
    assert point_head._from_image(image, uvd).sum(dim=1).tolist() == [3.0, 0.0, 0.0, 0.0]
