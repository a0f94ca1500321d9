"""The image features that DECA's encoders begin with: another checkpoint's, whole or the first stages of them."""

from __future__ import annotations

from dataclasses import replace

from facezoo.backbones.features import ImageFeatures
from facezoo.errors import RecipeError
from facezoo.models.begin import load_features
from facezoo.models.deca.config import DecaConfig
from facezoo.models.deca.net import DecaNet


def begin_with_features(net: DecaNet, config: DecaConfig) -> None:
    """Copy into the coarse and the detail encoder, in place, what ``features_from`` and ``detail_features_from`` name.

    Raises:
        UnknownNameError, AssetError, RecipeError: see :func:`~facezoo.models.begin.load_features`; or the detail
            encoder's stages are not the first ones of what it shall begin with.
    """
    if config.features_from:
        load_features(net.coarse.features, config)
    if net.detail is None or not config.detail_features_from:
        return
    whole = ImageFeatures(config)
    load_features(whole, replace(config, features_from=config.detail_features_from))
    given, own = whole.backbone.state_dict(), net.detail.features.backbone.state_dict()
    wrong = [name for name, value in own.items() if name not in given or given[name].shape != value.shape]
    if wrong:
        raise RecipeError(
            f"model.detail_features_from={config.detail_features_from} has no features for {wrong[0]} of the detail "
            "encoder; model.detail_widths and model.detail_depths must be the beginning of model.widths and "
            "model.depths, or model.detail_features_from=''"
        )
    net.detail.features.backbone.load_state_dict({name: given[name] for name in own})
