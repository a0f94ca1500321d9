"""The training step of any method: augment on the device, forward, loss, scheduled rate, averaged weights, checks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from facezoo.data.augment import Augment, CropBatch
from facezoo.errors import FacezooError
from facezoo.models.base import ZooModel
from facezoo.training.ema import WeightAverage
from facezoo.training.schedule import learning_rate, progress
from facezoo.training.settings import OptimConfig, TrainerConfig


class TrainingModule(lightning.LightningModule):
    """Wrap a :class:`ZooModel` and its criterion for Lightning.

    Batches arrive as stored samples and are augmented here, on the training device, seeded by run seed and step: the
    loader stays cheap and a resumed run sees the same crops.
    """

    def __init__(
        self,
        model: ZooModel,
        criterion: nn.Module,
        augment: Augment,
        optim: OptimConfig,
        trainer_config: TrainerConfig,
        seed: int,
        run_dir: Path,
    ) -> None:
        super().__init__()
        self.model, self.criterion = model, criterion
        self.augment = augment
        self.plain = Augment(augment.crop, augment.mirror, None)
        self.optim, self.settings, self.seed, self.run_dir = optim, trainer_config, seed, run_dir
        self.average = WeightAverage(model, optim.ema) if optim.ema > 0 else None
        self.metrics = nn.ModuleDict(model.metrics())
        self.spent = 0.0  # seconds of earlier parts of this run
        self._began: float | None = None
        self.images_seen = 0

    # -- time and schedule -------------------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of training, earlier parts of a resumed run included."""
        return self.spent + (0.0 if self._began is None else time.monotonic() - self._began)

    @property
    def progress(self) -> float:
        """Share of the run that is done."""
        return progress(self.global_step, self.seconds, self.settings)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Build the optimiser; vectors (biases, norms) do not decay."""
        named = [
            (n, p)
            for part in (self.model, self.criterion)
            for n, p in part.named_parameters()
            if p.requires_grad
        ]
        groups = [
            {"params": [p for _, p in named if p.dim() > 1], "weight_decay": self.optim.weight_decay},
            {"params": [p for _, p in named if p.dim() <= 1], "weight_decay": 0.0},
        ]
        kind = torch.optim.AdamW if self.optim.name == "adamw" else torch.optim.Adam
        return kind([g for g in groups if g["params"]], lr=self.optim.lr)

    # -- steps -------------------------------------------------------------------------------------------------------

    def on_fit_start(self) -> None:
        """Start the clock; follow the model to its device."""
        if self.average is not None:
            self.average.to(self.device)
        self._began = time.monotonic()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set this step's learning rate."""
        rate = learning_rate(self.progress, self.optim)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of one batch of stored samples."""
        crops = self.augment(batch, seed=self._crop_seed())
        output = self.model(self._layout(crops.images))
        terms = self.criterion(output, crops)
        loss = torch.stack(list(terms.values())).sum()
        check = self.device.type == "cpu" or self.global_step % 20 == 0  # reading a value waits for a GPU
        if check and not bool(torch.isfinite(loss)):
            self._stop_at_nan(batch, terms)
        self.images_seen += len(crops.images)
        self.log_dict({f"train/{k}": v.detach() for k, v in terms.items()})
        self.log("train/loss", loss.detach(), prog_bar=True)
        return loss

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """Step and average the weights, before any callback can save one without the other."""
        super().optimizer_step(*arguments, **options)
        if self.average is not None:
            self.average.update(self.model)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End the run when its time or steps are used up."""
        if self.progress >= 1:
            self.trainer.should_stop = True

    def on_validation_epoch_start(self) -> None:
        """Validate the averaged weights."""
        if self.average is not None:
            self.average.exchange(self.model)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Add a held-out batch, cropped plainly, to the metrics."""
        crops = self.plain(batch)
        output = self.model(self._layout(crops.images))
        self.model.update_metrics(self._named_metrics(), output, crops)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics and give the model its own weights back."""
        for name, metric in self._named_metrics().items():
            self.log(f"val/{name}", metric.compute(), prog_bar=True)
            metric.reset()
        if self.average is not None:
            self.average.exchange(self.model)

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not know: averages, time spent, images seen."""
        checkpoint["facezoo"] = {
            "seconds": self.seconds,
            "images_seen": self.images_seen,
            "average": self.average.state_dict() if self.average is not None else None,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore :meth:`on_save_checkpoint`'s part."""
        extra = checkpoint["facezoo"]
        self.spent, self.images_seen = extra["seconds"], extra["images_seen"]
        if self.average is not None and extra["average"] is not None:
            self.average.load_state_dict(extra["average"])

    # -- helpers -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def predict_plain(self, batch: dict[str, Tensor]) -> tuple[CropBatch, Any]:
        """Return plain crops of a batch and the averaged model's output, for pictures."""
        crops = self.plain({k: v.to(self.device) for k, v in batch.items()})
        training = self.model.training
        self.model.eval()
        if self.average is not None:
            with self.average.applied(self.model):
                output = self.model(self._layout(crops.images))
        else:
            output = self.model(self._layout(crops.images))
        self.model.train(training)
        return crops, output

    def _named_metrics(self) -> dict[str, Any]:
        return dict(self.metrics.items())

    def _layout(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=torch.channels_last) if self.settings.channels_last else images

    def _crop_seed(self) -> int:
        return (self.seed * 1_000_003 + self.global_step * 4099 + self.global_rank) % (2**63 - 1)

    def _stop_at_nan(self, batch: dict[str, Tensor], terms: dict[str, Tensor]) -> None:
        path = self.run_dir / f"nonfinite-step{self.global_step}.safetensors"
        save_file({k: v.detach().cpu().contiguous() for k, v in batch.items()}, path)
        bad = ", ".join(f"{k}={float(v.detach()):g}" for k, v in terms.items())
        raise FacezooError(
            f"the loss is not finite at step {self.global_step} ({bad}); its batch is saved in {path}. "
            "Lower optim.lr or raise optim.warmup, then run again with trainer.resume=auto"
        )
