"""One call from a name to a model that predicts."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import cast

import torch

from facezoo.errors import InputError
from facezoo.hub import resolve
from facezoo.models.predict import FaceModel


def load(name_or_path: str | Path = "dense-1609", *, device: str | torch.device = "auto") -> FaceModel:
    """Load a model with its weights; nothing is ever downloaded for a model that travels in the wheel.

    Args:
        name_or_path: a name that ``facezoo list`` shows, with or without its tag, or a folder that
            ``save_pretrained`` wrote.
        device: where to run. ``"auto"`` is CUDA if there is any, else the CPU.

    Returns:
        The model in eval mode.

    Raises:
        UnknownNameError: no such model; the message names the nearest.
        AssetError: its files are missing or damaged.
        InputError: there is no such device.
    """
    checkpoint = resolve(name_or_path)
    checkpoint.verify()
    model_class = getattr(importlib.import_module(checkpoint.model.module), checkpoint.model.class_name)
    model = cast(FaceModel, model_class.from_pretrained(checkpoint.folder))
    model.model_id = checkpoint.id
    return model.to(pick_device(device)).eval()


def pick_device(device: str | torch.device) -> torch.device:
    """Turn a device name into a device that exists.

    Raises:
        InputError: it does not; nothing falls back to another one silently.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        raise InputError(
            f"device {str(device)!r} cannot be used here ({str(error).splitlines()[0]}); "
            "use device='cpu' or device='auto'. `facezoo doctor` shows what there is."
        ) from error
    return found
