"""Spherical k-means finds directions, however long the vectors are."""

import torch

from occ_training.losses.clustering import nearest_centre, spherical_kmeans


def test_directions_are_found():
    random = torch.Generator().manual_seed(0)
    wanted = torch.randint(4, (400,), generator=random)
    vectors = torch.eye(6)[wanted] + 0.1 * torch.randn(400, 6, generator=random)
    vectors *= 1 + 9 * torch.rand(400, 1, generator=random)
    centres = spherical_kmeans(vectors, 4, random)
    torch.testing.assert_close(centres.norm(dim=1), torch.ones(4))
    found = nearest_centre(vectors, centres)
    pairs = {(int(a), int(b)) for a, b in zip(wanted, found, strict=True)}
    assert len(pairs) == 4


def test_more_clusters_than_directions_do_no_harm():
    centres = spherical_kmeans(torch.eye(3).repeat(5, 1), 5, torch.Generator().manual_seed(0))
    assert centres.isfinite().all() and len(centres) == 5
