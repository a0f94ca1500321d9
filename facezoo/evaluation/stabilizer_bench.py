"""``facezoo bench stabilizer``: time of a pair and of a batch on this machine."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from facezoo.models.load import load
from facezoo.models.stabilizer import StabilizerModel

_REPEATS, _BATCH = 31, 256


def bench_stabilizer(name: str = "skull-stabilizer", device: str = "auto") -> dict[str, Any]:
    """Time the whole way from vertices to transforms: alignment, network, composition.

    Args:
        name: model name or folder.
        device: as of :func:`facezoo.models.load.load`.

    Returns:
        Milliseconds of one pair and of a batch of 256, medians of 31 runs by the wall clock and (on a CPU) by the time
        the process computed, which other programs do not lengthen; pairs a second from both; threads and device.
    """
    model: Any = load(name, device=device)
    assert isinstance(model, StabilizerModel)
    generator = torch.Generator().manual_seed(0)
    template = model.head.v_template
    pairs = [template + 1e-3 * torch.randn(_BATCH, *template.shape, generator=generator) for _ in range(2)]
    source, target = (p.to(model.template.device) for p in pairs)

    def find(count: int) -> object:
        return model.between(model.points(source[:count]), model.points(target[:count]))

    one, many = _times(lambda: find(1), source), _times(lambda: find(_BATCH), source)
    return {
        "model": name,
        "device": str(source.device),
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
        "one pair": {"wall ms": one[0], "computing ms": one[1]},
        "batch of 256": {"wall ms": many[0], "computing ms": many[1]},
        "pairs a second": {"by the wall clock": 1e3 * _BATCH / many[0], "computing": 1e3 * _BATCH / many[1]},
    }


def _times(call: Callable[[], object], where: torch.Tensor) -> tuple[float, float]:
    walls, busy = [], []
    for number in range(_REPEATS + 3):
        begin, computing = time.perf_counter(), time.process_time()
        call()
        if where.is_cuda:
            torch.cuda.synchronize(where.device)
        if number >= 3:
            walls.append(1e3 * (time.perf_counter() - begin))
            busy.append(1e3 * (time.process_time() - computing))
    return statistics.median(walls), statistics.median(busy)
