"""Errors of reconstructed meshes in millimetres."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from facezoo.errors import InputError
from facezoo.metrics.mean import MeanOverFaces


class MeanVertexError(MeanOverFaces):
    """MVE in millimetres: mean distance of corresponding vertices in camera space, over a region of the head.

    The thesis evaluates it over the face (the dense set) and over the head without neck. Depth and scale are
    ambiguous in one image, so by default the centroids of the region are brought together first.

    Args:
        vertices: (R,) vertex ids of the region; None takes all.
        align: ``"translation"`` or ``"none"``.
    """

    def __init__(self, vertices: Tensor | None = None, align: str = "translation", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if align not in ("translation", "none"):
            raise InputError(f"align={align!r}; expected 'translation' or 'none'")
        self.align = align
        self.register_buffer("vertices", vertices, persistent=False)

    def update(self, vertices: Tensor, target: Tensor) -> None:
        """Add faces: vertices and target (B, V, 3) in metres, in the same frame."""
        if vertices.shape != target.shape or vertices.dim() != 3 or vertices.shape[-1] != 3:
            raise InputError(
                f"vertices {tuple(vertices.shape)} and target {tuple(target.shape)} must both be (B, V, 3)"
            )
        if self.vertices is not None:
            ids = torch.as_tensor(self.vertices)
            vertices, target = vertices[:, ids], target[:, ids]
        error = vertices.float() - target.float()
        if self.align == "translation":
            error = error - error.mean(1, keepdim=True)
        self.add(error.norm(dim=-1).mean(1) * 1000)
