"""Adapters of VLScene's volume half, its pre-processing, losses, metrics and targets."""

from __future__ import annotations

from parity.cases import Case
from parity.compare import Check, Rule, exact, of_std


def rule_from_text(case: Case, name: str) -> Rule:
    """`max|diff| <= 1e-3*std` of the case's text for numbers, equality for integers."""
    if case.stored[name].dtype.kind in "iub":
        return exact
    (limit,) = case.numbers(r"([\d.e-]+)\*std", "tolerance")
    return of_std(limit)


CASES: dict[str, Check] = {}
