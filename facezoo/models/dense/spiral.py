"""SpiralNet++ decoder: from a feature vector to per-vertex values on a mesh, coarse to fine.

Source: Gong et al. 2019, "SpiralNet++"; parity pack ``spiral``. The index tables are stored with the weights, because
the order of a ring depends on the mesh's connectivity and on the library that walked it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facezoo.errors import InputError


class SpiralLevels(NamedTuple):
    """Tables of a mesh hierarchy from fine to coarse.

    Attributes:
        spirals: one (V_i, L) table of neighbour indices a level; the coarsest level of the hierarchy has none.
        up_index: (V_i, 3) coarse vertices that each fine vertex interpolates.
        up_weight: (V_i, 3) their weights; zero where fewer than three are used.
    """

    spirals: list[Tensor]
    up_index: list[Tensor]
    up_weight: list[Tensor]


class SpiralConv(nn.Module):
    """Gather each vertex' spiral, concatenate the features, apply one linear layer."""

    indices: Tensor

    def __init__(self, channels_in: int, channels_out: int, indices: Tensor) -> None:
        super().__init__()
        self.register_buffer("indices", indices.long().clone())  # a table may serve two layers
        self.layer = nn.Linear(channels_in * indices.shape[1], channels_out)
        nn.init.xavier_uniform_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map vertex features (B, V, Cin) to (B, V, Cout)."""
        vertices, length = self.indices.shape
        if x.shape[-2] != vertices:
            raise InputError(f"features have {x.shape[-2]} vertices; the spiral table has {vertices}")
        gathered = x.index_select(-2, self.indices.flatten())
        return self.layer(gathered.reshape(*x.shape[:-2], vertices, length * x.shape[-1]))


class MeshUpsample(nn.Module):
    """Interpolate features of a coarse mesh at the vertices of a finer one."""

    index: Tensor
    weight: Tensor

    def __init__(self, index: Tensor, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index.long())
        self.register_buffer("weight", weight.float())

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, V_coarse, C) to (B, V_fine, C)."""
        corners = x.index_select(-2, self.index.flatten()).unflatten(-2, self.index.shape)
        return (corners * self.weight.to(x.dtype).unsqueeze(-1)).sum(-2)


class SpiralDecoder(nn.Module):
    """Linear to the coarsest mesh, then (upsample, spiral convolution, ELU) a level, then a last convolution."""

    def __init__(
        self, features: int, channels: Sequence[int], channels_out: int, levels: SpiralLevels, coarsest: int
    ) -> None:
        """Build the decoder.

        Args:
            features: size of the input vector.
            channels: channels from the coarsest level to the finest, one more than there are levels.
            channels_out: values per vertex of the result.
            levels: tables from fine to coarse.
            coarsest: vertices of the coarsest mesh.
        """
        super().__init__()
        if len(channels) != len(levels.spirals) + 1:
            raise InputError(
                f"{len(channels)} channel counts for {len(levels.spirals)} mesh levels; one more is needed"
            )
        self.coarsest, self.width = coarsest, channels[0]
        self.expand = nn.Linear(features, coarsest * channels[0])
        nn.init.xavier_uniform_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)
        order = list(reversed(range(len(levels.spirals))))
        self.up = nn.ModuleList(MeshUpsample(levels.up_index[i], levels.up_weight[i]) for i in order)
        self.convs = nn.ModuleList(
            SpiralConv(channels[n], channels[n + 1], levels.spirals[i]) for n, i in enumerate(order)
        )
        self.last = SpiralConv(channels[-1], channels_out, levels.spirals[0])

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, features) to (B, V, channels_out)."""
        x = self.expand(features).view(features.shape[0], self.coarsest, self.width)
        for up, conv in zip(self.up, self.convs, strict=True):
            x = F.elu(conv(up(x)))
        return self.last(x)


def empty_levels(sizes: Sequence[int], length: int) -> SpiralLevels:
    """Return zero tables of the right shapes, to be filled by a checkpoint (``sizes`` from fine to coarse)."""
    fine = list(sizes[:-1])
    return SpiralLevels(
        [torch.zeros(v, length, dtype=torch.long) for v in fine],
        [torch.zeros(v, 3, dtype=torch.long) for v in fine],
        [torch.zeros(v, 3) for v in fine],
    )


def level_sizes(points: int, factors: Sequence[int]) -> list[int]:
    """Return the vertex counts of the hierarchy from fine to coarse, ⌈V / factor⌉ each."""
    sizes = [points]
    for factor in factors:
        sizes.append(-(-sizes[-1] // factor))
    return sizes
