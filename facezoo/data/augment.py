"""Training crops from rendered samples: one affine resampling a sample, then cheap damage; labels follow exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from facezoo.data import degrade
from facezoo.data.mirror import Mirror
from facezoo.geometry.crop import CropSpec, apply_affine, invert_affine
from facezoo.geometry.crop_pose import split_crop_camera


@dataclass
class AugmentConfig:
    """Strengths and probabilities of the augmentation; the recipe's ``data.augment`` part.

    Attributes:
        scale: the crop's side is multiplied by exp of ±this.
        shift: standard deviation of the crop's centre, as a fraction of its side (cut at three of them).
        rotation: standard deviation of the in-plane angle in degrees.
        rotation_max: largest in-plane angle in degrees.
        flip: probability of a horizontal flip.
        flip_vertical: probability of turning the picture upside down (the thesis does; faces rarely are).
        color: strength of colour, exposure, contrast and gamma changes.
        grey: probability of a grey picture.
        low_resolution, blur, noise, jpeg, cutout: probabilities of each damage.
        low_resolution_min: smallest resolution as a share of the crop's.
        blur_max: largest blur, pixels at 128.
        noise_max: largest noise deviation.
        jpeg_max: coarsest quantiser step in 1/255.
        cutout_max: largest hole as a share of the side.
    """

    scale: float = 0.15
    shift: float = 0.05
    rotation: float = 15.0
    rotation_max: float = 45.0
    flip: float = 0.5
    flip_vertical: float = 0.0
    color: float = 0.4
    grey: float = 0.06
    low_resolution: float = 0.2
    low_resolution_min: float = 0.2
    blur: float = 0.15
    blur_max: float = 2.2
    noise: float = 0.15
    noise_max: float = 0.05
    jpeg: float = 0.1
    jpeg_max: float = 40.0
    cutout: float = 0.2
    cutout_max: float = 0.5


class CropBatch(NamedTuple):
    """Network inputs and targets; points in crop units, 0 = centre, ±0.5 = border.

    Attributes:
        images: (B, 3, S, S) in [0, 1].
        points: (B, L, 2).
        landmarks68: (B, 68, 2).
        contour68: (B, 68, 2).
        visible: (B, L) 0 or 1.
        identity: (B, n_id), expression: (B, n_exp), jaw: (B, 3).
        R, t, K: pose in the crop's own camera, K in crop pixels with square pixels and no skew.
        identity_known, expression_known: (B,) 1 where the parameters are true for this (possibly flipped) crop.
        box_side: (B,) geometric mean of the tight box's sides in crop units, the normaliser of NME.
        displacement: (B, 1, S, S) metres along the coarse mesh's normals, in the head's texture layout: row 0 is v = 1,
            column 0 is u = 0; (B, 1, 0, 0) where the data has none.
        displacement_known: (B,) 1 where the displacement is true for this (possibly flipped) crop.
        person: (B,) int64; pictures of one person share the number, -1 is unknown.
    """

    images: Tensor
    points: Tensor
    landmarks68: Tensor
    contour68: Tensor
    visible: Tensor
    identity: Tensor
    expression: Tensor
    jaw: Tensor
    R: Tensor
    t: Tensor
    K: Tensor
    identity_known: Tensor
    expression_known: Tensor
    box_side: Tensor
    displacement: Tensor
    displacement_known: Tensor
    person: Tensor


class Augment:
    """Cut crops out of samples and damage them, reproducibly for a given seed."""

    def __init__(self, crop: CropSpec, mirror: Mirror, config: AugmentConfig | None) -> None:
        """Prepare for one crop specification.

        Args:
            crop: size and scale of the crops; the same object that prediction uses.
            mirror: what a flip does to labels.
            config: strengths, or None for plain crops (validation).
        """
        self.crop, self.mirror, self.config = crop, mirror, config

    @torch.no_grad()
    def __call__(self, batch: dict[str, Tensor], seed: int = 0) -> CropBatch:
        """Turn a batch of shard arrays into crops, in float32; the same seed gives the same crops."""
        with torch.autocast(batch["box"].device.type, enabled=False):
            return self._crop(batch, seed)

    def _crop(self, batch: dict[str, Tensor], seed: int) -> CropBatch:
        rng = torch.Generator(device=batch["box"].device).manual_seed(seed)
        affine, padding = self._frame(batch["box"], rng)
        crops = resample(batch["images"], affine, self.crop.size, padding)
        out = self._labels(batch, crops, affine)
        if self.config is None:
            return out
        out = self._flip(out, rng, self.config)
        return out._replace(images=self._damage(out.images, rng, self.config))

    @torch.no_grad()
    def targets(self, batch: dict[str, Tensor], seed: int = 0) -> CropBatch:
        """Compute labels only, for statistics: crops of this distribution with images (B, 3, 1, 1) of zeros."""
        rng = torch.Generator(device=batch["box"].device).manual_seed(seed)
        affine, _ = self._frame(batch["box"], rng)
        out = self._labels(batch, batch["box"].new_zeros(len(affine), 3, 1, 1), affine)
        return out if self.config is None else self._flip(out, rng, self.config)

    def _frame(self, boxes: Tensor, rng: torch.Generator) -> tuple[Tensor, str]:
        """Return the map from picture to crop, and what lies outside the picture."""
        if self.config is None:
            return self.crop.affine(boxes), self.crop.padding
        boxes, angle = self._jitter(boxes, rng, self.config)
        # Half the batches end in black and half in stretched pixels, so that neither border means anything.
        border = "edge" if float(degrade.uniform(rng, (1,), 0, 1)) < 0.5 else "zeros"
        return self.crop.affine(boxes, angle), border

    def _flip(self, out: CropBatch, rng: torch.Generator, config: AugmentConfig) -> CropBatch:
        count = len(out.images)
        flips = one_side(torch.rand(count, generator=rng, device=rng.device) < config.flip, out.person)
        if self.mirror.points is not None and self.mirror.landmarks68 is not None:
            out = flip_horizontal(out, flips, self.mirror, self.crop.size)
        if config.flip_vertical > 0:
            turned = torch.rand(count, generator=rng, device=rng.device) < config.flip_vertical
            out = turn_over(out, turned, self.crop.size)
        return out

    def _jitter(self, boxes: Tensor, rng: torch.Generator, config: AugmentConfig) -> tuple[Tensor, Tensor]:
        n = len(boxes)
        centre, extent = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        side = self.crop.scale * extent.prod(-1, keepdim=True).sqrt()
        normal = torch.randn(n, 3, generator=rng, device=rng.device).clamp(-3, 3)
        centre = centre + normal[:, :2] * config.shift * side
        extent = extent * torch.exp(degrade.uniform(rng, (n, 1), -config.scale, config.scale))
        angle = torch.deg2rad(
            (normal[:, 2] * config.rotation).clamp(-config.rotation_max, config.rotation_max)
        )
        return torch.cat([centre - extent / 2, centre + extent / 2], 1), angle

    def _labels(self, batch: dict[str, Tensor], images: Tensor, affine: Tensor) -> CropBatch:
        size = self.crop.size
        K, turn = split_crop_camera(batch["K"], affine)
        known = affine.new_ones(len(affine))
        extent = batch["box"][:, 2:] - batch["box"][:, :2]
        zoom = torch.linalg.det(affine[:, :, :2]).sqrt()
        points, on_mesh, contour = (
            apply_affine(batch[k], affine) / size - 0.5 for k in ("points", "lm68", "lm68_contour")
        )
        return CropBatch(
            images=images,
            points=points,
            landmarks68=on_mesh,
            contour68=contour,
            visible=batch["visible"],
            identity=batch["identity"],
            expression=batch["expression"],
            jaw=batch["jaw"],
            R=turn @ batch["R"],
            t=(turn @ batch["t"].unsqueeze(-1)).squeeze(-1),
            K=K,
            identity_known=known,
            expression_known=known.clone(),
            box_side=extent.prod(-1).sqrt() * zoom / size,
            **_relief(batch, known),
        )

    @staticmethod
    def _damage(x: Tensor, rng: torch.Generator, config: AugmentConfig) -> Tensor:
        x = degrade.jitter_color(x, rng, config.color, config.grey)
        x = degrade.cut_out(x, rng, config.cutout, config.cutout_max)
        x = degrade.blur(x, rng, config.blur, config.blur_max)
        x = degrade.reduce_resolution(x, rng, config.low_resolution, config.low_resolution_min)
        x = degrade.add_noise(x, rng, config.noise, config.noise_max)
        return degrade.compress(x, rng, config.jpeg, config.jpeg_max)


def _relief(batch: dict[str, Tensor], known: Tensor) -> dict[str, Tensor]:
    """Return the fields of the displacement and of the person, in their empty form where the data lacks them."""
    maps, person = batch.get("displacement"), batch.get("person")
    if maps is None:
        found = {"displacement": known.new_zeros(len(known), 1, 0, 0), "displacement_known": known * 0}
    else:
        told = batch.get("displacement_known")
        found = {
            "displacement": maps.to(known.dtype)[:, None] / 1000,  # stored in millimetres
            "displacement_known": known.clone() if told is None else told.to(known.dtype),
        }
    unknown = torch.full_like(known, -1, dtype=torch.int64)
    return {**found, "person": unknown if person is None else person.long()}


def one_side(flips: Tensor, person: Tensor) -> Tensor:
    """Give all pictures of a person the flip of the first: a mirrored face is another face.

    Args:
        flips: (B,) bool.
        person: (B,) numbers, -1 for people who share nothing.
    """
    if not bool((person >= 0).any()):
        return flips
    own = torch.arange(len(person), device=person.device)
    same = person[:, None] == person[None, :]
    first = torch.where(person >= 0, same.to(torch.uint8).argmax(1), own)
    return flips[first]


def resample(images: Tensor, affine: Tensor, size: int, padding: str) -> Tensor:
    """Cut crops with one bilinear tap a pixel.

    Rendered samples are stored near the crop's resolution, so the antialiasing of :func:`facezoo.geometry.crop.warp`
    (four times the cost) would change nothing here.

    Args:
        images: (B, 3, H, W) uint8, or float in [0, 1].
        affine: (B, 2, 3) image pixels to crop pixels.
        size: side of the crop.
        padding: ``"zeros"`` or ``"edge"``.

    Returns:
        (B, 3, size, size) float32 in [0, 1].
    """
    height, width = images.shape[-2:]
    inverse = invert_affine(affine)
    axis = torch.arange(size, device=affine.device, dtype=affine.dtype) + 0.5
    scale = 2 / affine.new_tensor([width, height])
    linear, offset = inverse[:, :, :2] * scale[:, None], inverse[:, :, 2] * scale - 1
    grid = (
        linear[:, None, None, :, 0] * axis[None, None, :, None]
        + linear[:, None, None, :, 1] * axis[None, :, None, None]
        + offset[:, None, None, :]
    )
    pixels = images.float().div_(255) if images.dtype == torch.uint8 else images
    return F.grid_sample(
        pixels, grid, padding_mode="border" if padding == "edge" else "zeros", align_corners=False
    )


def flip_horizontal(batch: CropBatch, flips: Tensor, mirror: Mirror, size: int) -> CropBatch:
    """Mirror the samples that ``flips`` (B,) marks, labels included.

    The camera's x axis and the head's x axis both turn round: R becomes M R M with M = diag(-1, 1, 1).
    """
    chosen = flips.nonzero()[:, 0]
    if not len(chosen):
        return batch
    assert mirror.points is not None and mirror.landmarks68 is not None
    device = batch.images.device
    signs = batch.R.new_tensor([-1.0, 1.0, 1.0])
    out = {name: value.clone() if name != "images" else value for name, value in batch._asdict().items()}
    out["images"][chosen] = batch.images[chosen].flip(-1)
    for name, order in (
        ("points", mirror.points),
        ("landmarks68", mirror.landmarks68),
        ("contour68", mirror.landmarks68),
    ):
        out[name][chosen] = getattr(batch, name)[chosen][:, order.to(device)] * signs[:2]
    out["visible"][chosen] = batch.visible[chosen][:, mirror.points.to(device)]
    out["R"][chosen] = batch.R[chosen] * signs[:, None] * signs[None, :]
    out["t"][chosen] = batch.t[chosen] * signs
    out["jaw"][chosen] = batch.jaw[chosen] * -signs
    out["K"][chosen, 0, 2] = size - batch.K[chosen, 0, 2]
    if mirror.texture:
        out["displacement"][chosen] = batch.displacement[chosen].flip(-1)
    else:
        out["displacement_known"][chosen] = 0
    for name in ("identity", "expression"):
        table = getattr(mirror, name)
        if table is None:
            out[f"{name}_known"][chosen] = 0
        else:
            index, sign = (part.to(device) for part in table)
            out[name][chosen] = getattr(batch, name)[chosen][:, index] * sign
    return CropBatch(**out)


def turn_over(batch: CropBatch, chosen: Tensor, size: int) -> CropBatch:
    """Turn the samples that ``chosen`` (B,) marks by 180° in the image plane, labels included.

    The thesis flips pictures vertically. A vertical flip is a horizontal one (:func:`flip_horizontal`) and this turn.
    """
    some = chosen.nonzero()[:, 0]
    out = {name: value.clone() for name, value in batch._asdict().items()}
    out["images"][some] = batch.images[some].flip(-1, -2)
    for name in ("points", "landmarks68", "contour68"):
        out[name][some] = -getattr(batch, name)[some]
    signs = batch.R.new_tensor([-1.0, -1.0, 1.0])
    out["R"][some] = batch.R[some] * signs[:, None]
    out["t"][some] = batch.t[some] * signs
    out["K"][some, :2, 2] = size - batch.K[some, :2, 2]
    return CropBatch(**out)
