"""Small networks train on one thread, and nothing else changes."""

import pytest
import torch

from clearmargin.training.threads import WORTH_THREADS, threads_for


@pytest.fixture
def two_threads():
    """More than one, however many the other tests are given."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_small_work_takes_one_thread_and_gives_the_others_back():
    with threads_for(WORTH_THREADS - 1):
        assert torch.get_num_threads() == 1
    with threads_for(WORTH_THREADS):
        assert torch.get_num_threads() == 2
    with pytest.raises(KeyboardInterrupt), threads_for(1):
        raise KeyboardInterrupt
    assert torch.get_num_threads() == 2
