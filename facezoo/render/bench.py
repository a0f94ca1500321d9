"""Measure the rasteriser: milliseconds an image, forwards and with gradients."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from facezoo.errors import AssetError
from facezoo.heads import load_head
from facezoo.render.rasterizer import rasterize

_DISTANCE = 0.7  # metres from the camera to the middle of the head
_FILL = 0.85  # share of the image's side the head's longer side takes


def bench_render(
    batch: int = 16,
    size: int = 256,
    threads: int | None = 2,
    repeats: int = 10,
    device: str | torch.device = "cpu",
) -> dict[str, Any]:
    """Time `rasterize` on a batch of heads turned from -45 to 45 degrees.

    The mesh is the open head when it is installed, else a closed ellipsoid with as many faces (9,976). Times are the
    best of `repeats` runs, as whatever else the machine does can only add to them; `cpu_ms` is the processor time of
    the cheapest run, summed over threads.

    Args:
        batch: images a call.
        size: side of the image in pixels.
        threads: torch threads during the measurement; None leaves the setting alone.
        repeats: timed runs after two that are not.
        device: where to draw.

    Returns:
        Settings (`mesh`, `faces`, `batch`, `size`, `device`, `threads`, `torch`, `coverage` = share of pixels hit) and
        results, each in milliseconds an image: `forward_ms`, `forward_cpu_ms`, `culled_ms` (back faces dropped),
        `forward_backward_ms`, `backward_ms`; and `images_per_second` (forward).
    """
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        name, vertices, faces = _mesh()
        screen = _turned(vertices, batch, size).to(device)
        faces = faces.to(device)
        leaf = screen.clone().requires_grad_()
        fragments = rasterize(screen, faces, (size, size))
        up = torch.ones_like(fragments.bary), torch.ones_like(fragments.depth)

        def forward_backward() -> None:
            seen = rasterize(leaf, faces, (size, size))
            torch.autograd.grad((seen.bary, seen.depth), leaf, up)

        forward, cpu = _best(lambda: rasterize(screen, faces, (size, size)), repeats, screen)
        culled, _ = _best(
            lambda: rasterize(screen, faces, (size, size), cull_backfaces=True), repeats, screen
        )
        both, _ = _best(forward_backward, repeats, screen)
        each = 1000 / batch
        return {
            "mesh": name,
            "faces": faces.shape[0],
            "batch": batch,
            "size": size,
            "device": torch.cuda.get_device_name(screen.device)
            if screen.is_cuda
            else platform.processor() or "cpu",
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "coverage": round((fragments.face_index >= 0).float().mean().item(), 3),
            "forward_ms": forward * each,
            "forward_cpu_ms": cpu * each,
            "culled_ms": culled * each,
            "forward_backward_ms": both * each,
            "backward_ms": (both - forward) * each,
            "images_per_second": batch / forward,
        }
    finally:
        torch.set_num_threads(before)


def _best(run: Callable[[], object], repeats: int, where: Tensor) -> tuple[float, float]:
    """Shortest wall time and smallest processor time of a call, in seconds."""
    wall, cpu = math.inf, math.inf
    for turn in range(repeats + 2):
        if where.is_cuda:
            torch.cuda.synchronize(where.device)
        start, start_cpu = time.perf_counter(), time.process_time()
        run()
        if where.is_cuda:
            torch.cuda.synchronize(where.device)
        if turn >= 2:
            wall = min(wall, time.perf_counter() - start)
            cpu = min(cpu, time.process_time() - start_cpu)
    return wall, cpu


def _mesh() -> tuple[str, Tensor, Tensor]:
    try:
        head = load_head("open-v1")
    except AssetError:
        return "ellipsoid", *ellipsoid()
    return "open-v1", head.v_template, head.topology.faces


def _turned(vertices: Tensor, batch: int, size: int) -> Tensor:
    """Put the mesh (V, 3) before a camera, turned about its upright axis; (B, V, 3) pixels and depth."""
    yaw = torch.linspace(-math.pi / 4, math.pi / 4, batch)
    vertices = vertices - (vertices.amax(0) + vertices.amin(0)) / 2
    x, y, z = vertices.unbind(-1)
    cos, sin = yaw.cos().unsqueeze(1), yaw.sin().unsqueeze(1)
    depth = _DISTANCE - (cos * z - sin * x)  # the camera looks along -z of the head, with y down
    focal = _FILL * size * _DISTANCE / (2 * vertices[:, :2].abs().amax())
    across, down = cos * x + sin * z, (-y).expand(batch, -1)
    return torch.stack((focal * across / depth + size / 2, focal * down / depth + size / 2, depth), -1)


def ellipsoid(around: int = 58, bands: int = 87) -> tuple[Tensor, Tensor]:
    """Build a closed ellipsoid the size of a head: vertices (V, 3) in metres, faces (2 * around * (bands - 1), 3)."""
    polar = torch.arange(1, bands).unsqueeze(1) * math.pi / bands
    azimuth = torch.arange(around) * 2 * math.pi / around
    ring = torch.stack(
        (polar.sin() * azimuth.sin(), polar.cos().expand(-1, around), polar.sin() * azimuth.cos()), -1
    )
    pole = torch.tensor([[0.0, 1.0, 0.0]])
    vertices = torch.cat((pole, ring.view(-1, 3), -pole)) * torch.tensor([0.075, 0.12, 0.1])
    here = torch.arange(around)
    there = (here + 1) % around
    row = (torch.arange(bands - 2) * around + 1).unsqueeze(1)
    a, b, c, d = row + here, row + there, row + around + here, row + around + there
    last, bottom = 1 + (bands - 2) * around, vertices.shape[0] - 1
    faces = torch.cat(
        (
            torch.stack((torch.zeros_like(here), 1 + here, 1 + there), -1),
            torch.stack((a, c, b), -1).view(-1, 3),
            torch.stack((b, c, d), -1).view(-1, 3),
            torch.stack((last + here, torch.full_like(here, bottom), last + there), -1),
        )
    )
    return vertices, faces
