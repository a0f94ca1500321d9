"""Every texel's own reading of the picture: which way the features around a place say that it is wrong."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facezoo.models.flowface.raft import sample

_GAIN = 0.1  # keeps the step of an optimiser small beside the hundreds of features that are summed


class TexelReader(nn.Module):
    """A linear regression for each texel from the 3×3 features around where it points to where it should.

    The recurrent unit's weights are the same for all texels, and what an eye's corner needs is not what a chin needs;
    cascades of such regressions aligned faces before networks did (supervised descent, Xiong & De la Torre 2013).
    """

    around: Tensor

    def __init__(self, texels: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(texels, 9 * features, 2))
        steps = torch.arange(-1.0, 2.0)
        self.register_buffer(
            "around", torch.cartesian_prod(steps, steps).mT.reshape(1, 2, 1, 9), persistent=False
        )

    def forward(self, features: Tensor, coords: Tensor) -> Tensor:
        """Read features (B, D, H, W) around ``coords`` (B, 2, U, V) in cells: offsets (B, 2, U, V) in cells."""
        b, _, u, v = coords.shape
        seen = sample(features, coords.flatten(2)[..., None] + self.around)  # (B, D, U V, 9)
        seen = seen.permute(2, 0, 3, 1).flatten(2)
        return _GAIN * (seen @ self.weight).permute(1, 2, 0).reshape(b, 2, u, v)
