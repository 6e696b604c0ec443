"""LangOcc against the official code's stored layers, losses, metrics and renderings."""

from parity import langocc_data_cases, langocc_net_cases, langocc_teacher_cases
from parity.cases import Case
from parity.compare import run_case

SYSTEM = "langocc"
CASES = {
    **langocc_data_cases.CASES,
    **langocc_net_cases.CASES,
    **langocc_teacher_cases.CASES,
}


def test_layers(case: Case) -> None:
    run_case(case, CASES, {})
