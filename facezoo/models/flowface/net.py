"""The FlowFace network: from a crop to the picture position, scale and depth of every point of the head's texture."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from facezoo.data.statistics import TargetStatistics
from facezoo.errors import InputError
from facezoo.heads.model import HeadModel
from facezoo.models.flowface.config import FlowFaceConfig
from facezoo.models.flowface.encoder import ImageEncoder
from facezoo.models.flowface.guess import FirstGuess, Neck
from facezoo.models.flowface.raft import (
    MaskHead,
    MotionEncoder,
    SeparableGRU,
    UpdateHead,
    correlate,
    expect,
    look_up,
    sample,
    upsample,
)
from facezoo.models.flowface.texel_reader import TexelReader
from facezoo.models.flowface.uv import UVEmbedding, filled_corners, interpolate, read_map, texture_layout
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
        guess: (B, V, 3) points and depth that the updates began with.
        match: (B, U U, H W) logarithm of the probability that a texel of the iterated grid lies in a cell of features,
            by correlation alone.
        steps: (B, M, V, 4) points, depth and log_sigma after each iteration; only the last when not training.
        maps: (B, M, 4, S, S) the same for each texel of the texture.
    """

    points: Tensor
    log_sigma: Tensor
    depth: Tensor
    landmarks68: Tensor
    guess: Tensor
    match: Tensor
    steps: Tensor
    maps: Tensor


UNITS = {
    "points": CROP_SIDES,
    "log_sigma": f"logarithm of {NUMBER} side of the crop",
    "depth": DEPTH,
    "landmarks68": CROP_SIDES,
    "guess": "as points and depth",
    "match": "logarithm of probability",
    "steps": "as points, depth and log_sigma",
    "maps": "as points, depth and log_sigma",
}


