"""Optimiser and trainer sections of a recipe."""

from __future__ import annotations

from dataclasses import dataclass

from facezoo.checks import check_least, check_names
from facezoo.errors import RecipeError, unknown_name

OPTIMIZERS, SCHEDULES = ("adamw", "adam"), ("cosine", "constant")
DEVICES, PRECISIONS, RESUMES = ("auto", "cpu", "cuda", "mps"), ("auto", "32", "bf16", "16"), ("auto", "never")
LOGGERS = ("csv", "wandb", "tensorboard", "none")


@dataclass
class OptimConfig:
    """The recipe's ``optim`` section.

    Attributes:
        name: ``"adamw"`` or ``"adam"``.
        lr: highest learning rate.
        lr_end: the rate at the end as a share of ``lr``.
        weight_decay: decay of matrices and convolutions; biases, norms and 1-d tensors have none.
        warmup: share of the run with a rising rate.
        schedule: ``"cosine"`` or ``"constant"`` after the warm-up.
        clip: largest norm of the gradient; 0 for none.
        ema: decay of the averaged weights that are validated and exported; 0 for none.
    """

    name: str = "adamw"
    lr: float = 2e-3
    lr_end: float = 0.005
    weight_decay: float = 0.03
    warmup: float = 0.03
    schedule: str = "cosine"
    clip: float = 1.0
    ema: float = 0.998

    def __post_init__(self) -> None:
        check_names("optim", self, name=OPTIMIZERS, schedule=SCHEDULES)
        for name, low, high in (("lr", 0, None), ("clip", 0, None), ("warmup", 0, 1), ("ema", 0, 1)):
            value = getattr(self, name)
            if value < low or (high is not None and value >= high):
                raise RecipeError(f"optim.{name}={value:g}; expected {_range(low, high)}")


@dataclass
class TrainerConfig:
    """The recipe's ``trainer`` section.

    Attributes:
        run_dir: folder of the run.
        resume: ``"auto"`` continues from the run's last checkpoint, ``"never"`` starts over.
        max_steps: end after so many steps; 0 for no limit.
        max_minutes: end after so much wall-clock time, over which the schedule is stretched; 0 for no limit. When both
            are given, the schedule follows the one that ends first.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        precision: ``"auto"`` (bfloat16 where the device is fast at it), ``"32"``, ``"bf16"`` or ``"16"``. Losses and
            validation are computed in float32 in any case.
        devices, nodes: processes a machine and machines; 0 is what torchrun or SLURM started, and 1 without them.
        threads: threads of the CPU a process; 0 leaves torch's choice.
        channels_last: memory format of the network.
        compile: compile the network (needs a C++ compiler).
        logger: ``"csv"``, ``"wandb"``, ``"tensorboard"``, several of them with commas, or ``"none"``.
        log_every: steps between lines of the log.
        validate_every: steps between validations.
        image_every: steps between pictures of predictions; 0 for none.
        checkpoint_every: steps between checkpoints.
    """

    run_dir: str = "runs/dense"
    resume: str = "auto"
    max_steps: int = 0
    max_minutes: float = 0.0
    device: str = "auto"
    precision: str = "auto"
    devices: int = 0
    nodes: int = 0
    threads: int = 0
    channels_last: bool = True
    compile: bool = False
    logger: str = "csv"
    log_every: int = 20
    validate_every: int = 500
    image_every: int = 1000
    checkpoint_every: int = 250

    def __post_init__(self) -> None:
        check_names("trainer", self, device=DEVICES, precision=PRECISIONS, resume=RESUMES)
        for name in self.loggers:
            if name not in LOGGERS:
                raise unknown_name("trainer.logger", name, LOGGERS)
        if not self.run_dir:
            raise RecipeError("trainer.run_dir is empty; name a folder, e.g. trainer.run_dir=runs/first")
        check_least("trainer", self, log_every=1, validate_every=1, checkpoint_every=1, image_every=0)
        check_least("trainer", self, max_steps=0, max_minutes=0, devices=0, nodes=0, threads=0)

    @property
    def loggers(self) -> list[str]:
        """Names in ``logger``."""
        return [name.strip() for name in self.logger.split(",")]


def _range(low: float, high: float | None) -> str:
    return f"{low:g} or more" + ("" if high is None else f" and less than {high:g}")
