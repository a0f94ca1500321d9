"""The dense network: shapes, sizes, start, storage, and what a checkpoint must not hold."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from facezoo.data.augment import CropBatch
from facezoo.data.statistics import measure_targets
from facezoo.errors import AssetError, InputError, RecipeError, UnknownNameError
from facezoo.heads import HeadModel
from facezoo.models.base import count_parameters
from facezoo.models.dense.config import DenseConfig
from facezoo.models.dense.module import DenseModel
from facezoo.models.dense.net import START_SIGMA, DenseNet, DenseOutput

SMALL = {
    "points": 20,
    "widths": [8, 8, 8, 8],
    "depths": [1, 1, 1, 1],
    "hidden": 16,
    "rank": 8,
    "scale_rank": 4,
}


def small(**changes: object) -> DenseConfig:
    return DenseConfig(**{**SMALL, "crop_size": 64, "n_identity": 5, "n_expression": 4, **changes})


@pytest.mark.parametrize("decoder", ["mlp", "linear", "spiral"])
@pytest.mark.parametrize("channels", [1, 2])
def test_output_shapes(decoder: str, channels: int) -> None:
    model = DenseModel(small(decoder=decoder, scale_channels=channels)).eval()
    out = model(torch.rand(3, 3, 64, 64))
    shapes = {name: tuple(value.shape) for name, value in out._asdict().items()}
    assert shapes == {
        "points": (3, 20, 2),
        "log_sigma": (3, 20, channels),
        "confidence": (3, 20),
        "landmarks68": (3, 68, 2),
        "log_sigma68": (3, 68, channels),
        "contour68": (3, 68, 2),
        "log_sigma_contour68": (3, 68, channels),
        "identity": (3, 5),
        "expression": (3, 4),
        "jaw": (3, 3),
        "rotation6d": (3, 6),
        "placement": (3, 3),
    }
    torch.testing.assert_close(out.confidence, (1 - out.log_sigma.exp().mean(-1)).clamp_min(0))


@pytest.mark.parametrize("block", ["fused", "basic"])
def test_embedded_configuration_fits_in_ten_megabytes(block: str) -> None:
    assert count_parameters(DenseModel(DenseConfig(block=block, depths=[1, 1, 2, 1]))) <= 4_800_000
    assert count_parameters(DenseModel(DenseConfig())) * 2 <= 10_000_000


@pytest.mark.parametrize("backbone", ["resnet10t", "vit_tiny_patch16_224"])
@pytest.mark.parametrize("pooling", ["avg", "flatten"])
def test_any_timm_backbone(backbone: str, pooling: str) -> None:
    model = DenseModel(small(backbone=backbone, pooling=pooling)).eval()
    assert model(torch.rand(1, 3, 64, 64)).points.shape == (1, 20, 2)


@pytest.mark.parametrize("decoder", ["mlp", "linear", "spiral"])
@pytest.mark.parametrize("scale", ["exp", "sigmoid"])
def test_an_untrained_network_predicts_near_the_mean(decoder: str, scale: str) -> None:
    torch.manual_seed(0)
    model = DenseModel(small(decoder=decoder, scale=scale)).eval().requires_grad_(False)
    points, params = (
        torch.randn(30, 20 + 136, 2) * 0.01 + torch.rand(20 + 136, 2),
        torch.randn(30, 5 + 4 + 12),
    )
    model.start_from(measure_targets([(points[:10], params[:10]), (points[10:], params[10:])], rank=8))
    out = model(torch.rand(2, 3, 64, 64))
    landmarks = torch.cat([out.points, out.landmarks68, out.contour68], 1)
    assert float((landmarks - points.mean(0)).abs().mean()) < (0.15 if decoder == "spiral" else 0.05)
    assert float((out.log_sigma68.exp().mean() / START_SIGMA).log().abs()) < 0.5


def test_statistics_are_exact_principal_components() -> None:
    torch.manual_seed(0)
    directions, mean = torch.linalg.qr(torch.randn(24, 3))[0].mT, torch.randn(12, 2)
    coefficients = torch.randn(500, 3) * torch.tensor([3.0, 2.0, 1.0])
    points = mean + (coefficients @ directions).view(-1, 12, 2)
    for count in (20, 500):  # both sides of the Gram matrix
        got = measure_targets([(points[:count], torch.zeros(count, 2))], rank=3)
        again = (points[:count] - got.points_mean).flatten(1)
        basis = got.points_basis.flatten(1)
        coded = again @ torch.linalg.pinv(basis)
        torch.testing.assert_close(coded @ basis, again, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(coded.var(0), torch.ones(3), atol=1e-3, rtol=1e-3)
        assert got.params_std.tolist() == [1, 1]
    with pytest.raises(InputError, match="no samples"):
        measure_targets([], rank=3)


def test_forward_is_deterministic_and_traceable() -> None:
    model = DenseModel(small()).eval()
    images = torch.rand(2, 3, 64, 64)
    exported = torch.export.export(model, (images,)).module()
    for ours, other in zip(model(images), exported(images), strict=True):
        torch.testing.assert_close(ours, other)


@pytest.mark.parametrize("half", [False, True])
def test_saved_model_comes_back(tmp_path: Path, half: bool) -> None:
    model = DenseModel(small(decoder="spiral")).eval()
    for buffer in ("mesh_mean", "params_mean"):
        getattr(model.net, buffer).normal_()
    model.save_pretrained(tmp_path, half=half, info={"head_id": "open-v1"})
    loaded = DenseModel.from_pretrained(tmp_path)
    assert loaded.info == {"head_id": "open-v1"} and loaded.config == model.config and not loaded.training
    images = torch.rand(1, 3, 64, 64)
    for ours, other in zip(model(images), loaded(images), strict=True):
        torch.testing.assert_close(ours, other, atol=2e-2 if half else 0, rtol=2e-2 if half else 0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_damaged_or_foreign_files_are_refused(tmp_path: Path) -> None:
    model = DenseModel(small())
    digest = model.save_pretrained(tmp_path)
    assert DenseModel.from_pretrained(tmp_path, sha256=digest)
    with pytest.raises(AssetError, match=r"model\.safetensors are damaged"):
        DenseModel.from_pretrained(tmp_path, sha256="0" * 64)
    weights = tmp_path / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(AssetError, match="sha256"):
        DenseModel.from_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for change, message in (
        ({"method": "deca"}, "deca"),
        ({"config": {**config["config"], "rnak": 3}}, "rank"),
        ({"config": 3}, "no 'config' section"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(AssetError, match=message):
            DenseModel.from_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(AssetError, match="no model folder"):
        DenseModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("decoder", ["mlp", "spiral"])
def test_no_checkpoint_carries_head_arrays(tmp_path: Path, decoder: str) -> None:
    """Not by name, not by size: nothing stored has as many entries as a head's template or a basis."""
    from dense_fakes import POINTS, toy_head_arrays, write_toy_head

    config = small(
        decoder=decoder,
        points=POINTS,
        head=write_toy_head(tmp_path),
        spiral_factors=[3, 2, 2],
        spiral_length=5,
    )
    model = DenseModel.for_training(config)
    model.head = HeadModel(
        *toy_head_arrays()
    )  # a model that keeps its head: all its arrays are non-persistent
    model.save_pretrained(tmp_path / "out")
    stored = load_file(tmp_path / "out" / "model.safetensors")
    names = {f"{n}" for n, _ in model.head.named_buffers()}
    assert not [key for key in stored if key.split(".")[-1] in names or key.startswith("head")]
    template = model.head.v_template
    for key, value in stored.items():
        assert value.numel() != template.numel() or not torch.allclose(
            value.float().flatten(), template.flatten()
        ), key


