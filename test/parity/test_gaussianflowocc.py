"""GaussianFlowOcc against the official code's stored layers, losses, metrics and pictures."""

from parity import (
    gaussianflowocc_data_cases,
    gaussianflowocc_net_cases,
    gaussianflowocc_voxel_cases,
)
from parity.cases import Case
from parity.compare import run_case

SYSTEM = "gaussianflowocc"
CASES = {
    **gaussianflowocc_voxel_cases.CASES,
    **gaussianflowocc_data_cases.CASES,
    **gaussianflowocc_net_cases.CASES,
}


def test_layers(case: Case) -> None:
    run_case(case, CASES, {})
