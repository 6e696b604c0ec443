"""Compare what an adapter returns with what a case stores, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np
import pytest
import torch
from torch import Tensor

from parity.cases import Array, Case, Reference, Weights

Outputs = Mapping[str, Tensor | Array]
# A rule looks at (ours, reference) and answers with the reason of a failure, or None.
Rule = Callable[[Array, Reference], str | None]


@dataclass(frozen=True)
class Check:
    """How one case is run and judged.

    Attributes:
        adapter: Runs our code on the case's inputs; returns every stored array by name, full size
            (the stored slice is cut here), in network order.
        rule: Tolerance of an array, made from the case's own text.
        inputs: Stored arrays that feed the adapter and are therefore not compared.
        also: Dotted paths of numbers in the JSON that the adapter returns under the path's name.
        heavy: Full size; too slow for every run.
    """

    adapter: Callable[[Case, Weights], Outputs]
    rule: Callable[[Case, str], Rule]
    inputs: frozenset[str] = frozenset()
    also: tuple[str, ...] = field(default=())
    heavy: bool = False


def exact(ours: Array, reference: Reference) -> str | None:
    """Every element is equal."""
    different = int(np.count_nonzero(ours != reference.values))
    return f"{different} of {ours.size} elements differ" if different else None


def absolute(limit: float) -> Rule:
    """Largest difference at most `limit`."""

    def rule(ours: Array, reference: Reference) -> str | None:
        return _above(_difference(ours, reference), limit, f"limit {limit:g}")

    return rule


def relative(limit: float) -> Rule:
    """Largest difference at most `limit` times the reference's largest magnitude."""

    def rule(ours: Array, reference: Reference) -> str | None:
        scale = float(np.abs(reference.values).max())
        return _above(_difference(ours, reference), limit * scale, f"{limit:g} of {scale:g}")

    return rule


def of_std(limit: float) -> Rule:
    """Largest difference at most `limit` standard deviations of the full tensor."""

    def rule(ours: Array, reference: Reference) -> str | None:
        std = reference.std
        return _above(_difference(ours, reference), limit * std, f"{limit:g} * std {std:.3g}")

    return rule


def within_std(limit: float, share: float, relative_l2: float) -> Rule:
    """At least `share` within `limit` standard deviations, and a small relative L2 distance."""

    def rule(ours: Array, reference: Reference) -> str | None:
        difference = _difference(ours, reference)
        norm = np.linalg.norm(reference.values.astype(np.float64))
        distance = float(np.linalg.norm(difference)) / max(float(norm), 1e-30)
        inside = float((difference <= limit * reference.std).mean())
        if distance <= relative_l2 and inside >= share:
            return None
        return (
            f"relative L2 {distance:.3g} (limit {relative_l2:g}), {inside:.4%} within "
            f"{limit:g} * std {reference.std:.3g} (at least {share:.2%}), "
            f"max diff {difference.max():.3g}"
        )

    return rule


def agreeing(share: float) -> Rule:
    """At least `share` of the elements are equal (of the bits, for packed uint8 see `bits`)."""

    def rule(ours: Array, reference: Reference) -> str | None:
        equal = float((ours == reference.values).mean())
        return None if equal >= share else f"{equal:.4%} equal, at least {share:.3%} wanted"

    return rule


def agreeing_bits(share: float) -> Rule:
    """At least `share` of the bits of packed masks are equal."""

    def rule(ours: Array, reference: Reference) -> str | None:
        unpacked = Reference(reference.name, np.unpackbits(reference.values))
        return agreeing(share)(np.unpackbits(ours), unpacked)

    return rule


def _difference(ours: Array, reference: Reference) -> Array:
    return np.abs(ours.astype(np.float64) - reference.values.astype(np.float64))


def _above(difference: Array, limit: float, meaning: str) -> str | None:
    largest = float(difference.max(initial=0.0))
    if largest <= limit:  # written so that NaN fails
        return None
    index = np.unravel_index(int(np.argmax(difference)), difference.shape)
    at = tuple(int(i) for i in index)
    return f"max diff {largest:.3g} at stored index {at}, tolerance {limit:.3g} = {meaning}"


def _array(value: Tensor | Array) -> Array:
    if isinstance(value, Tensor):
        return value.detach().cpu().contiguous().numpy()
    return np.asarray(value)


def judge(value: Tensor | Array, reference: Reference, rule: Rule) -> str | None:
    """Reason why one array of ours is not the stored one, or None.

    Args:
        value: Our full tensor.
        reference: The stored slice of the official one.
        rule: Tolerance.
    """
    ours = _array(value)
    if reference.shape is not None and ours.shape != reference.shape:
        return f"shape {ours.shape}, the official one is {reference.shape}"
    if reference.cut:
        ours = ours[reference.cut]
    if ours.shape != reference.values.shape:
        return f"shape {ours.shape}, stored is {reference.values.shape}"
    return rule(ours, reference)


def compare(case: Case, check: Check, outputs: Outputs) -> list[str]:
    """All failures of a case, the first layer of the network first; empty = parity."""
    references = {k: v for k, v in case.references().items() if k not in check.inputs}
    for path in check.also:
        references[path] = Reference(path, np.asarray(case.value(path)), where="JSON value")
    missing = [name for name in references if name not in outputs]
    strange = [name for name in outputs if name not in references]
    failures = [f"'{name}': the adapter returns no such array" for name in missing]
    failures += [f"'{name}': the case stores no such array" for name in strange]
    for name, value in outputs.items():
        if name in references:
            reason = judge(value, references[name], check.rule(case, name))
            if reason is not None:
                failures.append(f"'{name}' ({references[name].where}): {reason}")
    return failures


def find_check(checks: Mapping[str, Check], name: str) -> Check | None:
    """The check of a case by its name, or by a pattern such as `preprocess_*`."""
    matching = (check for pattern, check in checks.items() if fnmatchcase(name, pattern))
    return next(matching, None)


def run_case(case: Case, checks: Mapping[str, Check], skipped: Mapping[str, str]) -> None:
    """Run one case as a test: skip without an adapter, fail with the first differing layer."""
    check = find_check(checks, case.name)
    if check is None:
        reason = skipped.get(case.name, "no adapter is registered for this case")
        pytest.skip(f"{case.system}/{case.name}: {reason}")
    weights = Weights(case.folder, case.spec.get("salt", "a"))
    with torch.no_grad():
        outputs = check.adapter(case, weights)
    failures = compare(case, check, outputs)
    if failures:
        others = "".join(f"\n  then {line}" for line in failures[1:])
        pytest.fail(
            f"{case.system}/{case.name}: first difference in {failures[0]}{others}", pytrace=False
        )
