import pytest
import torch


@pytest.fixture(autouse=True)
def single_thread():
    """Tiny networks: threads that wait for each other on a busy machine cost twenty times more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
