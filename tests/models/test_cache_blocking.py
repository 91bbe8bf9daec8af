import pytest
import torch
from torch import nn

from clearmargin.models import cache_blocking
from clearmargin.models.cache_blocking import forward_in_blocks


def layers(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 4, 3, padding=1),
    )


@pytest.mark.parametrize("block_bytes", [1, 8 * 16 * 16 * 4, 3 * 8 * 16 * 16 * 4, 1 << 30])
@pytest.mark.parametrize("images", [1, 2, 7])
def test_blocks_give_what_one_pass_gives(monkeypatch, block_bytes, images):
    monkeypatch.setattr(cache_blocking, "BLOCK_BYTES", block_bytes)
    network, inputs = layers(), torch.randn(images, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    kept = inputs.clone()
    with torch.inference_mode():
        found, expected = forward_in_blocks(network, inputs), network(inputs)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(inputs, kept)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_blocks_in_bfloat16_give_what_one_pass_gives(monkeypatch):
    monkeypatch.setattr(cache_blocking, "BLOCK_BYTES", 1)
    network, inputs = layers().to(torch.bfloat16), torch.randn(5, 3, 16, 16).to(torch.bfloat16)
    with torch.inference_mode():
        torch.testing.assert_close(forward_in_blocks(network, inputs), network(inputs), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    ("images", "expected"), [(8, [2, 2, 2, 2, 4, 4, 8]), (7, [1] * 14 + [7]), (6, [2, 2, 2, 3, 3, 6])]
)
def test_each_stage_takes_equal_parts_as_large_as_fit(monkeypatch, images, expected):
    monkeypatch.setattr(cache_blocking, "BLOCK_BYTES", 2 * 8 * 16 * 16 * 4)  # two images of the first stage
    network, seen = layers(), []
    for place in (0, 5, 8):
        network[place].register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    with torch.inference_mode():
        forward_in_blocks(network, torch.zeros(images, 3, 16, 16))
    assert seen == expected
