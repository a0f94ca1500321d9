"""Keep torch to one thread while many small operations run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread(enabled: bool = True) -> Iterator[None]:
    """Run a block's CPU operations on the calling thread alone, and restore the setting afterwards.

    Torch splits every single operation over its threads and waits for all of them after each. The rasteriser's take
    some ten microseconds: on two idle cores the waiting costs as much as the second core brings (2.7 ms an image
    either way), and as soon as anything else runs there the threads mostly wait for one another (22 ms). To use all
    cores, render in several processes, as a data loader's workers do.

    Args:
        enabled: False leaves everything alone; for work on a GPU.
    """
    before = torch.get_num_threads()
    if not enabled or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