class FlowFaceNet(nn.Module):
    """UV-to-image flow by recurrent updates (Taubner et al. 2024, with RAFT's machinery).

    The texture asks, the picture answers: a learned embedding of every UV position is compared with the picture's
    features, and the map from texture to picture, which starts at a first guess, is updated from correlations around
    where it points. Updates are a smooth map over the guess, so the guess keeps its detail.
    """

    vertex_uv: Tensor
    lm_vertices: Tensor
    lm_bary: Tensor
    coarse_corners: Tensor
    coarse_bary: Tensor
    fine_corners: Tensor
    fine_bary: Tensor

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
        low_rank, hidden = config.first_guess == "low-rank", config.hidden
        self.encoder = ImageEncoder(config, pretrained)
        width = self.encoder.pyramid.channels[-1]
        self.neck = Neck(width, config) if low_rank or config.image_context == "flatten" else None
        self.guess = FirstGuess(config.neck, config.rank if low_rank else 0, head.n_vertices)
        self.embedding = UVEmbedding(config.uv_size, config.features, config.uv_levels)
        self.query = nn.Conv2d(config.features, config.features, 1)
        self.context = nn.Conv2d(config.features, 2 * hidden, 3, padding=1)
        seen = {"none": 0, "average": width, "flatten": config.neck}[config.image_context]
        self.seen = nn.Linear(seen, 2 * hidden) if seen else None
        self.local = nn.Conv2d(config.features + 2, hidden, 1) if config.local_features else None
        texels = config.uv_size**2
        self.reader = TexelReader(texels, config.features) if config.local_features else None
        windows = config.levels * (2 * config.radius + 1) ** 2
        wide = 2 * config.motion
        self.motion = MotionEncoder(
            windows, config.motion, (wide, config.motion), (config.motion, config.motion // 2)
        )
        # Without these, motion features grow by two orders within 1000 steps and saturate the gates: updates die.
        norm = config.normalize
        self.context_norm = nn.GroupNorm(2, 2 * hidden) if norm else nn.Identity()
        self.motion_norm = nn.GroupNorm(1, config.motion) if norm else nn.Identity()
        self.gru = SeparableGRU(hidden, hidden + config.motion)
        self.update = UpdateHead(hidden, 2 * hidden, 4)
        self.mask = MaskHead(hidden, 2 * hidden, config.uv_factor)
        nn.init.zeros_(self.update.last.weight)  # the first updates change nothing
        nn.init.zeros_(self.update.last.bias)  # type: ignore[arg-type]
        landmarks = head.topology.landmark_set("ibug68")
        faces = head.topology.faces
        self.register_buffer("lm_vertices", faces[landmarks.faces].clone(), persistent=False)
        self.register_buffer("lm_bary", landmarks.bary.clone()[..., None], persistent=False)
        for name, size in (("coarse", config.uv_size), ("fine", config.uv_size * config.uv_factor)):
            layout = texture_layout(head, size)
            corners, bary = filled_corners(layout, faces)
            self.register_buffer(f"{name}_corners", corners, persistent=False)
            self.register_buffer(f"{name}_bary", bary, persistent=False)
        self.register_buffer("vertex_uv", layout.vertex_uv, persistent=False)
        low, high = math.log(LEAST_SIGMA), math.log(MOST_SIGMA)
        share = (math.log(START_SIGMA) - low) / (high - low)
        self.low, self.span, self.middle = low, high - low, math.log(share / (1 - share))

    def forward(self, images: Tensor) -> FlowFaceOutput:
        """Map crops (B, 3, S, S) of RGB values in [0, 1]."""
        size, device = self.config.crop_size, images.device.type
        if images.dim() != 4 or tuple(images.shape[1:]) != (3, size, size):
            raise InputError(
                f"images have shape {tuple(images.shape)}; expected (B, 3, {size}, {size}), RGB in [0, 1]"
            )
        features, last = self.encoder(images)
        b, cells = images.shape[0], features.shape[-1]
        embedding = self.embedding()
        query, context = self.query(embedding), self.context(embedding).expand(b, -1, -1, -1)
        neck = last if self.neck is None else self.neck(last)
        if self.seen is not None:
            whole = neck if self.config.image_context == "flatten" else last.mean((2, 3))
            context = context + self.seen(whole)[:, :, None, None]
        state, context = self.context_norm(context).split(self.config.hidden, 1)
        state, context = state.tanh(), context.relu()
        # Half precision would round a coordinate to a quarter pixel: all that is a place stays float32.
        with torch.autocast(device, enabled=False):
            pyramid = correlate(query.float().expand(b, -1, -1, -1), features.float(), self.config.levels)
            match, matched = expect(pyramid[0])
            match, matched = (
                match.view(b, -1, cells**2),
                matched.view(b, *query.shape[2:], 2).permute(0, 3, 1, 2),
            )
            guess = self.guess(neck.float())
            begin = guess.detach()  # each update answers for itself alone, as in RAFT
            fine = interpolate(begin, self.fine_corners, self.fine_bary)
            origin = interpolate(begin, self.coarse_corners, self.coarse_bary)
            mean = interpolate(self.guess.mean[None], self.coarse_corners, self.coarse_bary)
        moved = torch.zeros_like(origin)
        steps, maps = [], []
        for step in range(self.config.iterations):
            moved = moved.detach()
            with torch.autocast(device, enabled=False):
                place = origin + moved
                at = (place[:, :2] + 0.5) * cells - 0.5  # in feature cells, centres at whole numbers
                window = look_up(pyramid, at, self.config.radius).to(state.dtype)
                flow = ((place - mean)[:, :2] * cells).to(state.dtype)
                around, read = context, None
                if self.reader is not None:
                    read = self.reader(features.float(), at)
                if self.local is not None:
                    seen = torch.cat((sample(features.float(), at), matched - at), 1)
                    around = around + self.local(seen).relu().to(state.dtype)
            state = self.gru(state, torch.cat((around, self.motion_norm(self.motion(flow, window))), 1))
            change = self.update(state).float()
            moved = moved + change[:, :3] / cells
            if read is not None:
                moved = moved + nn.functional.pad(read, (0, 0, 0, 0, 0, 1)) / cells
            if self.training or step == self.config.iterations - 1:
                mask = self.mask(state).float()
                update = upsample(torch.cat((moved, change[:, 3:]), 1), mask, self.config.uv_factor)
                steps.append(self._add(begin.mT, read_map(update, self.vertex_uv).mT).mT)
                maps.append(self._add(fine, update))
        return self._output(guess, match, torch.stack(steps, 1), torch.stack(maps, 1))

    def _add(self, begin: Tensor, update: Tensor) -> Tensor:
        """Return place, depth and log sigma (B, 4, ...) from where they begin (B, 3, ...) and an update (B, 4, ...)."""
        place = begin + update[:, :3]
        if not self.config.depth:
            place = torch.cat((place[:, :2], torch.zeros_like(place[:, 2:])), 1)
        return torch.cat((place, self.low + self.span * (update[:, 3:] + self.middle).sigmoid()), 1)

    def _output(self, guess: Tensor, match: Tensor, steps: Tensor, maps: Tensor) -> FlowFaceOutput:
        points, depth, log_sigma = steps[:, -1].split((2, 1, 1), 2)
        landmarks = (points[:, self.lm_vertices] * self.lm_bary).sum(2)
        return FlowFaceOutput(points, log_sigma, depth, landmarks, guess, match, steps, maps)

    @torch.no_grad()
    def start_from(self, statistics: TargetStatistics) -> None:
        """Start at the mean positions and depths (V, 3) of the training data, with their principal directions."""
        mean = statistics.points_mean
        if mean.shape != self.guess.mean.shape:
            raise InputError(
                f"statistics have shape {tuple(mean.shape)}; this network finds {len(self.vertex_uv)} vertices, x, y "
                "and depth"
            )
        self.guess.start_from(mean, statistics.points_basis)
