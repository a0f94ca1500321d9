"""SynergyNet: image → 3DMM parameters → landmarks, and while training → refined landmarks → parameters again."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from facezoo.backbones.features import ImageFeatures
from facezoo.data.statistics import TargetStatistics
from facezoo.errors import InputError
from facezoo.heads import HeadModel
from facezoo.models.signature import CROP_PIXELS, NUMBER
from facezoo.models.synergynet.config import SynergyConfig
from facezoo.models.synergynet.landmark_nets import STEP, LandmarkRefiner, LandmarksToParams
from facezoo.models.synergynet.mobilenet import CHANNELS, MobileNetV2
from facezoo.models.synergynet.space import FaceSpace

# Units of the outputs, for exported files.
UNITS = {
    "params": NUMBER,
    "pooled": NUMBER,
    "landmarks": CROP_PIXELS,
    "refined": CROP_PIXELS,
    "contour": CROP_PIXELS,
}


class SynergyOutput(NamedTuple):
    """What the network sees in a crop; points as :meth:`~facezoo.models.synergynet.space.FaceSpace.place` puts them.

    Attributes:
        params: (B, P) whitened parameters: 12 pose, shape codes, expression codes.
        pooled: (B, F) image feature.
        landmarks: (B, 68, 3) of the 3DMM.
        refined: (B, 68, 3) the same, corrected by image and codes; equal to ``landmarks`` without a refinement.
        contour: (B, 68, 2) iBUG points whose jaw follows the visible contour; equal to ``refined`` where the network
            was not trained for it.
    """

    params: Tensor
    pooled: Tensor
    landmarks: Tensor
    refined: Tensor
    contour: Tensor


class SynergyTraining(NamedTuple):
    """What training sees besides.

    Attributes:
        params, pooled, landmarks, refined, contour: as of :class:`SynergyOutput`.
        reverse: (B, P) whitened parameters read back from the refined landmarks; without a reverse path ``params``.
    """

    params: Tensor
    pooled: Tensor
    landmarks: Tensor
    refined: Tensor
    contour: Tensor
    reverse: Tensor


class ImageToParams(nn.Module):
    """Backbone, average, and one linear layer each for pose, shape and expression."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: SynergyConfig, pretrained: bool = False) -> None:
        super().__init__()
        self.config = config
        self.own = config.backbone == "mobilenetv2"
        if self.own:
            if config.pooling != "avg":
                raise InputError(
                    "model.backbone=mobilenetv2 has model.pooling=avg only; use nano or a timm name"
                )
            self.backbone: Any = MobileNetV2()
            self.size = CHANNELS
            self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1), persistent=False)
            self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1), persistent=False)
        else:
            self.backbone = ImageFeatures(config, pretrained)
            self.size = self.backbone.size
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Dropout(config.dropout), nn.Linear(self.size, size)) for size in config.sizes
        )
        for head in self.heads.modules():
            if isinstance(head, nn.Linear):
                nn.init.normal_(head.weight, std=0.01)
                nn.init.zeros_(head.bias)

    def prepare(self, images: Tensor) -> Tensor:
        """Order the channels and blank the border as configured: (B, 3, S, S) in [0, 1] to the same."""
        border = self.config.border
        if self.config.official:
            images = images.flip(1)
        if border:
            inside = torch.zeros_like(images[:1, :1])
            inside[..., border:-border, border:-border] = 1
            images = images * inside
        return images

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map crops (B, 3, S, S), RGB in [0, 1], to whitened parameters (B, P) and the pooled feature (B, F)."""
        images = self.prepare(images)
        pooled = self.backbone((images - self.mean) / self.std if self.own else images)
        with torch.autocast(images.device.type, enabled=False):  # bfloat16 rounds to half a pixel at 120
            pooled = pooled.float()
            return torch.cat([head(pooled) for head in self.heads], 1), pooled


class SynergyNet(nn.Module):
    """The whole method (Wu et al. 2021, figure 2)."""

    refiner: LandmarkRefiner | None
    reverse: LandmarksToParams | None

    def __init__(self, config: SynergyConfig, head: HeadModel, pretrained: bool = False) -> None:
        """Build the network.

        Args:
            config: sizes and kinds of all parts.
            head: the 3DMM; its arrays are not stored with the weights.
            pretrained: download a timm backbone's published weights (training only).
        """
        super().__init__()
        self.config = config
        self.image_to_params = ImageToParams(config, pretrained)
        self.space = FaceSpace(config, head)
        self.refiner = self.reverse = None
        if config.refinement:
            self.refiner = LandmarkRefiner(config, self.image_to_params.size, self.space.places())
        if config.reverse:
            self.reverse = LandmarksToParams(config)

    def forward(self, images: Tensor) -> SynergyOutput | SynergyTraining:
        """Estimate parameters and landmarks for crops (B, 3, S, S) of RGB values in [0, 1].

        In training mode the reverse path is computed as well. With ``compat="official"`` the refinement, too, runs in
        training mode only, as in the released code.
        """
        if images.dim() != 4 or images.shape[1] != 3:
            raise InputError(f"images have shape {tuple(images.shape)}; expected (B, 3, S, S), RGB in [0, 1]")
        params, pooled = self.image_to_params(images)
        with torch.autocast(images.device.type, enabled=False):
            refined = landmarks = self.space.reconstruct(params)
            contour = landmarks[..., :2]
            if self.training or not self.config.official:
                refined, contour = self.refine(params, pooled, landmarks)
            if not self.training:
                return SynergyOutput(params, pooled, landmarks, refined, contour)
            reverse = params if self.reverse is None else self.read_back(refined)
            return SynergyTraining(params, pooled, landmarks, refined, contour, reverse)

    def refine(self, params: Tensor, pooled: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
        """Correct landmarks (B, 68, 3) by image feature and whitened codes; the pose is not given away.

        Returns:
            (B, 68, 3), and (B, 68, 2) along the visible contour.
        """
        if self.refiner is None:
            return landmarks, landmarks[..., :2]
        _, shape, expression = params.split(self.config.sizes, 1)
        correction = self.refiner(self._units(landmarks), pooled, shape, expression)
        step = STEP * (1 if self.config.official else self.config.crop_size)
        refined = landmarks + step * correction[..., :3]
        contour = refined[..., :2]
        return refined, contour + step * correction[..., 3:] if self.config.contour else contour

    def read_back(self, landmarks: Tensor) -> Tensor:
        """Map landmarks (B, 68, 3) to whitened parameters (B, P).

        Raises:
            InputError: the network was trained without a reverse path.
        """
        if self.reverse is None:
            raise InputError("this network has no reverse path (model.reverse=false)")
        return self.reverse(self._units(landmarks))

    def start_from(self, statistics: TargetStatistics) -> None:
        """Whiten by the training targets, so that an untrained network predicts the mean face."""
        self.space.mean.copy_(statistics.params_mean)
        self.space.std.copy_(statistics.params_std)

    def _units(self, landmarks: Tensor) -> Tensor:
        """Return what the landmark networks see: crop units around zero, or the released code's raw pixels."""
        if self.config.official:
            return landmarks
        size = self.config.crop_size
        return torch.cat([landmarks[..., :2] / size - 0.5, landmarks[..., 2:] / size], -1)
