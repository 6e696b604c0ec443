"""The field's hidden layer at points in one pass: sampled image part, position part, ReLU.

A training step has a million points. Their values are made and used up in blocks that stay in a
processor core's cache, forward and backward; the gradient of the hidden map is added up in place.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

from occ_perception.blocks.fields.projection import Taps, flat_taps

_CACHED_VALUES = 1 << 17


class _HiddenLayer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        table: Float[Tensor, "p h"],
        pixels: Integer[Tensor, "m 4"],
        weights: Float[Tensor, "m 4"],
        code: Float[Tensor, "m e"],
        weight: Float[Tensor, "h e"],
        bias: Float[Tensor, " h"],
    ) -> Float[Tensor, "m h"]:
        out = table.new_empty(len(pixels), table.shape[1])
        for block in _blocks(out):
            image_part = F.embedding_bag(
                pixels[block], table, mode="sum", per_sample_weights=weights[block]
            )
            position_part = F.linear(code[block], weight, bias)
            torch.add(image_part, position_part, out=out[block]).relu_()
        ctx.save_for_backward(pixels, weights, code, out)
        ctx.rows = len(table)
        return out

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        pixels, weights, code, out = ctx.saved_tensors
        exact = torch.promote_types(gradient.dtype, torch.float32)
        width = out.shape[1]
        of_table = gradient.new_zeros(ctx.rows, width, dtype=exact)
        of_weight = gradient.new_zeros(width, code.shape[1], dtype=exact)
        of_bias = gradient.new_zeros(width, dtype=exact)
        for block in _blocks(out):
            passed = torch.ops.aten.threshold_backward(gradient[block], out[block], 0)
            of_weight += passed.mT @ code[block]
            of_bias += passed.sum(dim=0, dtype=exact)
            # Torch's own gradient of the weighted sum sorts all pixels first: most of the time.
            for pixel, share in zip(
                pixels[block].unbind(-1), weights[block].unbind(-1), strict=True
            ):
                of_table.index_add_(0, pixel, (passed * share[:, None]).to(exact))
        return (
            of_table.to(gradient.dtype), None, None, None,
            of_weight.to(gradient.dtype), of_bias.to(gradient.dtype),
        )  # fmt: skip


def hidden_layer(
    maps: Float[Tensor, "b h rows columns"],
    taps: Taps,
    code: Float[Tensor, "b m e"],
    weight: Float[Tensor, "h e"],
    bias: Float[Tensor, " h"],
) -> Float[Tensor, "b m h"]:
    """`relu(read_taps(maps, taps) + linear(code))`; points get no gradient.

    Args:
        maps: Image part of the layer, for every pixel.
        taps: Where points lie in it.
        code: Positional code of the points.
        weight: Position part of the layer.
        bias: Of the layer.
    """
    table, pixels, weights = flat_taps(maps, taps)
    dtype = table.dtype
    layer = (code.flatten(0, 1).to(dtype), weight.to(dtype), bias.to(dtype))
    return _HiddenLayer.apply(table, pixels, weights, *layer).unflatten(0, code.shape[:2])


def _blocks(values: Float[Tensor, "m h"]) -> Iterator[slice]:
    """Rows that fit a processor core's cache; all at once on other devices."""
    count, width = values.shape
    rows = max(1, _CACHED_VALUES // width) if values.device.type == "cpu" else max(1, count)
    return (slice(start, start + rows) for start in range(0, count, rows))
