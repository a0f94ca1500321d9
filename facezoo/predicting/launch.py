"""How many processes a run has and who starts them: this command, torchrun or SLURM."""

from __future__ import annotations

import datetime
import logging
import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
import torch.distributed
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy

from facezoo.errors import InputError
from facezoo.models.load import pick_device

# One process may have finished long before the slowest: the last meeting point waits for it.
_PATIENCE = datetime.timedelta(days=30)


def process_counts(
    devices: int | None,
    nodes: int | None,
    environment: Mapping[str, str] | None = None,
    names: tuple[str, str] = ("--devices", "--num-nodes"),
) -> tuple[int, int]:
    """Return processes a machine and machines.

    Args:
        devices: processes a machine as asked for; None leaves it to the launcher, or is 1 without one.
        nodes: machines as asked for; None likewise.
        environment: variables that launchers set; default the process's own.
        names: what a person calls the two counts.

    Raises:
        InputError: a count below 1, one that contradicts the launcher, or several machines without a launcher.
    """
    env = os.environ if environment is None else environment
    for name, value in zip(names, (devices, nodes), strict=True):
        if value is not None and value < 1:
            raise InputError(f"{name} must be at least 1, got {value}.")
    if "TORCHELASTIC_RUN_ID" in env:
        each = int(env.get("LOCAL_WORLD_SIZE", 1))
        given, launcher = (each, int(env["WORLD_SIZE"]) // each), "torchrun"
    elif "SLURM_NTASKS" in env and env.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        machines, tasks = int(env.get("SLURM_NNODES", 1)), int(env["SLURM_NTASKS"])
        if tasks > 1 and "SLURM_NTASKS_PER_NODE" not in env:
            raise InputError(
                f"this SLURM job has {tasks} tasks but no --ntasks-per-node; set it in place of --ntasks."
            )
        given, launcher = (int(env.get("SLURM_NTASKS_PER_NODE", 1)), machines), "SLURM"
    else:
        if (nodes or 1) > 1 and not {"MASTER_ADDR", "NODE_RANK"} <= env.keys():
            raise InputError(
                f"{names[1]} {nodes} needs srun or torchrun on every machine; see docs/predicting_folders.md."
            )
        return devices or 1, nodes or 1
    wanted = (devices or given[0], nodes or given[1])
    if wanted != given:
        raise InputError(
            f"{launcher} started {given[0]} processes on each of {given[1]} machines, but {names[0]} {wanted[0]} "
            f"{names[1]} {wanted[1]} were asked for; leave both options out."
        )
    return given


def build_trainer(
    out: Path, device: str, devices: int | None, nodes: int | None, callbacks: list[Callback]
) -> lightning.Trainer:
    """Build a trainer that only predicts.

    Args:
        out: the output folder.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
        devices, nodes: see :func:`process_counts`.
        callbacks: what happens with predictions.

    Raises:
        InputError: the device is not there, or fewer of them than asked for.
    """
    each, machines = process_counts(devices, nodes)
    chosen = pick_device(device)
    if chosen.type == "cuda" and chosen.index is None and each > torch.cuda.device_count():
        raise InputError(
            f"--devices {each}, but this machine has {torch.cuda.device_count()} CUDA devices; "
            "lower it, or add --device cpu."
        )
    if chosen.index is not None and chosen.type == "cuda" and each > 1:
        raise InputError(f"--device {device} is one device; --devices {each} needs --device cuda.")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    follow_parent()
    count: Any = [chosen.index] if chosen.type == "cuda" and chosen.index is not None else each
    return lightning.Trainer(
        default_root_dir=out,
        accelerator=chosen.type,
        devices=count,
        num_nodes=machines,
        # Processes exchange a list of names and nothing else: no need of NCCL on GPUs.
        strategy=DDPStrategy(process_group_backend="gloo") if each * machines > 1 else "auto",
        precision="32-true",
        callbacks=[*callbacks, OwnSignals()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        inference_mode=False,  # the fit's derivatives are taken under no_grad
    )


class MeetingPoint:
    """A barrier that waits for the slowest process, however long it takes."""

    def __init__(self) -> None:
        self._group: Any = None

    def prepare(self) -> None:
        """Agree on the barrier while all processes are there."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            self._group = torch.distributed.new_group(backend="gloo", timeout=_PATIENCE)

    def wait(self) -> bool:
        """Wait for all; False if one of them is gone."""
        if self._group is None:
            return True
        try:
            torch.distributed.barrier(self._group)
        except RuntimeError:  # what gloo raises when a peer closes its connection
            return False
        return True


class OwnSignals(Callback):
    """End at SIGTERM and SIGUSR1 as any program does.

    A trainer catches them to save checkpoints at the end of a step; here every finished picture is safe already.
    """

    def __init__(self) -> None:
        kinds = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]
        self._handlers = {kind: signal.getsignal(kind) for kind in kinds}

    def on_predict_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Put the handlers back that were there before the trainer's."""
        for kind, handler in self._handlers.items():
            if handler is not None:
                signal.signal(kind, handler)


def follow_parent() -> None:
    """End this process when the one that started it is gone: a killed run must not go on behind its user's back.

    A thread looks once a second, also while the process waits for others. Only for processes of a launcher on this
    machine (torchrun, or the run's first process); SLURM ends its own.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ and int(os.environ.get("LOCAL_RANK", 0)) == 0:
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="follow-parent").start()
