"""Induced attention: what it depends on, and on what not."""

import torch
from torch.nn import functional as F

from occ_perception.blocks.attention.induced import InducedAttention


def net():
    torch.manual_seed(0)
    return InducedAttention(16, points=5, heads=4).eval()


def test_the_order_of_keys_does_not_matter_and_that_of_queries_carries_over():
    block, keys, queries = net(), torch.randn(2, 30, 16), torch.randn(2, 40, 16)
    out = block(queries, block.induce(keys))
    order = torch.randperm(40)
    shuffled = block(queries[:, order], block.induce(keys[:, torch.randperm(30)]))
    torch.testing.assert_close(shuffled, out[:, order], rtol=1e-4, atol=1e-5)


def test_gathering_is_post_norm_attention():
    block, keys = net(), torch.randn(1, 7, 16)
    attention = block.induced_attention
    q, k, v = (
        F.linear(x, w, b)
        for x, w, b in zip(
            (block.inducing_points[None], keys, keys),
            attention.in_proj_weight.chunk(3),
            attention.in_proj_bias.chunk(3),
            strict=True,
        )
    )
    q, k, v = (t.unflatten(2, (4, 4)).transpose(1, 2) for t in (q, k, v))
    read = ((q @ k.mT / 2).softmax(-1) @ v).transpose(1, 2).flatten(2)
    z = block.induced_ln1(attention.out_proj(read) + block.inducing_points)
    expected = block.induced_ln2(block.induced_ff(z) + z)
    torch.testing.assert_close(block.induce(keys), expected, rtol=1e-4, atol=1e-5)


def test_dropout_acts_in_training_only():
    block, keys = net(), torch.randn(1, 7, 16)
    assert torch.equal(block.induce(keys), block.induce(keys))
    block.train()
    assert not torch.equal(block.induce(keys), block.induce(keys))
