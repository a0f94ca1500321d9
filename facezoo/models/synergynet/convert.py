"""The released SynergyNet checkpoint as a model of this project: ``best.pth.tar`` of choyingw/SynergyNet.

Nothing in the file is executed. The dense Basel Face Model that it carries stays behind: a converted folder needs the
user's own head file (:mod:`facezoo.heads.bfm`), under its licence.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facezoo.errors import AssetError
from facezoo.heads import load_head
from facezoo.models.synergynet.config import SynergyConfig
from facezoo.models.synergynet.module import SynergyModel

CROP_SCALE = 1.414  # of the benchmark's boxes: side over the 68 points' box, the median of AFLW2000-3D
_BUFFERS = ("u", "w_shp", "w_exp", "u_base", "w_shp_base", "w_exp_base")  # the 3DMM's
_HEADS = {"ori": 0, "shape": 1, "exp": 2}
_LAYERS = {
    "forwardDirection": [
        "local.0",
        "local.1",
        "whole.0",
        "whole.1",
        "whole.2",
        *(f"merge.{i}" for i in range(4)),
    ],
    "reverseDirection": [f"points.{i}" for i in range(5)],
}
_PLACES = {"forwardDirection": "net.refiner", "reverseDirection": "net.reverse"}


def convert_checkpoint(checkpoint: str | Path, head: str, folder: str | Path) -> str:
    """Write a released checkpoint as a model folder.

    Args:
        checkpoint: ``best.pth.tar``.
        head: the Basel Face Model as ``python -m facezoo.heads.bfm`` wrote it.
        folder: where config.json and model.safetensors go.

    Returns:
        sha256 of the weights.

    Raises:
        AssetError: the file is damaged, is no such checkpoint, or does not fit the head.
    """
    model = SynergyModel(official_config(head))
    load_official(model, read_checkpoint(checkpoint))
    info = {
        "head_id": model.net.space.head.head_id,
        "licences": {
            "code": "MIT",
            "weights": "of the released SynergyNet checkpoint; research",
            "head": model.net.space.head.licence,
            "data": "300W-LP; research",
        },
        "converted_from": Path(checkpoint).name,
    }
    return model.save_pretrained(folder, info=info)


def official_config(head: str) -> SynergyConfig:
    """Return the configuration of the released network."""
    model = load_head(head)
    return SynergyConfig(
        head=head,
        compat="official",
        jaw=False,
        points=0,
        n_identity=model.n_identity,
        n_expression=model.n_expression,
        crop_scale=CROP_SCALE,
        crop_padding="zeros",
        border=5,
    )


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read tensors from a PyTorch file without executing it; ``module.`` before names is dropped.

    Raises:
        AssetError: missing, damaged, or more than tensors.
    """
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise AssetError(f"{path} cannot be read as a checkpoint of tensors: {error}") from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise AssetError(f"{path} is no SynergyNet checkpoint: it holds no table of tensors")
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def load_official(model: SynergyModel, state: Mapping[str, Tensor]) -> None:
    """Load official tensors into a model of ``compat="official"``; every one must find its place.

    Raises:
        AssetError: a tensor is unknown, missing, or of another shape.
    """
    own = model.state_dict()
    unit = _coefficient_units(model, state)
    given: dict[str, Tensor] = {}
    for name, value in state.items():
        if name in _BUFFERS:
            continue
        if name in ("param_mean", "param_std"):
            # metres for the head's micrometres, coefficients in the head's standard deviations
            given[f"net.space.{name.removeprefix('param_')}"] = value.flatten()[: len(unit)].float() * unit
            continue
        given[_rename(name)] = value
    kept = {name for name in own if re.match(r"net\.space\.(shape|expression)_", name)}
    missing, strange = sorted(own.keys() - given.keys() - kept), sorted(given.keys() - own.keys())
    if missing or strange:
        raise AssetError(
            f"this is no SynergyNet checkpoint with MobileNetV2: it lacks {missing[:3]}, and has {strange[:3]} besides"
        )
    try:
        model.load_state_dict({**own, **given})
    except RuntimeError as error:
        raise AssetError(f"the checkpoint's sizes are not SynergyNet's: {error}") from error


def _rename(name: str) -> str:
    """Turn an official name into this project's; unknown names come back as they are."""
    if name.startswith("I2P.backbone.features."):
        return name.replace("I2P.backbone.features.", "net.image_to_params.backbone.features.")
    if found := re.fullmatch(r"I2P\.backbone\.classifier_(\w+)\.1\.(\w+)", name):
        return f"net.image_to_params.heads.{_HEADS.get(found[1], found[1])}.1.{found[2]}"
    if found := re.fullmatch(r"(forward|reverse)Direction\.(conv|bn)(\d+)(?:_(\d))?\.(\w+)", name):
        part = f"{found[1]}Direction"
        layers, number = _LAYERS[part], int(found[3]) - 1
        if found[4]:
            layer = f"heads.{int(found[4]) - 1}"
        elif number < len(layers):
            layer = layers[number]
        else:
            return name
        return f"{_PLACES[part]}.{layer}.{'conv' if found[2] == 'conv' else 'norm'}.{found[5]}"
    return name


def _coefficient_units(model: SynergyModel, state: Mapping[str, Tensor]) -> Tensor:
    """Return what official raw parameters (P,) are multiplied with to be this head's."""
    head, config = model.net.space.head, model.config
    unit = torch.ones(sum(config.sizes))
    scale = head.meta.get("official_units")
    if scale is not None:  # a head of metres and standard deviations, see facezoo.heads.bfm
        pose = torch.ones(3, 4)
        pose[:, :3] /= float(scale["metre"])
        coefficients = torch.tensor(
            [*scale["identity"][: config.shape_rank], *scale["expression"][: config.expression_rank]]
        )
        unit = torch.cat([pose.flatten(), 1 / coefficients])
    return unit
