"""Conversion of official checkpoints: strict, safe against hostile files, nothing half-written."""

import contextlib
import io
import json
import os
import random
import zipfile

import pytest
import torch

from occ_perception.core.errors import WeightsError
from occ_perception.weights import convert, table
from occ_perception.weights.convert import convert_file, read_checkpoint, state_dict_of
from occ_perception.weights.files import describe, sha256_of
from occ_perception.weights.load import load_weights


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out.safetensors"


def test_converted_file_loads_and_equals_the_official_one(
    tiny_map, network, official, target, state
):
    report = convert_file(tiny_map, official, target)
    assert (report.kept, dict(report.dropped)) == (6, {"counter": 1, "teacher": 1})
    load_weights(network, target, "tiny")
    assert torch.equal(network.neck.weight, state["img_neck.weight"].movedim(-1, 1))
    assert torch.equal(network.norm.running_mean, state["bn.running_mean"])


def test_side_file_says_what_it_is(tiny_map, official, target):
    report = convert_file(tiny_map, official, target)
    info = describe(target)
    assert info.system == "tiny"
    assert info.config == {"channels": 3}
    assert info.labels == "semantickitti"
    assert info.source == "official.pth"
    assert info.source_sha256 == sha256_of(official)
    assert info.sha256 == sha256_of(target)
    assert (info.tensors, info.parameters) == (report.kept, report.parameters) == (6, 21)


@pytest.mark.parametrize("nest", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_nesting_and_wrapper_prefix_are_seen_through(nest, prefix, state):
    wrapped = {prefix + key: value for key, value in state.items()}
    checkpoint = wrapped if nest is None else {nest: wrapped, "optimizer": {"lr": 0.1}}
    assert state_dict_of(checkpoint, "x.pth").keys() == state.keys()


@pytest.mark.parametrize("checkpoint", [torch.zeros(3), [1], {}, {"epoch": 3}])
def test_file_without_state_dict_is_refused(checkpoint):
    with pytest.raises(WeightsError, match=r"x\.pth"):
        state_dict_of(checkpoint, "x.pth")


def altered(path, change):
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint["state_dict"])
    torch.save(checkpoint, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update({f"extra{i}": torch.zeros(1) for i in range(7)}), "extra4 and 2 more"),
        (lambda s: s.pop("img_neck.bias"), r"lacks neck\.bias"),
        (lambda s: s.update({"bn.bias": torch.zeros(4)}), r"norm\.bias \(4,\) instead of \(3,\)"),
        (lambda s: s.update({"teacher.grid": torch.full((1,), 2.0)}), "another grid"),
    ],
)
def test_any_difference_is_refused_and_nothing_is_written(
    tiny_map, official, target, change, message
):
    altered(official, change)
    with pytest.raises(WeightsError, match=message):
        convert_file(tiny_map, official, target)
    assert os.listdir(target.parent) == [official.name]


def test_half_precision_becomes_float32(tiny_map, official, target, network):
    altered(
        official, lambda s: s.update({k: v.half() for k, v in s.items() if v.is_floating_point()})
    )
    convert_file(tiny_map, official, target)
    load_weights(network, target, "tiny")
    assert network.neck.weight.dtype == torch.float32


class _Malice:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("legacy", [False, True])
def test_pickle_with_code_is_refused_unexecuted(
    tiny_map, official, target, tmp_path, state, legacy
):
    marker = tmp_path / "executed"
    torch.save(
        {"state_dict": {**state, "x": _Malice(marker)}},
        official,
        _use_new_zipfile_serialization=not legacy,
    )
    with pytest.raises(WeightsError, match="code"):
        convert_file(tiny_map, official, target)
    assert not marker.exists()
    assert not target.exists()


def test_legacy_file_is_read(tiny_map, official, target, state):
    torch.save(state, official, _use_new_zipfile_serialization=False)
    assert convert_file(tiny_map, official, target).kept == 6


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_damaged_anywhere_is_read_or_refused_by_name(official, state, legacy):
    torch.save(state, official, _use_new_zipfile_serialization=not legacy)
    whole = official.read_bytes()
    chance = random.Random(7)
    for _ in range(150):
        damaged = bytearray(whole[: chance.choice([len(whole), chance.randrange(len(whole))])])
        for position in chance.sample(range(len(whole)), 3):
            if position < len(damaged):
                damaged[position] = chance.randrange(256)
        official.write_bytes(damaged)
        with contextlib.suppress(WeightsError):
            read_checkpoint(official)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_file_is_refused(tiny_map, official, target, state, legacy, share):
    torch.save(state, official, _use_new_zipfile_serialization=not legacy)
    whole = official.read_bytes()
    official.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(WeightsError, match=r"official\.pth"):
        convert_file(tiny_map, official, target)


@pytest.mark.parametrize(
    "content", [b"<html>Not found</html>", b"\x80\x02]q\x00.", os.urandom(999)]
)
def test_other_files_are_refused(tiny_map, official, target, content):
    official.write_bytes(content)
    with pytest.raises(WeightsError, match=r"official\.pth"):
        convert_file(tiny_map, official, target)


def test_compressed_archive_is_refused_before_it_is_unpacked(tiny_map, official, target):
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10_000_000)
    official.write_bytes(bomb.getvalue())
    with pytest.raises(WeightsError, match="compressed"):
        convert_file(tiny_map, official, target)


def test_too_large_file_is_refused_before_it_is_read(tiny_map, official, target, monkeypatch):
    monkeypatch.setattr(convert, "_LARGEST_BYTES", 100)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("was read"))
    with pytest.raises(WeightsError, match="bytes"):
        convert_file(tiny_map, official, target)


def test_missing_source_and_bad_target_are_refused(tiny_map, official, target, tmp_path):
    with pytest.raises(WeightsError, match="does not exist"):
        convert_file(tiny_map, tmp_path / "nowhere.pth", target)
    with pytest.raises(WeightsError, match=r"\.safetensors"):
        convert_file(tiny_map, official, tmp_path / "out.pth")
    with pytest.raises(WeightsError, match="folder"):
        convert_file(tiny_map, official, tmp_path / "no" / "out.safetensors")


def test_known_file_with_another_hash_is_refused(tiny_map, official, target, monkeypatch):
    entry = table.KnownFile("official.pth", "tiny", "all", "nowhere", "none", sha256="0" * 64)
    monkeypatch.setattr(table, "KNOWN_FILES", (entry,))
    with pytest.raises(WeightsError, match="not the published file"):
        convert_file(tiny_map, official, target)


def test_failed_write_keeps_the_old_pair(tiny_map, official, target, monkeypatch):
    convert_file(tiny_map, official, target)
    before = target.read_bytes(), target.with_suffix(".json").read_text()

    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("occ_perception.weights.files.save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        convert_file(tiny_map, official, target)
    assert before == (target.read_bytes(), target.with_suffix(".json").read_text())
    assert sorted(os.listdir(target.parent)) == ["official.pth", "out.json", "out.safetensors"]


def test_side_file_is_plain_json(tiny_map, official, target):
    convert_file(tiny_map, official, target)
    assert json.loads(target.with_suffix(".json").read_text())["format"] == 1
