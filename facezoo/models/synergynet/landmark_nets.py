"""The two networks over 68 points: refine them with what the image says, and read 3DMM parameters back from them.

Both are shared point-wise layers and a maximum over the points (PointNet, Qi et al. 2017). The released code ends
both in batch norm and ReLU, so that corrections and parameters can only be positive; ``official`` repeats that. The
clean refinement is also told which landmark a point is (its place on the mean head), which the released one has to
guess.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facezoo.models.synergynet.config import SynergyConfig

# The correction is this share of the output: of a pixel in the released code, of the crop's side in the clean one.
STEP = 0.05


class PointLayer(nn.Module):
    """A linear map of every point, batch norm, ReLU; the last two can be left out."""

    def __init__(self, channels_in: int, channels_out: int, activate: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels_in, channels_out, 1)
        self.norm = nn.BatchNorm1d(channels_out) if activate else None

    def forward(self, x: Tensor, shared: Tensor | None = None) -> Tensor:
        """Map (B, Cin, N) to (B, Cout, N).

        Args:
            x: features of each point.
            shared: (B, C) features that all points have in common; they come after those of ``x``, and their product is
                computed once a face.
        """
        if shared is None:
            x = self.conv(x)
        else:
            own = x.shape[1]
            weight = self.conv.weight
            common = F.linear(shared, weight[:, own:, 0], self.conv.bias)
            x = F.conv1d(x, weight[:, :own]) + common[:, :, None]
        return x if self.norm is None else F.relu(self.norm(x))


def _stack(widths: list[int], last: bool = True) -> nn.Sequential:
    pairs = list(itertools.pairwise(widths))
    return nn.Sequential(*(PointLayer(a, b, last or i < len(pairs) - 1) for i, (a, b) in enumerate(pairs)))


class LandmarkRefiner(nn.Module):
    """Correct landmarks with point, global, image, shape and expression features (the paper's MAFA)."""

    places: Tensor

    def __init__(self, config: SynergyConfig, image_features: int, places: Tensor) -> None:
        """Build the network.

        Args:
            config: widths, and which version.
            image_features: size of the pooled image feature.
            places: (68, 3) landmarks of the mean head in numbers of order one.
        """
        super().__init__()
        self.official = config.official
        outputs = 5 if config.contour else 3
        self.register_buffer("places", places.mT[None], persistent=False)
        self.local = _stack([3 if self.official else 6, 64, 64])
        self.whole = _stack([64, 64, 128, config.point_channels])
        merged = 64 + config.point_channels + image_features + config.shape_rank + config.expression_rank
        self.merge = _stack([merged, *config.merge_channels, outputs], self.official)
        if not self.official:  # start without a correction
            last = self.merge[-1]
            assert isinstance(last, PointLayer) and last.conv.bias is not None
            nn.init.zeros_(last.conv.weight)
            nn.init.zeros_(last.conv.bias)

    def forward(self, points: Tensor, image: Tensor, shape: Tensor, expression: Tensor) -> Tensor:
        """Return corrections (B, N, 3), before :data:`STEP`; with contour (B, N, 5), two more from the corrected point.

        Args:
            points: (B, N, 3) landmarks.
            image: (B, F) pooled image feature.
            shape, expression: (B, S), (B, E) whitened codes.
        """
        x = points.mT
        if not self.official:
            x = torch.cat([x, self.places.expand(x.shape[0], -1, -1)], 1)
        local = self.local(x)
        shared = torch.cat([self.whole(local).amax(2), image, shape, expression], 1)
        x = self.merge[0](local, shared)
        for layer in self.merge[1:]:
            x = layer(x)
        return x.mT


class LandmarksToParams(nn.Module):
    """Read whitened 3DMM parameters back from landmarks: the paper's reverse direction."""

    def __init__(self, config: SynergyConfig) -> None:
        super().__init__()
        self.points = _stack([3, 64, 64, 64, 128, config.point_channels])
        self.heads = nn.ModuleList(
            PointLayer(config.point_channels, size, config.official) for size in config.sizes
        )

    def forward(self, points: Tensor) -> Tensor:
        """Map (B, N, 3) to (B, P)."""
        feature = self.points(points.mT).amax(2, keepdim=True)
        return torch.cat([head(feature) for head in self.heads], 1).squeeze(2)
