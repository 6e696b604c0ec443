import pytest
import torch
from accelerate.state import AcceleratorState


@pytest.fixture(autouse=True)
def single_thread():
    """Tiny networks: threads that wait for each other on a busy machine cost twenty times more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def any_precision():
    """accelerate allows one precision per process: let no test decide for those behind it."""
    AcceleratorState._reset_state(reset_partial_state=True)
