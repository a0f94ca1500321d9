"""Which rasteriser draws: the protocol they share, and the choice by name."""

from __future__ import annotations

import importlib.util
from typing import Protocol

from torch import Tensor

from facezoo.errors import InputError, unknown_name
from facezoo.render.rasterizer import Fragments, rasterize

BACKENDS = ("auto", "torch", "pytorch3d")


class Rasterizer(Protocol):
    """What `rasterize` promises: same arguments, same fragments, gradients through barycentrics and depth."""

    def __call__(
        self, vertices_screen: Tensor, faces: Tensor, size: tuple[int, int], cull_backfaces: bool = False
    ) -> Fragments:
        """Find the nearest face of each pixel."""
        ...


def choose_rasterizer(name: str = "auto") -> Rasterizer:
    """Find a rasteriser by name.

    Args:
        name: "torch", ours; "pytorch3d", when that package is installed; "auto", which is "torch" everywhere: it
            needs no build step, gives the same bits on every run, and on a CPU is hundreds of times as fast.

    Raises:
        UnknownNameError: for any other name.
        InputError: when pytorch3d is asked for and not installed.
    """
    if name not in BACKENDS:
        raise unknown_name("rasteriser", name, BACKENDS)
    if name != "pytorch3d":
        return rasterize
    if importlib.util.find_spec("pytorch3d") is None:
        raise InputError(
            "the pytorch3d rasteriser was asked for but pytorch3d is not installed: build it from source with"
            " pip install 'git+https://github.com/facebookresearch/pytorch3d.git', or use rasterizer='torch'."
        )
    from facezoo.render.pytorch3d import rasterize_pytorch3d

    return rasterize_pytorch3d
