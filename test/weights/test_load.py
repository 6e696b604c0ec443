"""Loading our weights: verified against the side file, refused in one sentence otherwise."""

import json

import pytest
import torch
from torch import nn

from occ_perception.core.errors import WeightsError
from occ_perception.weights.convert import convert_file
from occ_perception.weights.files import sha256_of
from occ_perception.weights.load import load_weights


@pytest.fixture
def converted(tiny_map, official, tmp_path):
    path = tmp_path / "out.safetensors"
    convert_file(tiny_map, official, path)
    return path


def rewrite(path, **changes):
    side = path.with_suffix(".json")
    side.write_text(json.dumps({**json.loads(side.read_text()), **changes}))


def damage(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-10])


def impostor(path):
    path.write_bytes(b"not safetensors")
    rewrite(path, sha256=sha256_of(path))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (damage, "truncated or changed"),
        (truncate, "truncated or changed"),
        (impostor, "not a readable safetensors"),
        (lambda p: p.unlink(), "does not exist"),
        (lambda p: p.with_suffix(".json").unlink(), "lacks its side file"),
        (lambda p: p.with_suffix(".json").write_text("{"), "damaged"),
        (lambda p: p.with_suffix(".json").write_text("[]"), "damaged"),
        (lambda p: rewrite(p, surprise=1), "damaged"),
        (lambda p: rewrite(p, format=99), "format 99"),
        (lambda p: rewrite(p, system="langocc"), "langocc, not of tiny"),
    ],
)
def test_spoilt_files_are_refused_and_the_network_stays_untouched(
    converted, network, spoil, message
):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    spoil(converted)
    with pytest.raises(WeightsError, match=message) as refusal:
        load_weights(network, converted, "tiny")
    assert "\n" not in str(refusal.value)
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())


def test_official_file_is_refused_with_the_way_to_convert_it(network, official):
    with pytest.raises(WeightsError, match="occ weights convert"):
        load_weights(network, official, "tiny")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n: n.add_module("more", nn.Linear(1, 1)), r"lacks more\.weight, more\.bias"),
        (
            lambda n: n.add_module("neck", nn.Conv2d(2, 3, 3)),
            r"neck\.weight \(3, 2, 1, 1\) instead",
        ),
        (lambda n: delattr(n, "neck"), r"unknown neck\.bias"),
    ],
)
def test_other_network_is_refused(converted, network, change, message):
    change(network)
    with pytest.raises(WeightsError, match=message):
        load_weights(network, converted, "tiny")


def test_batch_counters_are_neither_wanted_nor_touched(converted, network):
    network.norm.num_batches_tracked.fill_(5)
    load_weights(network, converted, "tiny")
    assert network.norm.num_batches_tracked == 5
