"""The FlowFace network: from a crop to the picture position, scale and depth of every point of the head's texture."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facezoo.data.statistics import TargetStatistics
from facezoo.errors import InputError
from facezoo.heads.model import HeadModel
from facezoo.models.flowface.config import FlowFaceConfig
from facezoo.models.flowface.encoder import ImageEncoder
from facezoo.models.flowface.raft import (
    MaskHead,
    MotionEncoder,
    SeparableGRU,
    UpdateHead,
    correlate,
    look_up,
    upsample,
)
from facezoo.models.flowface.uv import UVEmbedding, filled, read_map, texel_values, texture_layout
from facezoo.models.signature import CROP_SIDES, NUMBER

# Standard deviations in crop sides: of an untrained network, and the range of a trained one (0.1 to 100 px of 512).
START_SIGMA, LEAST_SIGMA, MOST_SIGMA = 0.05, 0.1 / 512, 100 / 512
DEPTH = "depth behind the head's origin, times focal length over its depth, in sides of the crop"


class FlowFaceOutput(NamedTuple):
    """What the network sees in a crop; points in crop units, pixel = (p + 0.5) · S.

    Attributes:
        points: (B, V, 2) all vertices, visible or not.
        log_sigma: (B, V, 1) logarithm of their standard deviation in sides of the crop.
        depth: (B, V, 1) depth behind the head's origin, in the unit of ``points``; zero without ``depth``.
        landmarks68: (B, 68, 2) iBUG points on the mesh.
        steps: (B, M, V, 4) points, depth and log_sigma after each iteration; only the last when not training.
        maps: (B, M, 4, S, S) the same for each texel of the texture.
    """

    points: Tensor
    log_sigma: Tensor
    depth: Tensor
    landmarks68: Tensor
    steps: Tensor
    maps: Tensor


UNITS = {
    "points": CROP_SIDES,
    "log_sigma": f"logarithm of {NUMBER} side of the crop",
    "depth": DEPTH,
    "landmarks68": CROP_SIDES,
    "steps": "as points, depth and log_sigma",
    "maps": "as points, depth and log_sigma",
}


class FlowFaceNet(nn.Module):
    """UV-to-image flow by recurrent updates (Taubner et al. 2024, with RAFT's machinery).

    The texture asks, the picture answers: a learned embedding of every UV position is compared with the picture's
    features, and the map from texture to picture, which starts at the mean over the training data, is updated from
    correlations around where it points.
    """

    start: Tensor
    vertex_uv: Tensor
    lm_vertices: Tensor
    lm_bary: Tensor

    def __init__(self, config: FlowFaceConfig, head: HeadModel, pretrained: bool = False) -> None:
        """Build the network.

        Args:
            config: sizes.
            head: whose texture is mapped.
            pretrained: download a backbone's published weights (training only).

        Raises:
            AssetError: the head has no texture coordinates.
        """
        super().__init__()
        self.config = config
        self.encoder = ImageEncoder(config, pretrained)
        self.embedding = UVEmbedding(config.uv_size, config.features, config.uv_levels)
        self.query = nn.Conv2d(config.features, config.features, 1)
        self.context = nn.Conv2d(config.features, 2 * config.hidden, 3, padding=1)
        self.pooled = nn.Linear(self.encoder.pooled_size, 2 * config.hidden) if config.image_context else None
        windows = config.levels * (2 * config.radius + 1) ** 2
        wide = 2 * config.motion
        self.motion = MotionEncoder(
            windows, config.motion, (wide, config.motion), (config.motion, config.motion // 2)
        )
        self.gru = SeparableGRU(config.hidden, config.hidden + config.motion)
        self.update = UpdateHead(config.hidden, 2 * config.hidden, 4)
        self.mask = MaskHead(config.hidden, 2 * config.hidden, config.uv_factor)
        nn.init.zeros_(self.update.last.weight)  # the first prediction is the mean face
        nn.init.zeros_(self.update.last.bias)  # type: ignore[arg-type]
        side = config.uv_size * config.uv_factor
        layout = texture_layout(head, side)
        landmarks = head.topology.landmark_set("ibug68")
        self.register_buffer("start", torch.zeros(3, side, side))  # x, y, depth in crop units
        self.register_buffer("vertex_uv", layout.vertex_uv, persistent=False)
        self.register_buffer("lm_vertices", head.topology.faces[landmarks.faces].clone(), persistent=False)
        self.register_buffer("lm_bary", landmarks.bary.clone()[..., None], persistent=False)
        low, high = math.log(LEAST_SIGMA), math.log(MOST_SIGMA)
        share = (math.log(START_SIGMA) - low) / (high - low)
        self.low, self.span, self.middle = low, high - low, math.log(share / (1 - share))

    def forward(self, images: Tensor) -> FlowFaceOutput:
        """Map crops (B, 3, S, S) of RGB values in [0, 1]."""
        size = self.config.crop_size
        if images.dim() != 4 or tuple(images.shape[1:]) != (3, size, size):
            raise InputError(
                f"images have shape {tuple(images.shape)}; expected (B, 3, {size}, {size}), RGB in [0, 1]"
            )
        features, pooled = self.encoder(images)
        embedding = self.embedding()
        b, cells = images.shape[0], features.shape[-1]
        pyramid = correlate(self.query(embedding).expand(b, -1, -1, -1), features, self.config.levels)
        context = self.context(embedding).expand(b, -1, -1, -1)
        if self.pooled is not None:
            context = context + self.pooled(pooled)[:, :, None, None]
        state, context = context.split(self.config.hidden, 1)
        state, context = state.tanh(), context.relu()
        coarse = F.avg_pool2d(self.start[None], self.config.uv_factor)
        origin = (coarse[:, :2] + 0.5) * cells - 0.5  # in feature cells, centres at whole numbers
        moved = origin.new_zeros(b, 3, *origin.shape[2:])
        maps: list[Tensor] = []
        for step in range(self.config.iterations):
            moved = moved.detach()
            window = look_up(pyramid, origin + moved[:, :2], self.config.radius).to(state.dtype)
            state = self.gru(
                state, torch.cat((context, self.motion(moved[:, :2].to(state.dtype), window)), 1)
            )
            change = self.update(state).to(moved.dtype)
            moved = moved + change[:, :3]
            if self.training or step == self.config.iterations - 1:
                maps.append(self._whole(torch.cat((moved / cells, change[:, 3:]), 1), self.mask(state)))
        return self._read(torch.stack(maps, 1))

    def _whole(self, coarse: Tensor, mask: Tensor) -> Tensor:
        """Return fine maps (B, 4, S, S) of position, depth and log sigma from coarse offsets (B, 4, U, U)."""
        fine = upsample(coarse, mask.to(coarse.dtype), self.config.uv_factor)
        place = self.start + fine[:, :3]
        if not self.config.depth:
            place = torch.cat((place[:, :2], torch.zeros_like(place[:, 2:])), 1)
        return torch.cat((place, self.low + self.span * (fine[:, 3:] + self.middle).sigmoid()), 1)

    def _read(self, maps: Tensor) -> FlowFaceOutput:
        """Read the vertices off maps (B, M, 4, S, S)."""
        steps = read_map(maps.flatten(0, 1), self.vertex_uv).unflatten(0, maps.shape[:2])
        points, depth, log_sigma = steps[:, -1].split((2, 1, 1), 2)
        landmarks = (points[:, self.lm_vertices] * self.lm_bary).sum(2)
        return FlowFaceOutput(points, log_sigma, depth, landmarks, steps, maps)

    @torch.no_grad()
    def start_from(self, statistics: TargetStatistics, head: HeadModel) -> None:
        """Start at the mean positions (V, 2) and depths (V,) of the training data."""
        mean = torch.cat((statistics.points_mean, statistics.params_mean[:, None]), 1)
        if mean.shape != (len(self.vertex_uv), 3):
            raise InputError(
                f"statistics are of {len(mean)} vertices; this network finds {len(self.vertex_uv)}"
            )
        layout = texture_layout(head, self.start.shape[-1])
        self.start.copy_(filled(texel_values(layout, head.topology.faces.cpu(), mean[None].cpu())[0], layout))
