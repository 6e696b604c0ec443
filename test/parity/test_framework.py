"""The parity framework itself: it must see a wrong layer, name it, and rebuild weights by rule."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from parity.cases import Case, Weights, find_cases, normal, parse_slice
from parity.compare import Check, agreeing_bits, compare, of_std, run_case, within_std
from parity.fill import fill_tensor

LAYERS = ("stem", "neck", "head")


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A tiny case of a tiny system: three layers of which every second column is stored."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    layers = {name: _layers(salt="q", seed=7)[name] for name in LAYERS}
    stored = {name: value[:, 1::2] for name, value in layers.items()}
    np.savez(folder / "walk.npz", **stored)
    spec = {
        "salt": "q",
        "seed": 7,
        "inputs": "x = standard_normal (4,6); shift 2.5",
        "tolerance": "max|diff| <= 1e-3*std",
        "values": {"loss": 3.0},
        "arrays": {
            name: {
                "full_shape": [4, 6],
                "stored_slice": "tensor[0::1, 1::2]",
                "where": f"the {name}",
                "std": float(value.std()),
            }
            for name, value in layers.items()
        },
    }
    (folder / "walk.json").write_text(json.dumps(spec))
    manifest = {"state_dict": {"a.weight": [6, 6], "a.k": [3]}, "constants": ["a.k"], "scale": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return Case(folder, "walk")


def _layers(salt: str, seed: int) -> dict[str, np.ndarray]:
    x = np.random.Generator(np.random.PCG64(seed)).standard_normal((4, 6)).astype(np.float32)
    weight = fill_tensor("a.weight", (6, 6), salt)
    stem = x @ weight.T
    neck = stem @ weight.T
    return {"stem": stem, "neck": neck, "head": neck + stem}


def _network(case: Case, weights: Weights) -> dict[str, torch.Tensor]:
    x = normal(case.rng(), case.integers(r"x = standard_normal \(([\d,]+)\)"))
    weight = weights.official("a.")["a.weight"]
    stem = x @ weight.T
    neck = stem @ weight.T
    return {"stem": stem, "neck": neck, "head": neck + stem, "values.loss": torch.tensor(3.0)}


def _check(change: dict[str, float] | None = None, **others: object) -> Check:
    def adapter(case: Case, weights: Weights) -> dict[str, torch.Tensor]:
        outputs = _network(case, weights)
        for name, amount in (change or {}).items():
            outputs[name] = outputs[name].clone()
            outputs[name][2, 3] += amount
        return outputs

    return Check(adapter, lambda case, name: of_std(1e-3), also=("values.loss",), **others)


def _failures(case: Case, check: Check) -> list[str]:
    weights = Weights(case.folder, case.salt)
    return compare(case, check, check.adapter(case, weights))


def test_equal_layers_pass(case):
    run_case(case, {"walk": _check()}, {})


def test_first_wrong_layer_is_named_with_its_numbers(case):
    check = _check({"neck": 0.5, "head": 0.5})
    with pytest.raises(pytest.fail.Exception) as failure:
        run_case(case, {"walk": check}, {})
    text = str(failure.value)
    assert "first difference in 'neck' (the neck): max diff 0.5" in text
    assert "tolerance" in text and "std" in text
    assert "then 'head'" in text and "'stem'" not in text


def test_nan_is_a_difference(case):
    assert _failures(case, _check({"stem": float("nan")}))[0].startswith("'stem'")


def test_array_that_the_adapter_forgets_is_a_failure(case):
    def forgetful(case, weights):
        return {k: v for k, v in _network(case, weights).items() if k != "neck"}

    check = Check(forgetful, lambda case, name: of_std(1e-3), also=("values.loss",))
    assert _failures(case, check) == ["'neck': the adapter returns no such array"]


def test_json_value_is_compared(case):
    def wrong(case, weights):
        return {**_network(case, weights), "values.loss": torch.tensor(3.5)}

    check = Check(wrong, lambda case, name: of_std(1e-3), also=("values.loss",))
    assert "'values.loss'" in _failures(case, check)[0]


def test_wrong_full_shape_is_a_failure(case):
    def cropped(case, weights):
        return {**_network(case, weights), "neck": torch.zeros(4, 5)}

    check = Check(cropped, lambda case, name: of_std(1e-3), also=("values.loss",))
    assert "shape (4, 5)" in _failures(case, check)[0]


def test_case_without_adapter_is_skipped_with_the_reason(case):
    with pytest.raises(pytest.skip.Exception, match="waits for training"):
        run_case(case, {}, {"walk": "waits for training"})


def test_one_check_may_serve_cases_of_one_pattern(case):
    run_case(case, {"walk*": _check()}, {})
    with pytest.raises(pytest.skip.Exception):
        run_case(case, {"run*": _check()}, {})


def test_other_salt_gives_other_weights(case):
    ours = Weights(case.folder, "q").official()["a.weight"]
    assert torch.equal(ours, Weights(case.folder, "q").official()["a.weight"])
    assert not torch.equal(ours, Weights(case.folder, "r").official()["a.weight"])


def test_constants_are_not_filled(case):
    assert set(Weights(case.folder, "q").official()) == {"a.weight"}


def test_cases_need_both_files(case):
    (case.folder / "lonely.json").write_text("{}")
    assert [found.name for found in find_cases(case.folder.parent, "tiny")] == ["walk"]


def test_numbers_are_read_from_the_text(case):
    assert case.numbers(r"shift ([\d.]+)") == [2.5]
    with pytest.raises(ValueError, match="no /bins/"):
        case.numbers("bins")


def test_slices_are_read():
    assert parse_slice("tensor[0::1, 3::8]") == (slice(0, None, 1), slice(3, None, 8))
    assert parse_slice("") == ()


@pytest.mark.parametrize(
    ("name", "shape", "mean", "spread"),
    [
        ("n.running_var", (4096,), 1.08, 0.06),
        ("n.running_mean", (4096,), 0.0, 0.1),
        ("c.bias", (4096,), 0.0, 0.1),
        ("n.weight", (4096,), 1.0, 0.1),
        ("c.weight", (64, 16, 2, 2), 0.0, 1 / 8),
    ],
)
def test_fill_distributions(name, shape, mean, spread):
    values = fill_tensor(name, shape, "a")
    assert values.dtype == np.float32
    assert values.mean() == pytest.approx(mean, abs=0.02)
    assert values.std() == pytest.approx(spread, rel=0.1)


def test_fill_is_seeded_by_salt_and_name():
    seed = zlib.crc32(b"s:c.weight")
    normal = np.random.Generator(np.random.PCG64(seed)).standard_normal((2, 4))
    assert np.array_equal(fill_tensor("c.weight", (2, 4), "s"), (normal / 2).astype(np.float32))
    assert fill_tensor("n.num_batches_tracked", (), "s").dtype == np.int64


def test_loose_rules_still_fail(case):
    reference = case.references()["stem"]
    rule = within_std(1e-2, share=0.999, relative_l2=1e-3)
    assert rule(reference.values, reference) is None
    assert rule(reference.values + 0.02 * reference.std, reference) is not None
    packed = np.packbits(np.ones(8000, np.bool_))
    one_off = packed.copy()
    one_off[0] ^= 1
    assert agreeing_bits(0.9999)(packed, type(reference)("m", packed)) is None
    assert agreeing_bits(0.9999)(one_off, type(reference)("m", packed)) is not None
