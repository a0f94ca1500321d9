"""Relief of synthetic people as labels of DECA's detail stage: texels, losses, pattern decoder, recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_deca_model import overrides
from test_deca_net import SMALL

import facezoo
from facezoo.config import load_recipe
from facezoo.data.augment import Augment, CropBatch
from facezoo.data.mirror import Mirror
from facezoo.data.shards import to_tensors, write_shard
from facezoo.data.statistics import measure_targets
from facezoo.errors import InputError, RecipeError
from facezoo.heads import HeadModel, load_head
from facezoo.metrics.relief import NormalError, ReliefError
from facezoo.models.deca.config import DecaConfig, DecaLossConfig
from facezoo.models.deca.module import DecaModel
from facezoo.models.deca.net import DecaOutput
from facezoo.models.deca.predict import Deca
from facezoo.models.deca.relief import UNSEEN, SkinTexels, relief_normals, resized
from facezoo.models.deca.relief_model import ReliefModel
from facezoo.models.deca.uv_detail import UvSurface
from facezoo.synth.engine import label_batch
from facezoo.training.run import train

ROWS, SIDE = 24, 32


@pytest.fixture(scope="module")
def people() -> dict[str, np.ndarray]:
    """Four pictures a person, with labels of true synthetic people and a relief of stripes, under pictures of noise."""
    rng, arrays = np.random.default_rng(0), label_batch(range(ROWS), 96)
    arrays["visible"] = arrays["visible"].astype(np.uint8)
    arrays["images"] = rng.integers(0, 255, (ROWS, 3, 96, 96), dtype=np.uint8)
    stripes = np.sin(2 * np.pi * np.arange(128) / 8)[None, :, None]
    arrays["displacement"] = (rng.uniform(0.1, 0.6, (ROWS, 1, 1)) * stripes * np.ones((1, 1, 128))).astype(
        np.float16
    )
    arrays["person"] = (np.arange(ROWS) // 4).astype(np.int64)
    return arrays


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("open-v1")


@pytest.fixture(scope="module")
def texels(head: HeadModel) -> SkinTexels:
    return SkinTexels(head, UvSurface(head, SIDE), torch.as_tensor(head.topology.subsets[1609]))


@pytest.fixture(scope="module")
def crops(people: dict[str, np.ndarray], head: HeadModel) -> CropBatch:
    crop = DecaModel(DecaConfig(**SMALL)).crop
    samples = {name: values[:8] for name, values in to_tensors(people).items()}
    return Augment(crop, Mirror.of_head(head, 1609), None)(samples)


def answer(model: DecaModel, batch: CropBatch, displacement: torch.Tensor) -> DecaOutput:
    codes = model.targets(batch)[1]
    return DecaOutput(codes, batch.landmarks68, torch.randn(len(codes), 6), displacement)


def test_texels_are_seen_where_their_points_are(head: HeadModel, texels: SkinTexels) -> None:
    points = head.v_template[torch.as_tensor(head.topology.subsets[1609])]
    left = (points[:, 0] > 0).float()[None]  # only the subject's left side is in view
    seen = texels.seen(left)
    assert 0.4 < float(seen.sum() / texels.skin.sum()) < 0.6
    surface = UvSurface(head, SIDE)
    side = surface.maps(head.v_template[None])[0][:, :1]
    assert float(side[(seen > 0)].min()) > -0.008
    assert float(side[(texels.skin > 0) & (seen == 0)].max()) < 0.008
    weights = texels.weights(left.expand(2, -1), torch.tensor([1.0, 0.0]))
    assert set(weights[0].unique().tolist()) == {0.0, float(torch.tensor(UNSEEN)), 1.0}
    assert float(weights[1].abs().max()) == 0  # a label that is not there


def test_slopes_are_rise_over_run_on_the_mean_head(head: HeadModel, texels: SkinTexels) -> None:
    # A relief that rises by a tenth of the height of the head's places has slopes of a tenth down the face.
    height = UvSurface(head, SIDE).maps(head.v_template[None])[0][:, 1:2]
    _, down = texels.slopes(0.1 * height)
    skin = (texels.skin[..., 1:, :] * texels.skin[..., :-1, :]) > 0
    assert float(down[skin].abs().max()) <= 0.1001
    assert 0.07 < float(down[skin].abs().median()) < 0.1


def test_true_relief_costs_nothing_and_unseen_errors_less(texels: SkinTexels) -> None:
    torch.manual_seed(0)
    truth = 1e-3 * torch.randn(2, 1, SIDE, SIDE)
    visible = torch.zeros(2, 1609)
    visible[1] = 1
    weight = texels.weights(visible, torch.ones(2))
    assert [float(x) for x in texels.losses(truth, truth, weight)] == [0, 0]
    wrong = [truth.clone(), truth.clone()]
    for row in range(2):
        wrong[row][row] += 1e-4
    unseen, seen = (float(texels.losses(z, truth, weight)[0]) for z in wrong)
    assert unseen == pytest.approx(UNSEEN * seen, rel=1e-4) and seen > 0
    # Lifting a whole face changes no slope but at its border; a ripple of the same height does.
    flat, ripple = torch.full_like(truth, 2e-4), torch.zeros_like(truth)
    ripple[..., ::2] = 4e-4
    assert float(texels.losses(flat, 0 * truth, weight)[1]) == 0
    assert float(texels.losses(ripple, 0 * truth, weight)[1]) > 0.01
    grown = resized(truth, 2 * SIDE)
    assert resized(truth, SIDE) is truth and grown.shape[-1] == 2 * SIDE
    torch.testing.assert_close(resized(torch.ones(1, 1, 64, 64), SIDE), torch.ones(1, 1, SIDE, SIDE))


def test_labels_pull_displacements_to_the_truth_whoever_of_the_person_lent_the_code(crops: CropBatch) -> None:
    torch.manual_seed(0)
    model = DecaModel(DecaConfig(**{**SMALL, "detail_channels": [8, 4, 4]}))
    weights = DecaLossConfig(
        name="detail", label_displacement=1, label_slopes=1, detail_pixels=0, detail_symmetry=0, detail_size=0,
        detail_smooth=0, pictures=1,
    )  # fmt: skip
    criterion = model.criterion(weights)
    truth = resized(crops.displacement, SIDE)
    right = criterion(answer(model, crops, truth), crops)
    assert {name: float(value) for name, value in right.items()} == {
        "label_displacement": 0,
        "label_slopes": 0,
    }
    z = torch.zeros_like(truth, requires_grad=True)
    terms = criterion(answer(model, crops, z), crops)
    sum(terms.values()).backward()
    skin = (criterion.texels.skin > 0).expand_as(z)
    assert z.grad is not None and float(z.grad[~skin].abs().max()) == 0
    # Going down the slope goes towards the truth.
    assert float((z.grad * truth)[skin].sum()) < 0
    unknown = crops._replace(displacement_known=torch.zeros(len(truth)))
    assert float(sum(criterion(answer(model, unknown, z), unknown).values()).detach()) == 0
    with pytest.raises(InputError, match="need data with relief"):
        criterion(answer(model, crops, z), crops._replace(displacement=truth[..., :0, :0]))

    exchanged = model.criterion(DecaLossConfig(**{**vars(weights), "pictures": 4}))
    codes = torch.randn(len(truth), 6, requires_grad=True)
    terms = exchanged(answer(model, crops, truth)._replace(detail=codes), crops)
    assert (
        float(terms["label_displacement"].detach()) > 0
    )  # another picture's code does not explain the relief yet
    sum(terms.values()).backward()
    assert codes.grad is not None and bool((codes.grad.abs().amax(1) > 0).all())


def test_relief_model_begins_at_the_mean_and_learns_which_lines_a_code_shows() -> None:
    torch.manual_seed(0)
    config = DecaConfig(
        **{**SMALL, "detail": 1, "detail_channels": [4, 4, 4], "detail_rank": 3, "max_displacement": 0.002}
    )
    decoder = ReliefModel(config)
    jaw, expression = torch.zeros(8, 3), torch.zeros(8, config.n_expression)
    code = torch.linspace(-1, 1, 8)[:, None]
    assert float(decoder(jaw, expression, code).abs().max().detach()) == 0  # flat before it has seen anybody
    lines = torch.zeros(32)
    lines[::4] = 0.4  # millimetres
    truth = (code > 0) * lines.repeat_interleave(32)[None]
    found = measure_targets([(truth[..., None], torch.zeros(8, 1))], rank=3)
    decoder.start_from(found.points_mean, found.points_basis)
    start = decoder(jaw, expression, code).detach()
    torch.testing.assert_close(start[:, 0].flatten(1), truth.mean(0).expand(8, -1) / 1000, atol=3e-5, rtol=0)
    optimiser = torch.optim.Adam(decoder.parameters(), 0.01)
    for _ in range(150):
        loss = (1000 * decoder(jaw, expression, code)[:, 0].flatten(1) - truth).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.1 * float(truth.mean())
    assert float(decoder(jaw, expression, 1e6 * code).abs().max().detach()) <= config.max_displacement * (1 + 1e-6)
    with pytest.raises(RecipeError, match=r"model\.detail_rank=-1"):
        DecaConfig(detail_rank=-1)


def test_normal_and_height_errors_are_those_of_a_tilted_plate(head: HeadModel) -> None:
    normals = torch.zeros(2, 3, 4, 4)
    normals[:, 2] = 1
    tilted = torch.zeros(2, 3, 4, 4)
    tilted[:, 0], tilted[:, 2] = np.sin(np.radians(0.02)), np.cos(np.radians(0.02))
    weight = torch.zeros(2, 1, 4, 4)
    weight[..., :2] = 1
    tilted[..., 2:] = torch.tensor([1.0, 0, 0])[:, None, None]  # texels that do not count
    angle, height = NormalError(), ReliefError()
    angle.update(tilted, normals, weight)
    height.update(torch.full((2, 1, 4, 4), 3e-4), torch.zeros(2, 1, 4, 4), weight)
    assert float(angle.compute()) == pytest.approx(0.02, rel=1e-3)  # float32 leaves a small angle exact
    assert float(height.compute()) == pytest.approx(0.3, rel=1e-5)
    with pytest.raises(InputError, match="no texel that counts"):
        angle.update(tilted, normals, 0 * weight)
    surface = UvSurface(head, SIDE)
    vertices = head.v_template[None]
    flat = relief_normals(surface, vertices, torch.zeros(1, 1, SIDE, SIDE))
    rough = relief_normals(surface, vertices, 1e-3 * torch.rand(1, 1, SIDE, SIDE))
    skin = (surface.mask > 0.99).float()
    angle.reset()
    angle.update(rough, flat, skin)
    assert 1 < float(angle.compute()) < 30


def test_detail_recipe_trains_on_relief_and_leaves_the_coarse_net_alone(
    tmp_path: Path, people: dict[str, np.ndarray]
) -> None:
    write_shard(tmp_path / "shards", 0, people, {"head_id": "open-v1", "size": 96, "synth_version": "test"})
    first = train(load_recipe("deca", overrides(tmp_path / "shards", tmp_path / "coarse")))
    small = [
        f"init={first}", "model.detail=5", "model.detail_widths=[8,8]", "model.detail_depths=[1,1]",
        "model.detail_neck=4", "model.detail_features_from=''", "model.detail_channels=[8,4,4]",
        "model.detail_rank=2", "optim.ema=0", "data.pictures=4", "data.batch_size=8",
    ]  # fmt: skip
    second = train(load_recipe("deca-detail", [*overrides(tmp_path / "shards", tmp_path / "detail"), *small]))
    model = facezoo.load(str(second))
    assert isinstance(model, Deca)
    assert list(model.info["validation"])[:2] == ["relief_deg", "relief_mm"]
    assert 0.02 < model.info["validation"]["relief_mm"] < 1
    kept = model.state_dict()
    for name, value in Deca.from_pretrained(first).state_dict().items():
        torch.testing.assert_close(kept[name], value, msg=name)  # batch statistics included
    assert 1e-5 < float(kept["net.decoder.basis"].abs().max()) < 2e-3  # measured on the data, in metres
    face = model.predict(people["images"][0].transpose(1, 2, 0), boxes=torch.from_numpy(people["box"][0]))[0]
    assert face.detail["displacement"].shape == (1, 32, 32)


def test_detail_encoder_begins_with_the_first_stages_of_a_trained_one() -> None:
    recipe = load_recipe("deca-detail", ["init=scratch", "init.freeze=[]"])
    model = DecaModel.for_training(recipe.model)
    source = facezoo.load("dense-1609").state_dict()
    own = model.net.detail.features.backbone.state_dict()
    assert len(model.net.detail.features.backbone.blocks) == 6
    for name, value in own.items():
        torch.testing.assert_close(value, source[f"net.features.backbone.{name}"], msg=name)
    recipe.model.detail_widths = [32, 64, 96]
    with pytest.raises(RecipeError, match=r"must be the beginning of model\.widths"):
        DecaModel.for_training(recipe.model)
