"""Pictures of predictions during training: what the numbers do not show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from PIL import Image, ImageDraw
from torch import Tensor

from facezoo.training.loggers import log_picture


class PredictionPictures(Callback):
    """Write a sheet of held-out crops with predicted (green) and true (red) points as PNG, and to the run's loggers."""

    def __init__(self, folder: Path, every: int, count: int = 24) -> None:
        self.folder, self.every, self.count = folder, every, count
        self._written: Path | None = None

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write a sheet every ``every`` steps."""
        if trainer.is_global_zero and trainer.global_step % self.every == 0:
            self.write(trainer, pl_module)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Write a last sheet."""
        if trainer.is_global_zero:
            self.write(trainer, pl_module)

    def write(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Predict the first held-out samples and write ``predictions-<step>.png``."""
        path = self.folder / f"predictions-{trainer.global_step:07d}.png"
        if path == self._written:
            return
        batch = {k: v[: self.count] for k, v in pl_module.held_out.batch(0).items()}
        crops, output = pl_module.predict_plain(batch)
        sheet = draw_sheet(
            crops.images, pl_module.model.preview_points(output), pl_module.model.preview_points(crops)
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        sheet.save(path)
        self._written = path
        log_picture(trainer.loggers, "predictions", sheet, trainer.global_step)


def draw_sheet(images: Tensor, points: Tensor, truth: Tensor, columns: int = 6, zoom: int = 2) -> Image.Image:
    """Draw crops in a grid with points on them.

    Args:
        images: (B, 3, S, S) in [0, 1].
        points: (B, N, 2) predictions in crop units, green.
        truth: (B, N, 2) red.
        columns: pictures in a row.
        zoom: enlargement.
    """
    side = images.shape[-1] * zoom
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * side, rows * side))
    pixels = (
        (images.detach().cpu().clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    )
    for i, picture in enumerate(pixels):
        tile = Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR)
        draw = ImageDraw.Draw(tile)
        for values, color in ((truth[i], (255, 60, 60)), (points[i], (60, 255, 60))):
            for x, y in ((values.detach().cpu().float() + 0.5) * side).tolist():
                draw.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=color)
        sheet.paste(tile, (i % columns * side, i // columns * side))
    return sheet
