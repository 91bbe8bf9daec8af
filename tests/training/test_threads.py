"""Small networks train on one thread, and nothing else changes."""

import pytest
import torch

from clearmargin.training.threads import WORTH_THREADS, threads_for


def test_small_work_takes_one_thread_and_gives_the_others_back():
    before = torch.get_num_threads()
    with threads_for(WORTH_THREADS - 1):
        assert torch.get_num_threads() == 1
    with threads_for(WORTH_THREADS):
        assert torch.get_num_threads() == before
    with pytest.raises(KeyboardInterrupt), threads_for(1):
        raise KeyboardInterrupt
    assert torch.get_num_threads() == before