def test_bad_configurations_and_inputs_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="spiral"):
        DenseConfig(decoder="spirals")
    with pytest.raises(RecipeError, match="scale_channels"):
        DenseConfig(scale_channels=3)
    with pytest.raises(RecipeError, match="one entry a stage"):
        DenseConfig(widths=[8])
    with pytest.raises(UnknownNameError, match="resnet50"):
        DenseModel(small(backbone="resnet5O"))
    with pytest.raises(InputError, match=r"\(B, 3, S, S\)"):
        DenseModel(small())(torch.rand(3, 64, 64))


def test_config_is_plain_json() -> None:
    config = DenseConfig()
    assert DenseConfig(**json.loads(json.dumps(dataclasses.asdict(config)))) == config
    assert DenseOutput._fields[0] == "points"


def test_half_precision_keeps_coordinates_in_float32() -> None:
    config = DenseConfig(points=1609, crop_size=64)
    net = DenseNet(config).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        low = net(images)
    assert low.points.dtype == low.identity.dtype == torch.float32
    assert torch.allclose(low.points, net(images).points, atol=0.02)


def test_calibration_makes_scales_the_mean_error() -> None:
    model = DenseModel(small()).eval()
    generator = torch.Generator().manual_seed(0)
    count = 12
    images = torch.rand(count, 3, 64, 64, generator=generator)
    zeros = torch.zeros(count, 1)
    batch = CropBatch(
        images, torch.rand(count, 20, 2, generator=generator), zeros, zeros, zeros, zeros, zeros, zeros, zeros, zeros,
        zeros, zeros, zeros, zeros, zeros, zeros, zeros,
    )  # fmt: skip
    factor = model.calibrate([batch])
    with torch.no_grad():
        output = model(images)
    error = (output.points - batch.points).abs()
    assert float((error / (output.log_sigma.exp() * factor)).mean()) == pytest.approx(1, abs=1e-4)
    assert model.config.sigma_scale == factor
