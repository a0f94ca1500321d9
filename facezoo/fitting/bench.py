"""Measure the fit: milliseconds a face by number of points, on synthetic observations of the open head."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from facezoo.errors import InputError
from facezoo.fitting.fit import fit
from facezoo.geometry.camera import Camera
from facezoo.geometry.rotations import euler_to_matrix
from facezoo.heads import HeadModel, HeadParams, load_head

_SUBSETS = (1609, 805, 403, 202, 101)
_IMAGE = (480, 640)
_FACES = 16  # different faces the timings run over: some need more steps than others


@torch.no_grad()
def bench_fit(
    subsets: Sequence[int] = _SUBSETS,
    batch: int = 1,
    threads: int | None = 2,
    repeats: int = 2,
    device: str | torch.device = "cpu",
    head: HeadModel | None = None,
    noise: float = 1.0,
) -> dict[str, Any]:
    """Time :func:`fit` with all unknowns on noisy projections of random faces, pose and shape unknown.

    Every face is fitted ``repeats`` times; the best of these counts, as whatever else the machine does can
    only add.

    Args:
        subsets: numbers of points, named subsets of the head.
        batch: faces a call.
        threads: torch threads during the measurement; None leaves the setting alone.
        repeats: timed runs of each face after one that is not.
        device: where to fit.
        head: default the open head.
        noise: standard deviation of the points in pixels; faces are about 150 pixels high.

    Returns:
        Settings (``head``, ``unknowns``, ``batch``, ``threads``, ...) and ``rows``, one a subset: ``ms`` a
        face (mean over faces), ``ms_warm`` from a solution of slightly different points, ``iterations`` and
        ``warm_iterations``, ``converged`` (share), ``rms_px`` (distance of points from projections),
        ``error_px`` (of projections from the noise-free points) and ``cost``.

    Raises:
        InputError: counts below one.
    """
    if batch < 1 or repeats < 1:
        raise InputError(f"batch and repeats must be at least 1, got {batch} and {repeats}.")
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        head = (head or load_head()).to(device)
        count = -(-_FACES // batch) * batch
        params, camera = _scene(head, count, torch.device(device))
        rows = [_measure(head, params, camera, size, batch, repeats, noise) for size in subsets]
    finally:
        torch.set_num_threads(before)
    pose = 6
    return {
        "head": head.head_id,
        "unknowns": head.n_identity + head.n_expression + 3 + pose,
        "identity": head.n_identity,
        "expression": head.n_expression,
        "jaw": 3,
        "pose": pose,
        "faces": count,
        "batch": batch,
        "noise_px": noise,
        "device": str(device),
        "threads": threads or before,
        "torch": torch.__version__,
        "machine": platform.processor() or platform.machine(),
        "rows": rows,
    }


def _scene(head: HeadModel, count: int, device: torch.device) -> tuple[HeadParams, Camera]:
    """Draw faces: identity from the prior, a few expressions at work, yaw to a half profile, arm's length away."""
    g = torch.Generator().manual_seed(0)
    active = torch.rand(count, head.n_expression, generator=g) < 0.15
    jaw = torch.randn(count, 3, generator=g) * head.params["jaw"].sigma.cpu()
    params = HeadParams(
        identity=torch.randn(count, head.n_identity, generator=g),
        expression=active * torch.rand(count, head.n_expression, generator=g),
        jaw=jaw * torch.tensor([1.0, 0.5, 0.5]),
    )
    yaw, pitch, roll = (torch.rand(3, count, generator=g) - 0.5) * torch.tensor([[1.6], [0.5], [0.5]])
    flip = torch.tensor([1.0, -1.0, -1.0])[:, None]
    shift = (torch.rand(count, 3, generator=g) - 0.5) * torch.tensor([0.2, 0.15, 0.3])
    camera = Camera(
        Camera.default_K(*_IMAGE).expand(count, 3, 3),
        flip * euler_to_matrix(yaw, pitch, roll),
        shift + torch.tensor([0.0, 0.0, 0.8]),
        _IMAGE,
    )
    return params.to(device), camera.to(device)


def _measure(
    head: HeadModel, params: HeadParams, camera: Camera, size: int, batch: int, repeats: int, noise: float
) -> dict[str, Any]:
    """Fit every face from ``size`` points, cold and from a neighbouring solution."""
    ids = head.topology.subset(size)
    true = camera.project(head(params, ids).vertices)
    g = torch.Generator().manual_seed(size)
    seen = true + noise * torch.randn(true.shape, generator=g).to(true)
    other = true + noise * torch.randn(true.shape, generator=g).to(true)
    runs: list[dict[str, Tensor | float]] = []
    for start in range(0, len(seen), batch):
        part = slice(start, start + batch)
        cold, now = _best(partial(fit, head, seen[part], noise, ids, camera.K[part]), repeats, seen.device)
        state = cold.state()
        warm, later = _best(
            partial(fit, head, other[part], noise, ids, camera.K[part], init=state),
            repeats,
            seen.device,
        )
        found = cold.camera(_IMAGE).project(head(cold.params, ids).vertices)
        runs.append(
            {
                "ms": now / batch,
                "ms_warm": later / batch,
                "iterations": cold.iterations.float(),
                "warm_iterations": warm.iterations.float(),
                "converged": cold.converged.float(),
                "rms_px": cold.rms,
                "error_px": (found - true[part]).square().sum(-1).mean(-1).sqrt(),
                "cost": cold.cost,
            }
        )
    mean = {
        name: float(torch.stack([torch.as_tensor(r[name]).mean() for r in runs]).mean()) for name in runs[0]
    }
    return {"points": size, **mean}


def _best(call: Callable[[], Any], repeats: int, device: torch.device) -> tuple[Any, float]:
    """Run ``call`` once without and ``repeats`` times with the clock; return its result and the least milliseconds."""
    result, least = call(), float("inf")
    for _ in range(repeats):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        result = call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        least = min(least, 1e3 * (time.perf_counter() - start))
    return result, least
