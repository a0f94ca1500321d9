"""A tiny untrained dense model on the toy head: predicts the mean face in the middle of every crop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from dense_fakes import POINTS, toy_landmarks, toy_samples, write_toy_head
from PIL import Image

from facezoo.data.statistics import TargetStatistics
from facezoo.geometry.crop import CropSpec, apply_affine
from facezoo.geometry.crop_pose import encode_pose, split_crop_camera
from facezoo.heads import load_head
from facezoo.models.dense import DenseConfig
from facezoo.models.dense.predict import DenseLandmarks

CROP = 32


def toy_config(folder: Path) -> DenseConfig:
    """Write the toy head into ``folder`` and return a configuration of a network for it."""
    return DenseConfig(
        head=write_toy_head(folder),
        points=POINTS,
        widths=[8, 8, 8, 8],
        depths=[1, 1, 1, 1],
        neck_channels=4,
        hidden=16,
        rank=8,
        scale_rank=4,
        n_identity=3,
        n_expression=3,
        crop_size=CROP,
    )


def toy_model(folder: Path, noise: float = 0.02) -> DenseLandmarks:
    """Build the model; ``noise`` scales what little it reads from the pixels."""
    torch.manual_seed(0)
    config = toy_config(folder)
    model = DenseLandmarks(config)
    samples = toy_samples(load_head(config.head), 64)
    spec = model.crop
    affine = spec.affine(torch.from_numpy(samples["box"]))
    points = [samples["points"], samples["lm68"], samples["lm68_contour"]]
    units = apply_affine(torch.from_numpy(np.concatenate(points, 1)), affine) / CROP - 0.5
    K, turn = split_crop_camera(torch.from_numpy(samples["K"]).float(), affine)
    R, t = (torch.from_numpy(samples[name]).float() for name in ("R", "t"))
    pose = encode_pose(turn @ R, (turn @ t[..., None])[..., 0], K, CROP)
    rest = [torch.from_numpy(samples[name]).float() for name in ("identity", "expression", "jaw")]
    params = torch.cat([*rest, *pose], 1)
    model.start_from(
        TargetStatistics(
            units.mean(0), noise * torch.randn(8, *units.shape[1:]), params.mean(0), noise * params.std(0)
        )
    )
    return model.eval()


def tight_toy_box(image_size: int = 96) -> list[float]:
    """Return a box in the middle of an image."""
    return [0.3 * image_size, 0.25 * image_size, 0.7 * image_size, 0.75 * image_size]


def picture(height: int = 96, width: int = 96, seed: int = 0) -> np.ndarray:
    """Return smooth random colours: something to see, no face."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


__all__ = ["CROP", "CropSpec", "picture", "tight_toy_box", "toy_config", "toy_landmarks", "toy_model"]
