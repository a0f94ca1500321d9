"""What every method's configuration refuses, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from facezoo.checks import check_lengths
from facezoo.data.datamodule import DataConfig
from facezoo.errors import InputError, RecipeError, UnknownNameError
from facezoo.models.deca.config import DecaConfig, DecaLossConfig
from facezoo.models.dense.config import DenseConfig, DenseLossConfig
from facezoo.models.flowface.config import FlowFaceConfig, FlowFaceLossConfig
from facezoo.models.stabilizer.config import PairConfig, StabilizerConfig, StabilizerLossConfig
from facezoo.models.synergynet.config import SynergyConfig, SynergyLossConfig
from facezoo.training.settings import OptimConfig, TrainerConfig

NANO = (DenseConfig, SynergyConfig, DecaConfig, FlowFaceConfig)
LOSSES = (DenseLossConfig, SynergyLossConfig, DecaLossConfig, FlowFaceLossConfig, StabilizerLossConfig)


@pytest.mark.parametrize("kind", NANO)
def test_nano_needs_known_blocks_and_a_depth_for_each_width(kind: Any) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown model\.block 'basik'. Did you mean 'basic'\?"):
        kind(block="basik")
    with pytest.raises(
        RecipeError, match=r"model\.widths=\[8, 16\].*model\.depths=\[1\].*one entry a stage each"
    ):
        kind(widths=[8, 16], depths=[1])


@pytest.mark.parametrize("kind", NANO[:3])
def test_pooling_is_known(kind: Any) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown model\.pooling 'max'.*Known: avg, flatten"):
        kind(pooling="max")


@pytest.mark.parametrize("kind", LOSSES)
def test_loss_is_known(kind: Any) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown loss\.name 'hinge'"):
        kind(name="hinge")


@pytest.mark.parametrize(
    ("kind", "values", "text"),
    [
        (StabilizerConfig, {"region": "fase"}, r"model\.region 'fase'. Did you mean 'face'"),
        (StabilizerConfig, {"points": 15}, r"model\.points=15; expected at least 16"),
        (PairConfig, {"pool": 1}, r"data\.pool=1; expected at least 2"),
        (
            PairConfig,
            {"noise": [1.0]},
            r"data\.noise=\[1\.0\] and data\.widths=.* need one entry a scale each",
        ),
        (PairConfig, {"source": "shards"}, r"unknown data\.source 'shards'"),
        (SynergyConfig, {"looks": 0}, r"model\.looks=0; expected at least 1"),
        (FlowFaceConfig, {"radius": 0}, r"model\.radius=0; expected at least 1"),
        (DecaLossConfig, {"pictures": 0}, r"loss\.pictures=0; expected at least 1"),
        (DataConfig, {"workers": -2}, r"data\.workers=-2; expected at least -1"),
        (OptimConfig, {"schedule": "cosin"}, r"optim\.schedule 'cosin'. Did you mean 'cosine'"),
        (TrainerConfig, {"log_every": 0}, r"trainer\.log_every=0; expected at least 1"),
        (TrainerConfig, {"max_minutes": -1.0}, r"trainer\.max_minutes=-1\.0; expected at least 0"),
    ],
)
def test_values_are_refused(kind: Any, values: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        kind(**values)


def test_three_lists_are_all_named() -> None:
    config = DenseConfig(spiral_channels=[1, 1, 1], spiral_factors=[4, 4])
    with pytest.raises(
        RecipeError, match=r"model\.widths=.*, model\.depths=.* and model\.mean=.* a channel each"
    ):
        check_lengths("model", config, "channel", "widths", "depths", "mean")
