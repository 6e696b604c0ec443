"""VLScene against the official network's stored layers."""

from parity import (
    vlscene_data_cases,
    vlscene_image_cases,
    vlscene_teacher_cases,
    vlscene_volume_cases,
)
from parity.cases import Case
from parity.compare import run_case

SYSTEM = "vlscene"
CASES = {
    **vlscene_image_cases.CASES,
    **vlscene_volume_cases.CASES,
    **vlscene_data_cases.CASES,
    **vlscene_teacher_cases.CASES,
}


def test_layers(case: Case) -> None:
    run_case(case, CASES, {})
