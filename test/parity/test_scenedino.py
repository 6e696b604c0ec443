"""SceneDINO against the official code's stored layers, losses and metrics."""

from parity import scenedino_metric_cases, scenedino_net_cases, scenedino_train_cases
from parity.cases import Case
from parity.compare import run_case

SYSTEM = "scenedino"
CASES = {
    **scenedino_net_cases.CASES,
    **scenedino_train_cases.CASES,
    **scenedino_metric_cases.CASES,
}


def test_layers(case: Case) -> None:
    run_case(case, CASES, {})
