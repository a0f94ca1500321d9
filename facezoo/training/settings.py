"""Optimiser and trainer sections of a recipe."""

from __future__ import annotations

from dataclasses import dataclass


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
        precision: ``"auto"`` (bfloat16 where the device is fast at it), ``"32"``, ``"bf16"`` or ``"16"``.
        devices, nodes: processes of a distributed run.
        threads: threads of the CPU; 0 leaves torch's choice.
        channels_last: memory format of the network.
        compile: compile the network (needs a C++ compiler).
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
    devices: int = 1
    nodes: int = 1
    threads: int = 0
    channels_last: bool = True
    compile: bool = False
    log_every: int = 20
    validate_every: int = 500
    image_every: int = 1000
    checkpoint_every: int = 250
