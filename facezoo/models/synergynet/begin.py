"""Begin a training with image features that another checkpoint of this project has learned."""

from __future__ import annotations

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from facezoo.errors import AssetError, RecipeError
from facezoo.hub import resolve
from facezoo.models.base import WEIGHTS_FILE, read_config
from facezoo.models.synergynet.config import SynergyConfig

# Fields that decide what a feature is.
_SHARED = ("backbone", "widths", "depths", "block", "pooling", "neck_channels", "crop_size", "mean", "std")
_PREFIX = "net.features."


def load_features(features: nn.Module, config: SynergyConfig) -> None:
    """Copy image features into a network, in place.

    Args:
        features: an :class:`~facezoo.backbones.features.ImageFeatures`.
        config: ``features_from`` names the checkpoint; the other fields are the network's own.

    Raises:
        UnknownNameError, AssetError: there is no such checkpoint, or it holds no features.
        RecipeError: its features are of other sizes; the message names every key.
    """
    checkpoint = resolve(config.features_from)
    checkpoint.verify()
    given = read_config(checkpoint.folder)["config"]
    wrong = [key for key in _SHARED if given.get(key) != getattr(config, key)]
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
    found = {
        name.removeprefix(_PREFIX): value.float() if value.is_floating_point() else value
        for name, value in tensors.items()
        if name.startswith(_PREFIX)
    }
    try:
        features.load_state_dict(found)
    except RuntimeError as error:
        raise AssetError(f"{path} holds no features for model.backbone={config.backbone}: {error}") from error
