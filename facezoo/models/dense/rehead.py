"""What a dense network takes over from one of other sizes: rows of shared vertices and components, layers that fit."""

from __future__ import annotations

import torch
from torch import Tensor

from facezoo.heads import load_head
from facezoo.models.dense.config import DenseConfig
from facezoo.models.dense.net import LANDMARKS, DenseNet

# What another mesh or another way down its levels changes.
_LEVELS = ("spiral_factors", "spiral_length")
_SCALES = ("scales", "scale_basis", "scale_coefficients")
# Tensors that multiply the features in front of the outputs.
_READERS = (
    "decoder.coefficients.", "decoder.scale_coefficients.", "decoder.coordinates.weight", "decoder.scales.weight",
    "mesh_decoder.expand.", "params.weight", "params.bias",
)  # fmt: skip


def inherit(name: str, own: Tensor, given: Tensor, net: DenseNet, parent: DenseNet) -> Tensor | None:
    """Return the new value of a tensor of ``net``: ``given``, rows of it, or None to keep ``own``.

    Args:
        name: in the state dict of both networks.
        own: its value in ``net``.
        given: its value in ``parent``.
        net: the network that inherits.
        parent: the network whose weights are inherited.
    """
    config, before = net.config, parent.config
    if name.startswith(_READERS) and not _same_features(net, parent):
        return None
    outputs = name.startswith(("decoder.", "mesh_", "params"))
    if outputs and config.head != before.head:
        return None
    if name.startswith("params"):
        return _by_parts(own, given, net.sizes, parent.sizes)
    if name.startswith(("decoder.", "mesh_")):
        if config.decoder != before.decoder or (_about_scale(name) and _scale(config) != _scale(before)):
            return None
        if name.startswith("mesh_decoder."):
            return _level(name, own, given, config, before)
        layer = name.split(".")[1] if name.startswith("decoder.") else name
        if layer in ("coordinates", "basis"):
            return _rows(own, given, 2, config, before)
        if layer in ("scales", "scale_basis"):
            return _rows(own, given, config.scale_channels, config, before)
        if layer in ("mesh_mean", "mesh_raw_scale"):
            return _mix(given, config, before)
    return given if given.shape == own.shape else None


def surface_map(head: str, parent_points: int, points: int) -> tuple[Tensor, Tensor]:
    """Say how a subset's vertices are made of another's.

    Args:
        head: name of the head that both subsets belong to.
        parent_points: size of the subset that values are known for.
        points: size of the subset that wants values.

    Returns:
        Positions (L, 3) in the known subset and weights (L, 3) that sum to one: the vertex itself where both have it,
        else the three nearest, weighted by inverse distance on the mean shape.
    """
    model = load_head(head)
    old, new = model.topology.subset(parent_points), model.topology.subset(points)
    exact = "donot_use_mm_for_euclid_dist"  # the fast form loses the small differences
    distance = torch.cdist(model.v_template[new], model.v_template[old], compute_mode=exact)
    distance, index = distance.topk(3, largest=False)
    inverse = 1 / distance.clamp_min(1e-9)
    shared = old[index] == new[:, None]
    weight = torch.where(shared.any(1, keepdim=True), shared.float(), inverse / inverse.sum(1, keepdim=True))
    return index, weight


def _same_features(net: DenseNet, parent: DenseNet) -> bool:
    a, b = net.config, parent.config
    return (net.features.size, a.pooling, a.hidden) == (parent.features.size, b.pooling, b.hidden)


def _scale(config: DenseConfig) -> tuple[str, int]:
    return config.scale, config.scale_channels


def _about_scale(name: str) -> bool:
    # the last spiral convolution gives coordinates and scales in one
    return name.startswith((*(f"decoder.{s}." for s in _SCALES), "mesh_raw", "mesh_decoder.last"))


def _rows(
    own: Tensor, given: Tensor, channels: int, config: DenseConfig, before: DenseConfig
) -> Tensor | None:
    """Pick the rows of a decoder's last layer: dense points first, then the 2 x 68 landmarks."""
    if given.shape[1:] != own.shape[1:]:
        return None
    rows = given.unflatten(0, (-1, channels))
    first = len(rows) - 2 * LANDMARKS
    if not first or config.points == before.points:  # no dense points here: the spiral branch makes them
        return given
    return torch.cat([_mix(rows[:first], config, before), rows[first:]]).flatten(0, 1)


def _mix(rows: Tensor, config: DenseConfig, before: DenseConfig) -> Tensor:
    """Make rows (L, ...) of a subset from those of another."""
    if config.points == before.points:
        return rows
    index, weight = surface_map(config.head, before.points, config.points)
    return (rows[index] * weight.to(rows).view(*weight.shape, *[1] * (rows.dim() - 1))).sum(1)


def _by_parts(own: Tensor, given: Tensor, sizes: list[int], before: list[int]) -> Tensor | None:
    """Take over the components that both have of identity, expression, jaw, rotation and placement."""
    if given.shape[1:] != own.shape[1:]:
        return None
    if sizes == before:
        return given
    parts = []
    for mine, theirs in zip(own.split(sizes), given.split(before), strict=True):
        count = min(len(mine), len(theirs))
        parts.append(torch.cat([theirs[:count], mine[count:]]))
    return torch.cat(parts)


def _level(name: str, own: Tensor, given: Tensor, config: DenseConfig, before: DenseConfig) -> Tensor | None:
    """Take over spiral layers; a convolution is the same for all vertices, the tables belong to one mesh."""
    if given.shape != own.shape or any(getattr(config, f) != getattr(before, f) for f in _LEVELS):
        return None
    return given if config.points == before.points or ".layer." in name else None
