import pytest
import torch

from clearmargin.training.deterministic import deterministic


def modes() -> tuple[bool, bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )


@pytest.mark.parametrize("warn_only", [False, True])
def test_it_holds_inside_and_what_was_before_comes_back(warn_only):
    torch.use_deterministic_algorithms(warn_only, warn_only=warn_only)
    before = modes()
    try:
        with pytest.raises(ValueError, match="an error"), deterministic():  # noqa: PT012
            assert modes() == (True, False, False)
            raise ValueError("an error")
        assert modes() == before
    finally:
        torch.use_deterministic_algorithms(False)
