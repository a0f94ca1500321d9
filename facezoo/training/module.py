"""The training step of any method: augment on the device, forward, loss, scheduled rate, averaged weights, checks."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from facezoo.config import Recipe
from facezoo.data.loading import HeldOutLoader
from facezoo.errors import FacezooError
from facezoo.models.base import ZooModel
from facezoo.training.ema import WeightAverage
from facezoo.training.nonfinite import FiniteWatch, save_evidence
from facezoo.training.run_folder import RunFolder
from facezoo.training.schedule import learning_rate, progress

# From a batch of samples and a seed to the target that an output is compared with.
Augmentation = Callable[[dict[str, Tensor], int], Any]
# Stored samples of a step and a rank, read again.
ReadStep = Callable[[int, int], dict[str, Tensor]]


class TrainingModule(lightning.LightningModule):
    """Wrap any :class:`ZooModel` and its criterion for Lightning.

    No method needs a subclass. A method brings:

    - ``model.data_module(recipe)``: loaders of batches, dicts of tensors that hold the samples' numbers under ``seed``;
      by default :class:`~facezoo.data.datamodule.FaceDataModule`.
    - ``model.augmentation(recipe, training=...)``: a callable (batch, seed) -> target that runs on the training device.
      A target is a :class:`~facezoo.data.augment.CropBatch` unless the method has its own.
    - ``model.inputs(target)``: the tensors that ``model.forward`` takes.
    - ``model.criterion(recipe.loss)``: a module (output, target) -> weighted scalar terms by name. Their sum is the
      loss; each is logged as ``train/<name>``. Its parameters train with the model's and are not exported.
    - ``model.metrics()`` and ``model.update_metrics(metrics, output, target)``: torchmetrics by name, logged as
      ``val/<name>``. The first one picks ``best.ckpt``; lower is better.
    - ``model.preview_points(output or target)``: (B, N, 2) for pictures, with ``trainer.image_every`` only.

    Outputs are NamedTuples of tensors. Everything else (rate, clipping, averages, precision, checkpoints, logs,
    processes) is done here and in the callbacks of :mod:`facezoo.training.run`, the same for all methods.

    Samples are augmented on the training device, seeded by run seed, step and rank: the loader stays cheap and a
    resumed run sees the same crops. Whatever else draws random numbers (dropout) is seeded in the same way, so no state
    of a generator need be kept.
    """

    def __init__(self, model: ZooModel, augment: Augmentation, recipe: Recipe, folder: RunFolder) -> None:
        super().__init__()
        self.model, self.criterion = model, model.criterion(recipe.loss)
        self.augment = augment
        self.plain: Augmentation = model.augmentation(recipe, training=False)
        self.recipe, self.folder = recipe, folder
        self.optim, self.settings, self.seed = recipe.optim, recipe.trainer, recipe.seed
        self.average = WeightAverage(model, self.optim.ema) if self.optim.ema > 0 else None
        self.metrics = nn.ModuleDict(model.metrics())
        self.read_step: ReadStep | None = None
        self.held_out: HeldOutLoader | None = None
        self.latest: dict[str, float] = {}  # the last values logged, by name
        self.validation: dict[str, float] = {}  # the last validation's
        self.spent = 0.0  # seconds of earlier parts of this run
        self.images_seen = 0  # by all processes
        self._began: float | None = None
        self._now = 0.0
        self._average_is_new = False
        self._terms: dict[str, Tensor] = {}
        self._norm = torch.zeros(())

    # -- time and schedule -------------------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of training, earlier parts of a resumed run included."""
        return self.spent + (0.0 if self._began is None else time.monotonic() - self._began)

    @property
    def progress(self) -> float:
        """Share of the run that is done, the same in all processes."""
        return progress(self.global_step, self._now, self.settings)

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
        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        if self.average is not None:
            if self._average_is_new:
                self.average.reset(self.model)
            self.average.to(self.device)
        self.watch = FiniteWatch(self.device, self.global_rank, self.trainer.world_size)
        self._began = time.monotonic()
        self._now = self.seconds

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set this step's learning rate and seed."""
        self._now = self._agreed(self.seconds)
        rate = learning_rate(self.progress, self.optim)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate
        torch.manual_seed(self._crop_seed(self.global_rank))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of one batch of stored samples."""
        target = self.augment(batch, self._crop_seed(self.global_rank))
        output = self.model(*self._inputs(target))
        with torch.autocast(self.device.type, enabled=False):  # sums over thousands of points need float32
            terms = self.criterion(_to_float(output), target)
            loss = torch.stack(list(terms.values())).sum()
        self._terms = {**{k: v.detach() for k, v in terms.items()}, "loss": loss.detach()}
        self.watch.look(loss, self.global_step)
        if self.global_step % self.watch.every == 0:
            self.check_finite(batch)
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradient's norm; a gradient that is not finite never reaches the weights of a CPU run."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._norm = nn.utils.clip_grad_norm_(parameters, gradient_clip_val or float("inf"))
        if self.settings.precision != "16":  # there overflow is normal, and the step is left out
            self.watch.look(self._norm, self.global_step, gradient=True)
            if self.watch.every == 1:
                self.check_finite()

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """Step and average the weights, before any callback can save one without the other."""
        super().optimizer_step(*arguments, **options)
        if self.average is not None:
            self.average.update(self.model)
        self.images_seen += self.recipe.data.batch_size * self.trainer.world_size
        step = self.global_step + 1
        if step % self.settings.log_every == 0 or step == self.settings.max_steps:
            self._log_step(step)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End the run when its time or steps are used up."""
        if self.progress >= 1:
            self.trainer.should_stop = True

    def on_validation_epoch_start(self) -> None:
        """Validate the averaged weights, those of the first process."""
        if self.trainer.world_size > 1:
            self._take_first_process()
        if self.average is not None:
            self.average.exchange(self.model)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Add a held-out batch, cropped plainly, to the metrics; in float32, as predictions are made."""
        with torch.autocast(self.device.type, enabled=False):
            target = self.plain(batch, 0)
            output = self.model(*self._inputs(target))
            self.model.update_metrics(self._named_metrics(), output, target)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of all processes and give the model its own weights back."""
        self.validation = {name: float(metric.compute()) for name, metric in self._named_metrics().items()}
        for metric in self._named_metrics().values():
            metric.reset()
        self._log({f"val/{name}": value for name, value in self.validation.items()}, self.global_step)
        if self.average is not None:
            self.average.exchange(self.model)

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not know: averages, time spent, images seen, the last validation."""
        checkpoint["facezoo"] = {
            "seconds": self.seconds,
            "images_seen": self.images_seen,
            "average": self.average.state_dict() if self.average is not None else None,
            "validation": self.validation,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore :meth:`on_save_checkpoint`'s part."""
        extra = checkpoint["facezoo"]
        self.spent, self.images_seen = extra["seconds"], extra["images_seen"]
        self.validation = dict(extra.get("validation", {}))
        if self.average is not None and extra["average"] is not None:
            self.average.load_state_dict(extra["average"])
        self._average_is_new = extra["average"] is None

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Take everything from a checkpoint without training on."""
        self.on_load_checkpoint(checkpoint)
        self.load_state_dict(checkpoint["state_dict"])
        if self.average is not None and self._average_is_new:
            self.average.reset(self.model)

    # -- helpers -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def predict_plain(self, batch: dict[str, Tensor]) -> tuple[Any, Any]:
        """Return the targets of a batch, not augmented, and the averaged model's output, for pictures."""
        target = self.plain({k: v.to(self.device) for k, v in batch.items()}, 0)
        training = self.model.training
        self.model.eval()
        with nullcontext() if self.average is None else self.average.applied(self.model):
            output = self.model(*self._inputs(target))
        self.model.train(training)
        return target, output

    def check_finite(self, batch: dict[str, Tensor] | None = None) -> None:
        """Stop the run if a loss or gradient since the last look was not finite; called before every checkpoint.

        Args:
            batch: this step's samples, when they are at hand; others are read again by their step.

        Raises:
            FacezooError: it was; names the file that its batch was saved in.
        """
        found = self.watch.found()
        if found is None:
            return
        step, rank = found
        ranks = list(range(self.trainer.world_size)) if rank is None else [rank]
        here = step == self.global_step
        if self.trainer.is_global_zero:
            assert self.read_step is not None
            mine = {self.global_rank: batch} if here and batch is not None else {}
            batches = {r: mine.get(r) or self.read_step(step, r) for r in ranks}
            known = {
                "source": "gradient" if rank is None else "loss",
                "terms": {k: float(v) for k, v in self._terms.items()} if here and 0 in ranks else {},
                "crop_seeds": [self._crop_seed(r, step) for r in ranks],
                "lr": self.trainer.optimizers[0].param_groups[0]["lr"],
                "precision": str(self.trainer.precision),
            }
            error = save_evidence(self.folder.path, self.recipe, step, batches, known)
        else:
            error = FacezooError(f"the loss is not finite at step {step}; the first process saved its batch")
        self.trainer.strategy.barrier("evidence")  # a process that ends takes the others with it
        raise error

    def _log_step(self, step: int) -> None:
        names, values = list(self._terms), torch.stack(list(self._terms.values())).float()
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(values)
            values /= self.trainer.world_size
        row = {f"train/{k}": v for k, v in zip(names, values.tolist(), strict=True)}
        row["train/gradient_norm"] = float(self._norm)
        row["lr"] = self.trainer.optimizers[0].param_groups[0]["lr"]
        row["images"], row["seconds"] = self.images_seen, round(self.seconds, 3)
        self._log(row, step)

    @rank_zero_only
    def _log(self, values: dict[str, float], step: int) -> None:
        self.latest |= values
        for logger in self.trainer.loggers:
            logger.log_metrics(values, step)

    def _agreed(self, seconds: float) -> float:
        """Return the first process's time: clocks differ, and rates and the end of the run must not."""
        if self.trainer.world_size == 1 or self.settings.max_minutes <= 0:
            return seconds
        shared = torch.tensor(seconds, dtype=torch.float32, device=self.device)
        torch.distributed.broadcast(shared, 0)
        return float(shared)

    @torch.no_grad()
    def _take_first_process(self) -> None:
        """Take the first process's averages, or buffers: batch statistics differ between processes."""
        if self.average is not None:
            values = list(self.average.values.values())
        else:
            values = [b for b in self.model.buffers() if b.is_floating_point()]
        if not values:
            return
        flat = torch.cat([v.float().flatten() for v in values])
        torch.distributed.broadcast(flat, 0)
        for value, part in zip(values, flat.split([v.numel() for v in values]), strict=True):
            value.copy_(part.view_as(value))

    def _named_metrics(self) -> dict[str, Any]:
        return dict(self.metrics.items())

    def _inputs(self, target: Any) -> tuple[Tensor, ...]:
        inputs = self.model.inputs(target)
        if self.settings.channels_last:
            inputs = tuple(
                x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x for x in inputs
            )
        return inputs

    def _crop_seed(self, rank: int, step: int | None = None) -> int:
        """Hash seed, step and process: torch's CPU generator keeps 32 bits, in which a plain sum comes round again."""
        step = self.global_step if step is None else step
        key = f"{self.seed} {step} {rank}".encode()
        return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1


def _to_float(output: Any) -> Any:
    """Return a method's output (a NamedTuple of tensors) in float32."""
    return type(output)(*(v.float() if torch.is_tensor(v) and v.is_floating_point() else v for v in output))
