"""Where a run computes: device, precision and processes, who started them, and why these."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.strategies import DDPStrategy

from facezoo.errors import InputError, RecipeError
from facezoo.predicting.launch import process_counts
from facezoo.training.settings import OptimConfig, TrainerConfig

_NAMES = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
_BF16_FLAGS = ("avx512_bf16", "amx_bf16")


@dataclass(frozen=True)
class Machines:
    """What :func:`choose` decided.

    Attributes:
        accelerator: ``"cpu"``, ``"cuda"`` or ``"mps"``.
        precision: as Lightning names it.
        reason: why this precision.
        devices: processes on each machine.
        nodes: machines.
    """

    accelerator: str
    precision: str
    reason: str
    devices: int
    nodes: int

    @property
    def world(self) -> int:
        """Number of processes."""
        return self.devices * self.nodes

    def __str__(self) -> str:
        count = f"{self.world} processes" if self.world > 1 else "1 process"
        spread = f" on {self.nodes} machines" if self.nodes > 1 else ""
        return f"{count}{spread} on {self.accelerator}, precision {self.precision} ({self.reason})"


def choose(settings: TrainerConfig) -> Machines:
    """Decide device, precision and the number of processes of a run.

    Raises:
        RecipeError: the device is not there, has not so many units or no such precision, or the launcher started
            another number of processes than the recipe says.
    """
    accelerator = _accelerator(settings)
    try:
        names = ("trainer.devices", "trainer.nodes")
        devices, nodes = process_counts(settings.devices or None, settings.nodes or None, names=names)
    except InputError as error:
        raise RecipeError(str(error).replace("predicting_folders.md", "training.md")) from error
    if accelerator == "cuda" and devices > torch.cuda.device_count():
        raise RecipeError(
            f"trainer.devices={devices} but this machine has {torch.cuda.device_count()} CUDA devices; lower it"
        )
    if accelerator == "mps" and devices > 1:
        raise RecipeError(f"trainer.devices={devices} but trainer.device=mps is one device; use cpu or cuda")
    return Machines(accelerator, *_precision(settings, accelerator), devices, nodes)


def build_trainer(
    settings: TrainerConfig, optim: OptimConfig, machines: Machines, callbacks: list[Callback]
) -> lightning.Trainer:
    """Build the Lightning trainer of a run; it gets its loggers when the run's folder is ready."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # A requeued job goes on from last.ckpt; Lightning's own requeueing would keep a second kind of checkpoint.
    slurm = SLURMEnvironment.detect() and "TORCHELASTIC_RUN_ID" not in os.environ
    return lightning.Trainer(
        default_root_dir=Path(settings.run_dir),
        accelerator=machines.accelerator,
        devices=machines.devices,
        num_nodes=machines.nodes,
        strategy=UnevenDDP() if machines.world > 1 else "auto",
        plugins=[SLURMEnvironment(auto_requeue=False)] if slurm else None,
        precision=machines.precision,  # type: ignore[arg-type]
        max_steps=settings.max_steps or -1,
        max_epochs=-1,
        val_check_interval=settings.validate_every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        gradient_clip_val=optim.clip or None,
        log_every_n_steps=settings.log_every,
        logger=False,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


class UnevenDDP(DDPStrategy):
    """Distributed training whose processes may validate different numbers of batches.

    Validation goes past the wrapper that exchanges buffers at every forward pass: it would wait for processes that have
    no batch left. Metrics are exchanged once, when all are done.
    """

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module itself."""
        assert self.lightning_module is not None
        with self.precision_plugin.val_step_context():
            return self.lightning_module.validation_step(*args, **kwargs)


def fast_bfloat16() -> str | None:
    """Return the CPU feature that multiplies bfloat16 natively, None without one.

    Without it bfloat16 is emulated and slower than float32.
    """
    try:
        text = Path("/proc/cpuinfo").read_text()
        line = next(line for line in text.splitlines() if line.startswith("flags"))
        present = set(line.split())
    except (OSError, StopIteration):  # not Linux on x86
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        present = {name for name, there in capabilities.items() if there is True}
    return next((flag for flag in _BF16_FLAGS if flag in present), None)


def _accelerator(settings: TrainerConfig) -> str:
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if settings.device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[settings.device]:
        raise RecipeError(
            f"trainer.device={settings.device} but torch sees no such device; use trainer.device=auto or cpu"
        )
    return settings.device


def _precision(settings: TrainerConfig, accelerator: str) -> tuple[str, str]:
    if settings.precision == "16" and accelerator != "cuda":
        raise RecipeError(
            f"trainer.precision=16 needs a CUDA device, the run is on {accelerator}; use trainer.precision=auto"
        )
    if settings.precision != "auto":
        return _NAMES[settings.precision], "as asked for"
    if accelerator == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return _NAMES["bf16"], "auto: the GPU computes bfloat16"
        return _NAMES["32"], "auto: the GPU has no bfloat16"
    if accelerator == "mps":
        return _NAMES["32"], "auto: float32 on mps"
    flag = fast_bfloat16()
    if flag:
        return _NAMES["bf16"], f"auto: the CPU has {flag}"
    return _NAMES["32"], f"auto: the CPU has neither {' nor '.join(_BF16_FLAGS)}"
