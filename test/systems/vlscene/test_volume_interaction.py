"""Volume interaction against the explicit attention matrix."""

import torch

from occ_perception.systems.vlscene.volume_interaction import (
    ChannelAttention3d,
    ConfidenceAttention,
    VolumeInteraction,
)


def distributions(dtype=torch.float64):
    torch.manual_seed(0)
    return (
        (2 * torch.randn(2, 1, 8, 4, 4, dtype=dtype)).softmax(dim=2).requires_grad_()
        for _ in range(2)
    )


def attended_plainly(net, query, memory):
    """As section 3 of the network's description puts it: A[i, j] over all pixel pairs."""
    confidence = query.flatten(3)[:, 0].softmax(dim=1).amax(dim=1)  # by key position j
    q, k, v = (
        conv(x).flatten(3)[:, 0]
        for conv, x in (
            (net.query_conv, query),
            (net.key_conv, memory),
            (net.value_conv, memory),
        )
    )
    attention = torch.einsum("bdi,bdj->bij", q, k).softmax(dim=2)
    mixed = torch.einsum("bdj,bj,bij->bdi", v, confidence, attention)
    return net.gamma * mixed.view_as(memory) + memory


def test_attention_equals_the_explicit_matrix():
    query, memory = distributions()
    net = ConfidenceAttention().double()
    torch.nn.init.constant_(net.gamma, 0.7)
    torch.nn.init.constant_(net.query_conv.weight, 5.0)
    ours, plain = net(query, memory), attended_plainly(net, query, memory)
    torch.testing.assert_close(ours, plain)
    inputs = (query, memory, *net.parameters())
    weight = torch.randn_like(ours)
    gradients = [torch.autograd.grad((v * weight).sum(), inputs) for v in (ours, plain)]
    torch.testing.assert_close(*gradients)


def test_attention_starts_as_the_identity():
    query, memory = distributions()
    torch.testing.assert_close(ConfidenceAttention().double()(query, memory), memory)


def test_channel_attention_starts_as_the_identity():
    volume = torch.randn(1, 8, 4, 4, 4)
    assert torch.equal(ChannelAttention3d(8)(volume), volume)


def test_the_fused_volume_is_a_distribution_without_negative_scores():
    stereo, mono = distributions(torch.float32)
    net = VolumeInteraction(8)
    torch.nn.init.constant_(net.redir2.bias, -100.0)
    prob = net(stereo[:, 0], mono[:, 0])
    torch.testing.assert_close(prob, torch.full_like(prob, 1 / 8))  # ReLU made all scores zero
