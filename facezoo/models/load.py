"""One call from a name to a model that predicts."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import cast

import torch

from facezoo.catalog import CATALOG, Catalog
from facezoo.errors import InputError
from facezoo.hub import resolve
from facezoo.models.predict import FaceModel


def load(
    name_or_path: str | Path = "dense-1609",
    *,
    device: str | torch.device = "auto",
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    table: Catalog = CATALOG,
) -> FaceModel:
    """Load a model with its weights; nothing is ever downloaded for a model that travels in the wheel.

    Args:
        name_or_path: a name that ``facezoo list`` shows, with or without its tag; a folder that ``save_pretrained``
            wrote; or a repo on the Hub, ``"user/repo"`` or ``"user/repo@revision"``. A checkpoint folder that exists
            wins over a repo of the same name; ``facezoo://`` before a name says that it is no folder.
        device: where to run. ``"auto"`` is CUDA if there is any, else the CPU.
        revision: branch, tag or commit of a repo. A full commit hash is served from the cache without the network.
        cache_dir: where downloads are kept, instead of the Hub's common cache.
        token: for private repos, instead of ``HF_TOKEN``.
        table: the catalogue to look names up in.

    Returns:
        The model in eval mode.

    Raises:
        UnknownNameError: no such model; the message names the nearest.
        HubError: the repo can neither be downloaded nor found in the cache; the message lists what can be done.
        AssetError: its files are missing or damaged.
        InputError: there is no such device.
    """
    checkpoint = resolve(name_or_path, revision=revision, cache_dir=cache_dir, token=token, table=table)
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
