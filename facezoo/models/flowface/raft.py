"""The parts of RAFT (Teed & Deng 2020) that FlowFace iterates with; equal to torchvision's on the same weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_MASK_GAIN = 0.25  # the released code's: it keeps the mask's gradients small


def correlate(queries: Tensor, keys: Tensor, levels: int) -> list[Tensor]:
    """Compare every query with every key, and average over ever larger blocks of keys.

    Args:
        queries: (B, D, U, V).
        keys: (B, D, H, W).
        levels: of the pyramid.

    Returns:
        (B U V, 1, H / 2^l, W / 2^l) for each level l.
    """
    d, pyramid = keys.shape[1], []
    asked = queries.flatten(2).mT / d**0.5
    for level in range(levels):
        if level:
            keys = F.avg_pool2d(keys, 2, 2)  # the mean of products is the product with the mean
        pyramid.append((asked @ keys.flatten(2)).reshape(-1, 1, *keys.shape[2:]))
    return pyramid


def look_up(pyramid: list[Tensor], coords: Tensor, radius: int) -> Tensor:
    """Read a window of (2 radius + 1)² correlations around each coordinate at every level.

    Args:
        pyramid: of :func:`correlate`.
        coords: (B, 2, U, V) x, y in keys, centres at whole numbers.
        radius: half the window. Its first axis runs along x, as in the released code.

    Returns:
        (B, levels (2 radius + 1)², U, V).
    """
    b, _, u, v = coords.shape
    steps = torch.arange(-radius, radius + 1, dtype=coords.dtype, device=coords.device)
    offsets = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1)
    centre = coords.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2)
    found = []
    for level, volume in enumerate(pyramid):
        h, w = volume.shape[-2:]
        unit = 2 / centre.new_tensor([max(w - 1, 1), max(h - 1, 1)])
        grid = centre * (unit / 2**level) + (offsets * unit - 1)
        found.append(F.grid_sample(volume, grid, align_corners=True).view(b, u, v, -1))
    return torch.cat(found, -1).permute(0, 3, 1, 2)


def expect(volume: Tensor) -> tuple[Tensor, Tensor]:
    """Read correlations as a distribution over places (not in RAFT; as global matching does, Xu et al. 2022).

    Args:
        volume: (N, 1, H, W), the finest level of :func:`correlate`.

    Returns:
        Logarithms of the probabilities (N, H W), and the mean place (N, 2) x, y, centres at whole numbers.
    """
    h, w = volume.shape[-2:]
    log = volume.flatten(1).log_softmax(1)
    rows, columns = torch.meshgrid(
        torch.arange(h, dtype=log.dtype, device=log.device),
        torch.arange(w, dtype=log.dtype, device=log.device),
        indexing="ij",
    )
    return log, log.exp() @ torch.stack((columns.flatten(), rows.flatten()), 1)


def sample(features: Tensor, coords: Tensor) -> Tensor:
    """Read features (B, D, H, W) at ``coords`` (B, 2, U, V), as in :func:`look_up`: (B, D, U, V), zero outside."""
    h, w = features.shape[-2:]
    grid = coords.permute(0, 2, 3, 1) * (2 / coords.new_tensor([max(w - 1, 1), max(h - 1, 1)])) - 1
    return F.grid_sample(features, grid, align_corners=True)


class MotionEncoder(nn.Module):
    """Correlations and the flow they were read at, as features; the flow itself is kept as the last two."""

    def __init__(
        self,
        correlations: int,
        out: int,
        corr: tuple[int, int] = (256, 192),
        flow: tuple[int, int] = (128, 64),
    ) -> None:
        super().__init__()
        self.corr1 = nn.Conv2d(correlations, corr[0], 1)
        self.corr2 = nn.Conv2d(corr[0], corr[1], 3, padding=1)
        self.flow1 = nn.Conv2d(2, flow[0], 7, padding=3)
        self.flow2 = nn.Conv2d(flow[0], flow[1], 3, padding=1)
        self.join = nn.Conv2d(corr[1] + flow[1], out - 2, 3, padding=1)

    def forward(self, flow: Tensor, correlations: Tensor) -> Tensor:
        """Map (B, 2, U, V) and (B, C, U, V) to (B, out, U, V)."""
        seen = F.relu(self.corr2(F.relu(self.corr1(correlations))))
        moved = F.relu(self.flow2(F.relu(self.flow1(flow))))
        return torch.cat((F.relu(self.join(torch.cat((seen, moved), 1))), flow), 1)


class ConvGRU(nn.Module):
    """Gated recurrent unit of convolutions with one kernel shape."""

    def __init__(self, hidden: int, inputs: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.update = nn.Conv2d(hidden + inputs, hidden, kernel, padding=padding)
        self.reset = nn.Conv2d(hidden + inputs, hidden, kernel, padding=padding)
        self.fresh = nn.Conv2d(hidden + inputs, hidden, kernel, padding=padding)

    def forward(self, state: Tensor, x: Tensor) -> Tensor:
        """Return the next state (B, hidden, U, V)."""
        gates = torch.cat((self.update.weight, self.reset.weight))  # in one convolution, which is faster
        assert self.update.bias is not None and self.reset.bias is not None
        bias = torch.cat((self.update.bias, self.reset.bias))
        both = F.conv2d(torch.cat((state, x), 1), gates, bias, padding=self.update.padding)
        z, r = both.sigmoid().chunk(2, 1)
        return (1 - z) * state + z * self.fresh(torch.cat((r * state, x), 1)).tanh()


class SeparableGRU(nn.Module):
    """Two recurrent units, first along rows, then along columns."""

    def __init__(self, hidden: int, inputs: int) -> None:
        super().__init__()
        self.rows, self.columns = ConvGRU(hidden, inputs, (1, 5)), ConvGRU(hidden, inputs, (5, 1))

    def forward(self, state: Tensor, x: Tensor) -> Tensor:
        """Return the next state (B, hidden, U, V)."""
        return self.columns(self.rows(state, x), x)


class UpdateHead(nn.Module):
    """From the state to the update of the maps."""

    def __init__(self, hidden: int, width: int, out: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(hidden, width, 3, padding=1), nn.Conv2d(width, out, 3, padding=1)

    def forward(self, state: Tensor) -> Tensor:
        """Map (B, hidden, U, V) to (B, out, U, V)."""
        return self.last(F.relu(self.first(state)))


class MaskHead(nn.Module):
    """From the state to the weights of convex upsampling."""

    def __init__(self, hidden: int, width: int, factor: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(hidden, width, 3, padding=1), nn.Conv2d(width, 9 * factor**2, 1)

    def forward(self, state: Tensor) -> Tensor:
        """Map (B, hidden, U, V) to (B, 9 factor², U, V)."""
        return _MASK_GAIN * self.last(F.relu(self.first(state)))


def upsample(maps: Tensor, mask: Tensor, factor: int) -> Tensor:
    """Make every fine value a convex combination of the 3×3 coarse ones around it; outside of the map they are zero.

    RAFT multiplies by ``factor`` as well, because its flow is measured in pixels of the grid it lies on.

    Args:
        maps: (B, C, U, V).
        mask: (B, 9 factor², U, V) logarithms of weights up to a constant.
        factor: sub-pixels a side.

    Returns:
        (B, C, factor U, factor V).
    """
    b, c, u, v = maps.shape
    weight = mask.view(b, 1, 9, factor**2, u * v).softmax(2)
    near = F.unfold(maps, 3, padding=1).view(b, c, 9, 1, u * v)
    fine = (weight * near).sum(2).view(b, c, factor, factor, u, v)
    return fine.permute(0, 1, 4, 2, 5, 3).reshape(b, c, factor * u, factor * v)
