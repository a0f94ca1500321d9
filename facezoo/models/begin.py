"""Begin a training with image features that another checkpoint of this project has learned."""

from __future__ import annotations

from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from facezoo.backbones.features import ImageFeatures
from facezoo.errors import AssetError, RecipeError
from facezoo.hub import resolve
from facezoo.models.base import WEIGHTS_FILE, read_config

# Fields that decide what the maps of a backbone are, and what they are pooled to.
_MAPS = ("backbone", "widths", "depths", "block", "mean", "std")
_POOLED = ("pooling", "neck_channels", "crop_size")
_PREFIX = "net.features."


def load_features(own: nn.Module, config: Any, part: str = "") -> None:
    """Copy image features into a network, in place.

    Args:
        own: an :class:`~facezoo.backbones.features.ImageFeatures`, or a
            :class:`~facezoo.backbones.nano.NanoBackbone` that takes over the backbone only.
        config: the method's configuration; ``features_from`` names the checkpoint.
        part: prefix of the checkpoint's tensors that ``own`` takes, if it is another layer behind the backbone.

    Raises:
        UnknownNameError, AssetError: there is no such checkpoint, or it holds no features.
        RecipeError: its features are of other sizes; the message names every key.
    """
    checkpoint = resolve(config.features_from)
    checkpoint.verify()
    given = read_config(checkpoint.folder)["config"]
    whole = isinstance(own, ImageFeatures)
    shared = (*_MAPS, *(key for key in _POOLED if hasattr(config, key))) if whole or part else _MAPS
    wrong = [key for key in shared if given.get(key) != getattr(config, key)]
    if wrong:
        listed = " ".join(f"model.{key}={str(given.get(key)).replace(' ', '')}" for key in wrong)
        raise RecipeError(
            f"model.features_from={config.features_from} has other features than this recipe; add {listed}, or "
            "model.features_from='' to begin anew"
        )
    path = checkpoint.folder / WEIGHTS_FILE
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise AssetError(f"{path} cannot be read: {error}") from error
    prefix = part or (_PREFIX if whole else f"{_PREFIX}backbone.")
    found = {
        name.removeprefix(prefix): value.float() if value.is_floating_point() else value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
    try:
        own.load_state_dict(found)
    except RuntimeError as error:
        raise AssetError(f"{path} holds no features for model.backbone={config.backbone}: {error}") from error
