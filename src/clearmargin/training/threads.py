"""How many threads a network is worth, and that a training which goes on has those it began with."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

import torch

from clearmargin.cores import available_cores

# Below this many multiply-adds a batch, handing work to another thread and waiting for it costs more than it gains,
# all the more while other programs keep the cores busy. The 1-D CNN on a table of 13 columns has 0.8 million a batch of
# 32, the tutorial's MNIST network 337 million a batch of 128.
WORTH_THREADS = 20_000_000
_log = logging.getLogger(__name__)


@contextmanager
def threads_for(multiply_adds: int) -> Iterator[None]:
    """Compute on one thread inside, if a batch of so many multiply-adds is not worth more."""
    before = torch.get_num_threads()
    if multiply_adds < WORTH_THREADS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def computed_with() -> dict[str, str | int]:
    """What the last bits of a training depend on beside the machine: versions, and the number of threads."""
    try:
        own = version("clearmargin")
    except PackageNotFoundError:
        own = "unknown"
    return {"clearmargin": own, "torch": str(torch.__version__), "threads": torch.get_num_threads()}


def compute_as(begun: Mapping[str, str | int], name: str) -> None:
    """Take as many threads as a training began with; where anything else differs, the log warns.

    Parameters
    ----------
    begun
        What `computed_with` said then; nothing where it is not known.
    name
        Of the contender.
    """
    threads = int(begun.get("threads", torch.get_num_threads()))
    if threads <= available_cores():
        torch.set_num_threads(threads)
    now = computed_with()
    differing = [f"{key} {begun[key]} (now {now[key]})" for key in now if begun.get(key, now[key]) != now[key]]
    if differing:
        _log.warning(
            "The training of '%s' was begun with %s: the result may differ in its last digits from that of a training "
            "which was never stopped.",
            name,
            ", ".join(differing),
        )
