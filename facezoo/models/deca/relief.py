"""True relief of the skin: which texels a picture shows, how steep a map is, and what its differences cost."""

from __future__ import annotations

import torch
from scipy.spatial import cKDTree
from torch import Tensor, nn
from torch.nn import functional as F

from facezoo.data.augment import CropBatch
from facezoo.errors import InputError
from facezoo.heads import HeadModel
from facezoo.models.deca.uv_detail import UvSurface

UNSEEN = 0.3  # what a texel counts that the picture does not show: the hidden side is the person's too
_LEAST_STEP = 5e-4  # metres; where the layout folds, neighbouring texels are nearer and slopes mean nothing
_MILLIMETRES = 1000.0
_DEPTH = 0.3  # millimetres: errors below count by their square
_STEEP = 0.1  # the same for slopes


class SkinTexels(nn.Module):
    """The texels of a head's face: who sees them and how large they are; no checkpoint carries it."""

    skin: Tensor
    nearest: Tensor
    across: Tensor
    down: Tensor

    def __init__(self, head: HeadModel, surface: UvSurface, points: Tensor | None) -> None:
        """Measure the mean head.

        Args:
            head: the head.
            surface: its texture layout.
            points: (L,) vertices whose visibility the data tells, or None where it tells nothing.
        """
        super().__init__()
        with torch.no_grad():
            position, _ = surface.maps(head.v_template[None].to(surface.mask))
        skin = (surface.mask > 0.5) & (surface.face_index >= 0)
        nearest = torch.zeros(skin.shape[-2:], dtype=torch.long)
        if points is not None:
            tree = cKDTree(head.v_template[points].cpu().numpy())
            found = tree.query(position[0].permute(1, 2, 0)[skin[0, 0]].cpu().numpy())[1]
            nearest[skin[0, 0].cpu()] = torch.from_numpy(found)
        self.labelled = points is not None
        for name, value in (
            ("skin", skin.float()),
            ("nearest", nearest),
            ("across", (position[..., :, 1:] - position[..., :, :-1]).norm(dim=1, keepdim=True)),
            ("down", (position[..., 1:, :] - position[..., :-1, :]).norm(dim=1, keepdim=True)),
        ):
            self.register_buffer(name, value.to(surface.mask.device), persistent=False)

    def seen(self, visible: Tensor) -> Tensor:
        """Return which texels a picture shows (B, 1, H, W), from the visibility of the points (B, L)."""
        if not self.labelled:
            return self.skin.expand(len(visible), -1, -1, -1)
        return visible.to(self.skin)[:, self.nearest].unsqueeze(1) * self.skin

    def slopes(self, displacement: Tensor) -> tuple[Tensor, Tensor]:
        """Return rise over run of a map (B, 1, H, W), metres, between neighbours in a row and in a column."""
        across, down = self.across.clamp_min(_LEAST_STEP), self.down.clamp_min(_LEAST_STEP)
        return displacement.diff(dim=-1) / across, displacement.diff(dim=-2) / down

    def losses(self, displacement: Tensor, truth: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Compare reliefs: wrinkles are slopes rather than heights, so both count.

        Args:
            displacement, truth: (B, 1, H, W) metres.
            weight: (B, 1, H, W) of texels.

        Returns:
            Robust mean errors of height, in millimetres, and of slope.
        """
        height = _robust((displacement - truth) * _MILLIMETRES, weight, _DEPTH)
        across, down = self.slopes(displacement - truth)
        pairs = weight[..., 1:] * weight[..., :-1], weight[..., 1:, :] * weight[..., :-1, :]
        return height, _robust(across, pairs[0], _STEEP) + _robust(down, pairs[1], _STEEP)

    def weights(self, visible: Tensor, known: Tensor) -> Tensor:
        """Return what each texel counts (B, 1, H, W): nothing off the face or without a label, less where unseen."""
        seen = self.seen(visible)
        return (seen + UNSEEN * (self.skin - seen)) * known.to(seen)[:, None, None, None]


def _robust(error: Tensor, weight: Tensor, beta: float) -> Tensor:
    loss = F.smooth_l1_loss(error, torch.zeros_like(error), beta=beta, reduction="none")
    return (loss * weight).sum() / weight.sum().clamp_min(1.0)


def resized(relief: Tensor, side: int) -> Tensor:
    """Return reliefs (B, 1, h, w) at another resolution, averaged where texels are lost."""
    if relief.shape[-2:] == (side, side):
        return relief
    smaller = side < relief.shape[-1]
    return F.interpolate(relief, size=(side, side), mode="bilinear", align_corners=False, antialias=smaller)


def true_relief(batch: CropBatch, side: int) -> Tensor:
    """Return the true displacements (B, 1, side, side) of a batch, metres.

    Raises:
        InputError: the data has none.
    """
    if not batch.displacement.shape[-1]:
        raise InputError(
            "loss.label_displacement, loss.label_slopes and model.detail_rank need data with relief, which this has "
            "not; render some with `python -m facezoo.synth shards FOLDER --relief`, or set them to 0."
        )
    return resized(batch.displacement, side)


@torch.no_grad()
def relief_normals(surface: UvSurface, vertices: Tensor, displacement: Tensor) -> Tensor:
    """Return unit normals (B, 3, H, W) of heads (B, V, 3) under displacements (B, 1, H, W)."""
    position, normal = surface.maps(vertices)
    return surface.normals(surface.displace(position, normal, displacement), normal)
