"""The network: shared features of both meshes, then a regressor; plain tensors in, a twist-free 6D pose out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facezoo.geometry import matrix_from_6d
from facezoo.models.stabilizer.config import StabilizerConfig
from facezoo.models.stabilizer.rigid import RigidTransform

UNIT = 0.01  # metres: what network inputs and translations are counted in
_TURN = 0.1  # radians: what the rows of a rotation are counted in
_STILL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # two rows of the identity


class StabilizerOutput(NamedTuple):
    """Rigid motions about the middle of the template: rotations (B, 3, 3), translations (B, 3) in metres.

    Attributes:
        R, t: from source to target.
        back_R, back_t: from target to source.
    """

    R: Tensor
    t: Tensor
    back_R: Tensor
    back_t: Tensor

    def motion(self, middle: Tensor, symmetric: bool) -> RigidTransform:
        """Return the motion of the aligned source.

        Args:
            middle: (3,) of the template.
            symmetric: go half way from the motion to the inverse of the motion back.
        """
        forth = RigidTransform(self.R, self.t)
        if symmetric:
            # Half way to the inverse of the motion back.
            forth = forth @ (RigidTransform(self.back_R, self.back_t) @ forth).half().inverse()
        middle = middle.to(forth.t)
        return RigidTransform(forth.R, forth.t + middle - forth.R @ middle)


class SpiralLayer(nn.Module):
    """Concatenate the features along each vertex' spiral and map them linearly (Gong et al. 2019)."""

    def __init__(self, channels_in: int, channels_out: int, length: int) -> None:
        super().__init__()
        self.layer = nn.Linear(channels_in * length, channels_out)

    def forward(self, x: Tensor, spirals: Tensor) -> Tensor:
        """Map (B, n, Cin) to (B, n, Cout); ``spirals`` is (n, length)."""
        return self.layer(x[:, spirals.flatten()].view(x.shape[0], len(spirals), -1))


class Features(nn.Module):
    """Features of one mesh, the same weights for source and target."""

    spirals: Tensor

    def __init__(self, config: StabilizerConfig) -> None:
        super().__init__()
        size = 3 * config.points
        self.linear = nn.Linear(size, config.linear) if config.linear else None
        self.convolutions = nn.ModuleList()
        if config.extractor == "spiral":
            channels = [3, *config.spiral_channels]
            pairs = itertools.pairwise(channels)
            self.convolutions.extend(SpiralLayer(a, b, config.spiral_length) for a, b in pairs)
            self.register_buffer(
                "spirals", torch.zeros(config.points, config.spiral_length, dtype=torch.long)
            )
            size = channels[-1] * config.points
        self.layers = _stack(size, config.widths)
        self.size = config.linear + config.widths[-1]

    def forward(self, flat: Tensor) -> Tensor:
        """Map coordinates (B, 3 n), offsets from the template in :data:`UNIT`, all x first, to features (B, size)."""
        x = flat
        if self.convolutions:
            x = flat.unflatten(1, (3, -1)).mT
            for convolution in self.convolutions:
                x = F.elu(convolution(x, self.spirals))
            x = x.flatten(1)
        deep = self.layers(x)
        return deep if self.linear is None else torch.cat([self.linear(flat), deep], 1)


class StabilizerNet(nn.Module):
    """Features of both meshes, then rotation (6D) and translation, added to a linear estimate from their difference.

    The identity before training. The linear estimate is fixed: :mod:`~facezoo.models.stabilizer.ridge` finds it in
    closed form before the first step, and the network learns what is left.

    Attributes:
        ridge: (9, 3 n) from differences of coordinates to poses.
    """

    ridge: Tensor
    still: Tensor

    def __init__(self, config: StabilizerConfig) -> None:
        super().__init__()
        self.features = Features(config)
        size = 2 * self.features.size
        self.hidden = _stack(size, config.hidden)
        self.pose = nn.Linear(config.hidden[-1], 9)
        self.direct = nn.Linear(size, 9, bias=False)  # small motions are nearly linear in the points
        for layer in (self.pose, self.direct):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.pose.bias)
        self.register_buffer("ridge", torch.zeros(9, 3 * config.points))
        self.register_buffer("still", torch.tensor(_STILL), persistent=False)

    def forward(self, target: Tensor, source: Tensor) -> StabilizerOutput:
        """Estimate the motions from source to target and back.

        Args:
            target: (B, n, 3) offsets from the template in :data:`UNIT`.
            source: (B, n, 3).
        """
        count = target.shape[0]  # len() would fix the batch size of an exported graph
        flat = torch.cat([target.mT, source.mT]).flatten(1)
        # A mesh's features and linear part, and the other mesh's.
        mine = torch.cat([self.features(flat), F.linear(flat, self.ridge)], 1)
        other = torch.cat([mine[count:], mine[:count]])
        both = torch.cat([mine[:, :-9], other[:, :-9]], 1)
        pose = self.pose(self.hidden(both)) + self.direct(both) + (mine - other)[:, -9:]
        rows = _TURN * pose[:, :6] + self.still
        R, t = matrix_from_6d(rows), UNIT * pose[:, 6:]
        return StabilizerOutput(R[:count], t[:count], R[count:], t[count:])


def encode(motion: RigidTransform, middle: Tensor) -> Tensor:
    """Return the poses (B, 9), as the last layer gives them, of motions that turn about ``middle`` (3,)."""
    turn = (motion.R[:, :2].flatten(1) - motion.R.new_tensor(_STILL)) / _TURN
    return torch.cat([turn, (motion.t - middle + motion.R @ middle) / UNIT], 1)


def _stack(size: int, widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(size, width), nn.GELU()]
        size = width
    return nn.Sequential(*layers)
