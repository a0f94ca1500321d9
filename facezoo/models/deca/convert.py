"""The released ``deca_model.tar``: checked key by key and turned into this project's names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facezoo.errors import AssetError
from facezoo.models.deca.config import DecaConfig
from facezoo.models.deca.net import DecaNet

# Group of the checkpoint -> (prefix there, prefix of the network), the longest first.
_NAMES = {
    "E_flame": (("encoder.", "coarse.features.backbone."), ("", "coarse.")),
    "E_detail": (("encoder.", "detail.features.backbone."), ("", "detail.")),
    "D_detail": (("", "decoder."),),
}
_COUNTERS = "num_batches_tracked"  # absent from files of old torch versions, and of no use


def read_official(path: str | Path) -> dict[str, dict[str, Tensor]]:
    """Read the three groups of tensors; nothing in the file is executed.

    Raises:
        AssetError: missing, damaged, or not that checkpoint.
    """
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for broken files
        raise AssetError(f"cannot read {path} as DECA's checkpoint: {error}") from error
    missing = [group for group in _NAMES if not isinstance(content, Mapping) or group not in content]
    if missing:
        raise AssetError(f"{path} is not deca_model.tar: it lacks {', '.join(missing)}.")
    return {group: dict(content[group]) for group in _NAMES}


def load_official(net: DecaNet, groups: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Copy official weights into a network of the paper's sizes; every key and shape must fit.

    The released loader skips whatever does not fit, so that half-loaded models go unnoticed; this one does not.

    Args:
        net: built with ``compat="official"``, ``n_expression=50`` and defaults otherwise; a
            group that is left out keeps its weights.
        groups: ``"E_flame"``, ``"E_detail"`` and ``"D_detail"``, each a state dict with the released names.

    Raises:
        AssetError: a group, key or shape that is unknown or missing.
    """
    for group, values in groups.items():
        if group not in _NAMES:
            raise AssetError(f"DECA's checkpoint has the groups {', '.join(_NAMES)}, not {group!r}.")
        prefixes = _NAMES[group]
        own = prefixes[-1][1]
        expected = {name: value for name, value in net.state_dict().items() if name.startswith(own)}
        given = {_renamed(key, prefixes): value for key, value in values.items()}
        given |= {k: v for k, v in expected.items() if k.endswith(_COUNTERS) and k not in given}
        wrong = sorted(given.keys() ^ expected.keys())
        wrong += [k for k in given.keys() & expected.keys() if given[k].shape != expected[k].shape]
        if wrong:
            raise AssetError(
                f"{group} does not fit: {len(wrong)} of {len(expected)} tensors differ, first {wrong[0]!r}; the "
                "released weights need model.compat=official and the paper's sizes."
            )
        net.load_state_dict(given, strict=False)


def _renamed(key: str, prefixes: tuple[tuple[str, str], ...]) -> str:
    for official, own in prefixes:
        if key.startswith(official):
            return own + key.removeprefix(official)
    return key


def convert_checkpoint(checkpoint: str | Path, folder: str | Path, config: DecaConfig) -> str:
    """Write the released checkpoint as a model folder that ``facezoo.load`` reads.

    Args:
        checkpoint: ``deca_model.tar``.
        folder: where config.json and model.safetensors go.
        config: of the network, with ``compat="official"`` for the released one.

    Returns:
        sha256 of the weights.

    Raises:
        AssetError: the file is damaged or does not fit, or the head is not installed.
    """
    from facezoo.models.deca.module import DecaModel

    model = DecaModel(config)
    load_official(model.net, read_official(checkpoint))
    info = {
        "head_id": model.net.space.head.head_id,
        "licences": {
            "code": "Apache-2.0",
            "weights": "of the released DECA checkpoint: MPI, non-commercial research",
            "head": model.net.space.head.licence,
            "data": "VGGFace2, BUPT-Balancedface, VoxCeleb2: research",
        },
        "converted_from": Path(checkpoint).name,
    }
    return model.save_pretrained(folder, info=info)
