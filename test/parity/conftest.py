"""Turns the cases of a golden directory into tests of the module that names their system."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from parity.cases import find_cases
from parity.compare import Check, find_check


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per case; a module says `SYSTEM = "..."` and `CASES = {name: Check}`."""
    if not hasattr(metafunc.module, "SYSTEM"):
        return
    system, checks = metafunc.module.SYSTEM, metafunc.module.CASES
    golden: Path = metafunc.config.getoption("--golden")
    cases = [
        pytest.param(
            case,
            id=f"{system}-{case.name}",
            marks=_marks(find_check(checks, case.name)),
        )
        for case in find_cases(golden, system)
    ]
    if not cases:
        reason = f"no golden cases of {system} in {golden}; name another set with --golden DIR"
        cases = [pytest.param(None, id=f"{system}-absent", marks=pytest.mark.skip(reason))]
    metafunc.parametrize("case", cases)


def _marks(check: Check | None) -> list[pytest.MarkDecorator]:
    return [pytest.mark.heavy] if check is not None and check.heavy else []


@pytest.fixture(autouse=True)
def _float32_without_tf32() -> Iterator[None]:
    """The references are plain float32; TF32 alone would break them."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
