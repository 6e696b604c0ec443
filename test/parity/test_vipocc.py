"""ViPOcc against the official code's stored layers, losses, metrics and pictures."""

from parity import (
    depth_prior_cases,
    vipocc_geometry_cases,
    vipocc_loss_cases,
    vipocc_metric_cases,
    vipocc_net_cases,
    vipocc_step_cases,
    vipocc_tool_cases,
)
from parity.cases import Case
from parity.compare import run_case

SYSTEM = "vipocc"
CASES = {
    **vipocc_net_cases.CASES,
    **vipocc_step_cases.CASES,
    **vipocc_loss_cases.CASES,
    **vipocc_geometry_cases.CASES,
    **vipocc_metric_cases.CASES,
    **vipocc_tool_cases.CASES,
    **depth_prior_cases.CASES,
}


def test_layers(case: Case) -> None:
    run_case(case, CASES, {})
