"""Other sizes than the parent's: shared rows are copied, what fits is loaded, the rest is new, nothing unasked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from dense_fakes import POINTS
from finetune_fakes import FEWER, read_json, small, trained, untrained, write_data
from safetensors.torch import load_file

from facezoo.config import load_recipe
from facezoo.data.datamodule import FaceDataModule
from facezoo.data.subset import thin_points
from facezoo.errors import RecipeError
from facezoo.heads import load_head
from facezoo.models.dense.config import DenseConfig
from facezoo.models.dense.module import DenseModel
from facezoo.models.dense.rehead import surface_map
from facezoo.models.load import load
from facezoo.training.inheritance import inherit_weights
from facezoo.training.initialise import build_model, initialise
from facezoo.training.run import train


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def parent(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(data, tmp_path_factory.mktemp("parent"))


def begun(data: Path, run_dir: Path, *overrides: str) -> DenseModel:
    """Return the model of a run at step 0, in eval mode."""
    recipe = small(data, run_dir, *overrides)
    samples = FaceDataModule(recipe.data, recipe.seed)
    sizes = samples.train.sizes()
    recipe.model.n_identity, recipe.model.n_expression = sizes["n_identity"], sizes["n_expression"]
    samples.train = thin_points(samples.train, load_head(recipe.model.head), recipe.model.points)
    model, augment = build_model(recipe)
    initialise(model, augment, samples, recipe, run_dir)
    assert isinstance(model, DenseModel)
    return model.eval()


@pytest.mark.parametrize("decoder", ["mlp", "linear"])
@pytest.mark.parametrize("scale_channels", [1, 2])
def test_fewer_points_predict_what_the_parent_predicts(
    data: Path, tmp_path: Path, decoder: str, scale_channels: int
) -> None:
    sizes = (f"model.decoder={decoder}", f"model.scale_channels={scale_channels}")
    old = DenseModel.from_pretrained(untrained(data, tmp_path / "a", *sizes))
    new = begun(
        data,
        tmp_path,
        *sizes,
        f"init={tmp_path / 'a'}",
        f"model.points={FEWER}",
        "init.rehead=true",
    )
    images = torch.rand(3, 3, 64, 64)
    rows = load_head(str(data / "toy.safetensors")).topology.subset(FEWER)
    with torch.no_grad():
        a, b = old(images), new(images)
    assert b.points.shape == (3, FEWER, 2) and a.log_sigma.std() > 0
    for name in ("points", "log_sigma", "confidence"):
        torch.testing.assert_close(getattr(b, name), getattr(a, name)[:, rows], rtol=0, atol=1e-6)
    for name in ("landmarks68", "log_sigma68", "contour68", "identity", "expression", "jaw", "rotation6d"):
        torch.testing.assert_close(getattr(b, name), getattr(a, name), rtol=0, atol=1e-6)


def test_the_embedded_model_keeps_403_of_its_1609_points() -> None:
    old, images = load("dense-1609", device="cpu"), torch.rand(2, 3, 128, 128)
    new = DenseModel(replace(old.config, points=403))
    found = inherit_weights(new, old)
    assert found.sliced["net.decoder.basis.weight"] == [[2 * (1609 + 136), 256], [2 * (403 + 136), 256]]
    assert found.new == found.left == []
    subsets = load_head("open-v1").topology.subsets
    rows = torch.isin(subsets[1609], subsets[403]).nonzero()[:, 0]  # both ascend
    with torch.no_grad():
        a, b = old(images), new.eval()(images)
    assert b.points.shape[1] == 403
    torch.testing.assert_close(b.points, a.points[:, rows], rtol=0, atol=1e-6)
    torch.testing.assert_close(b.log_sigma, a.log_sigma[:, rows], rtol=0, atol=1e-5)


@pytest.mark.slow  # it draws synthetic people
def test_a_run_begins_with_403_points_of_a_model_given_by_name(tmp_path: Path) -> None:
    shape = ("model.points=403", "model.n_expression=49", "init=dense-1609", "init.rehead=true")
    recipe = load_recipe("dense", [*shape, "data.statistics=2", "data.workers=0"])
    samples = FaceDataModule(recipe.data, 0)
    samples.train = thin_points(samples.train, load_head("open-v1"), 403)
    model, augment = build_model(recipe)
    initialise(model, augment, samples, recipe, tmp_path)
    report = read_json(tmp_path / "init.json")
    assert report["changed"] == {"points": [1609, 403]} and report["new"] == []
    assert report["lineage"]["base_model"] == "dense-1609.open-v2"
    assert set(report["licences"].values()) == {"Apache-2.0", "CC0-1.0"}


def test_a_run_with_fewer_points_trains_on_data_with_more(data: Path, parent: Path, tmp_path: Path) -> None:
    export = trained(data, tmp_path, f"init={parent}", f"model.points={FEWER}", "init.rehead=true")
    model = DenseModel.from_pretrained(export)
    assert model.config.points == FEWER and model(torch.rand(1, 3, 64, 64)).points.shape == (1, FEWER, 2)
    assert read_json(tmp_path / "init.json")["changed"] == {"points": [POINTS, FEWER]}


def test_more_points_keep_the_shared_and_interpolate_the_rest(data: Path, tmp_path: Path) -> None:
    fewer = untrained(data, tmp_path / "a", f"model.points={FEWER}")
    new = begun(data, tmp_path, f"init={fewer}", "init.rehead=true")
    old, images = DenseModel.from_pretrained(fewer), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        a, b = old(images).points, new(images).points
    rows = load_head(str(data / "toy.safetensors")).topology.subset(FEWER)
    torch.testing.assert_close(b[:, rows], a, rtol=0, atol=1e-6)
    low, high = a.amin(1, keepdim=True), a.amax(1, keepdim=True)
    assert bool(((b >= low - 1e-5) & (b <= high + 1e-5)).all())  # means of known points lie among them


def test_surface_map_reproduces_smooth_fields_and_itself(data: Path) -> None:
    head = str(data / "toy.safetensors")
    index, weight = surface_map(head, POINTS, FEWER)
    assert bool((weight.max(1).values == 1).all()) and torch.equal(weight.sum(1), torch.ones(FEWER))
    kept = index.gather(1, weight.argmax(1, keepdim=True))[:, 0]
    assert torch.equal(kept, load_head(head).topology.subset(FEWER))
    index, weight = surface_map(head, FEWER, POINTS)
    model = load_head(head)
    known = model.v_template[model.topology.subset(FEWER)]
    error = ((known[index] * weight[..., None]).sum(1) - model.v_template).norm(dim=1)
    step = 0.2 / 14 * 3  # metres between the rows that are kept
    assert torch.allclose(weight.sum(1), torch.ones(POINTS)) and float(error.max()) < step


def test_another_crop_size_loads_the_backbone_and_starts_the_neck_anew(
    data: Path, parent: Path, tmp_path: Path
) -> None:
    new = begun(data, tmp_path, f"init={parent}", "model.crop_size=96", "init.rehead=true")
    given, own = load_file(parent / "model.safetensors"), new.state_dict()
    backbone = [n for n in given if n.startswith("net.features.")]
    assert backbone and all(torch.equal(own[n], given[n]) for n in backbone)
    assert torch.equal(own["net.decoder.basis.weight"], given["net.decoder.basis.weight"])
    report = read_json(tmp_path / "init.json")
    readers = {
        "coefficients.weight",
        "coefficients.bias",
        "scale_coefficients.weight",
        "scale_coefficients.bias",
    }
    expected = {f"net.decoder.{n}" for n in readers} | {
        "net.params.weight",
        "net.params.bias",
        "net.neck.0.weight",
    }
    assert set(report["new"]) == expected == set(report["left"])
    count = sum(own[n].numel() for n in report["new"])
    assert (
        report["values"]["new"] == count
        and report["values"]["loaded"] == sum(v.numel() for v in own.values()) - count
    )
    face = new(torch.rand(1, 3, 96, 96)).landmarks68
    assert float(face.detach().abs().max()) < 1  # it starts near the mean face
    train(small(data, tmp_path, f"init={parent}", "model.crop_size=96", "init.rehead=true"))


def test_another_crop_size_with_pooled_features_loads_everything(data: Path, tmp_path: Path) -> None:
    pooled = untrained(data, tmp_path / "a", "model.pooling=avg")
    begun(data, tmp_path, f"init={pooled}", "model.pooling=avg", "model.crop_size=96", "init.rehead=true")
    report = read_json(tmp_path / "init.json")
    assert report["new"] == report["left"] == [] and not report["sliced"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["model.crop_size=96"],
            r"model.crop_size=64 but the recipe says 96; add model.crop_size=64, or init.rehead",
        ),
        (["model.rank=4", "model.hidden=8"], r"add model.hidden=16 model.rank=8, or init.rehead=true"),
        (
            ["model.widths=[8,8,8,16]", "init.rehead=true"],
            r"says \[8, 8, 8, 16\]; add model.widths=\[8,8,8,8\]$",
        ),
        (["model.rank=4", "model.widths=[8,8,8,16]"], r"add model.widths=\[8,8,8,8\] model.rank=8$"),
    ],
)
def test_unasked_changes_are_refused_with_the_keys_that_mend_them(
    data: Path, parent: Path, tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        trained(data, tmp_path, f"init={parent}", *overrides)


def test_data_that_does_not_hold_the_points_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"model.points={POINTS} or a smaller subset .*{FEWER}, {POINTS}"):
        trained(data, tmp_path, "model.points=100")


@pytest.mark.parametrize(
    ("old", "new"),
    [("mlp", "linear"), ("linear", "mlp"), ("spiral", "mlp"), ("mlp", "spiral")],
)
def test_another_decoder_starts_from_the_mean_face(data: Path, tmp_path: Path, old: str, new: str) -> None:
    spiral = ("model.spiral_factors=[3,2,2]", "model.spiral_length=5", "model.hidden=0")
    given = untrained(data, tmp_path / "a", f"model.decoder={old}", *spiral)
    model = begun(data, tmp_path, f"init={given}", f"model.decoder={new}", *spiral, "init.rehead=true")
    report = read_json(tmp_path / "init.json")
    assert all(n.startswith(("net.decoder.", "net.mesh_")) for n in report["new"])
    assert {"net.params.weight", "net.features.reduce.weight"} <= set(report["loaded"])
    fresh = begun(data, tmp_path / "fresh", f"model.decoder={new}", *spiral)
    means = [n for n in report["new"] if n.endswith((".basis.bias", ".coordinates.bias", ".mesh_mean"))]
    own, scratch = model.state_dict(), fresh.state_dict()
    assert means and all(torch.equal(own[n], scratch[n]) and float(own[n].std()) > 0.01 for n in means)


def test_spiral_layers_pass_from_mesh_to_mesh_but_not_their_tables() -> None:
    config = DenseConfig(
        points=805, decoder="spiral", widths=[8, 8], depths=[1, 1], hidden=8, n_identity=4, n_expression=3,
        neck_channels=4, spiral_channels=[4, 4, 4], spiral_factors=[4, 4],
    )  # fmt: skip
    parent = DenseModel(config)
    model = DenseModel(replace(config, points=403))
    found = inherit_weights(model, parent)
    assert "net.mesh_decoder.convs.0.layer.weight" in found.loaded
    assert {"net.mesh_mean", "net.mesh_raw_scale"} == set(found.sliced)
    tables = [n for n in found.new if n.endswith((".indices", ".index"))]
    assert tables and "net.mesh_decoder.expand.weight" in found.new
    again = inherit_weights(DenseModel(config), parent)
    assert again.new == again.left == [] and not again.sliced


def test_head_components_that_both_have_are_copied() -> None:
    config = DenseConfig(
        widths=[8, 8], depths=[1, 1], hidden=8, rank=4, scale_rank=2, n_identity=6, n_expression=5
    )
    parent = DenseModel(config)
    model = DenseModel(replace(config, n_identity=7, n_expression=3))
    found = inherit_weights(model, parent)
    assert list(found.sliced) == ["net.params_mean", "net.params_std", "net.params.weight", "net.params.bias"]
    old, new = parent.net.params.weight.split([6, 5, 12]), model.net.params.weight.split([7, 3, 12])
    assert torch.equal(new[0][:6], old[0]) and torch.equal(new[1], old[1][:3]) and torch.equal(new[2], old[2])
    same_total = DenseModel(replace(config, n_identity=5, n_expression=6))
    inherit_weights(same_total, parent)
    moved = same_total.net.params.weight.split([5, 6, 12])
    assert torch.equal(moved[0], old[0][:5]) and torch.equal(moved[1][:5], old[1])
    other_head = DenseModel(replace(config, head="flame"))
    found = inherit_weights(other_head, parent)
    assert all(n.startswith(("net.decoder.", "net.params")) for n in found.new) and len(found.loaded) > 10


def test_scales_of_another_likelihood_start_anew() -> None:
    config = DenseConfig(widths=[8, 8], depths=[1, 1], hidden=8, rank=4, scale_rank=2, points=101)
    found = inherit_weights(DenseModel(replace(config, scale="sigmoid")), DenseModel(config))
    assert {n.split(".")[2] for n in found.new} == {"scale_coefficients", "scale_basis"}
