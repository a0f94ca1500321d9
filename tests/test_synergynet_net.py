"""SynergyNet's network and losses: spaces, poses, what starts neutral, what a loss leaves out, what is stored."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from dense_fakes import toy_samples
from synergynet_fakes import tiny_config, write_landmark_head

from facezoo.data.augment import Augment, CropBatch
from facezoo.data.mirror import Mirror
from facezoo.data.shards import to_tensors
from facezoo.errors import AssetError, InputError, RecipeError
from facezoo.geometry.rotations import euler_to_matrix, matrix_to_euler
from facezoo.heads import HeadParams, load_head
from facezoo.models.synergynet.config import SynergyLossConfig
from facezoo.models.synergynet.criterion import SynergyCriterion, true_parameters
from facezoo.models.synergynet.module import SynergyModel
from facezoo.models.synergynet.net import SynergyTraining
from facezoo.models.synergynet.space import fit_pose, pose_rotation
from facezoo.models.synergynet.whitening import (
    explained,
    load_modes,
    modes_for,
    population_modes,
    save_modes,
)


@pytest.fixture(scope="module")
def head_path(tmp_path_factory) -> str:
    return write_landmark_head(tmp_path_factory.mktemp("head"))


@pytest.fixture(scope="module")
def model(head_path) -> SynergyModel:
    torch.manual_seed(0)
    return SynergyModel.for_training(tiny_config(head_path, contour=True))


@pytest.fixture(scope="module")
def batch(head_path, model) -> CropBatch:
    head = load_head(head_path)
    arrays = to_tensors(toy_samples(head, 12))
    return Augment(model.crop, Mirror.of_head(head, model.config.points), None)(arrays)


def perfect(model: SynergyModel, batch: CropBatch) -> SynergyTraining:
    """Return the output of a network that knows the truth."""
    truth = true_parameters(model.net.space, batch)
    params = model.net.space.whiten(truth.raw)
    contour = (batch.contour68 + 0.5) * model.config.crop_size
    return SynergyTraining(params, params, truth.landmarks, truth.landmarks, contour, params)


@pytest.mark.parametrize(
    ("yaw", "pitch", "roll"),
    [(0, 0, 0), (40, 0, 0), (-40, 0, 0), (0, 30, 0), (0, -30, 0), (0, 0, 25), (0, 0, -25), (60, 20, -15)],
)
def test_a_scaled_orthographic_picture_gives_its_pose_back(head_path, yaw, pitch, roll):
    head = load_head(head_path)
    points = head.landmarks(head(HeadParams(identity=torch.zeros(1, 3))).vertices, "ibug68").double()
    angles = [torch.tensor([float(np.radians(a))], dtype=torch.float64) for a in (yaw, pitch, roll)]
    turned = 500 * points @ euler_to_matrix(*angles).mT
    image = torch.stack([turned[..., 0] + 61, 120 - (turned[..., 1] + 55)], -1)
    pose = fit_pose(points, image, 120)
    found = torch.rad2deg(torch.stack(matrix_to_euler(pose_rotation(pose)))).flatten()
    assert found.tolist() == pytest.approx([yaw, pitch, roll], abs=1e-6)
    assert pose[0, :2, 3].tolist() == pytest.approx([61, 55], abs=1e-6)
    if (
        yaw > 0 and not pitch and not roll
    ):  # AFLW: positive yaw looks to the image's left, so the nose moves there
        nose = points[0, 30] - points[0, 0]
        assert float((pose[0, 0, :3] * nose).sum()) < 500 * float(nose[0])


def test_codes_round_trip_and_unit_variance(head_path, model):
    space = model.net.space
    codes = torch.randn(5, 3), torch.randn(5, 3)
    params = space.head_params(*codes)
    jaw = torch.zeros(5, 3) if params.jaw is None else params.jaw
    back = space.encode(params.identity, params.expression, jaw)
    torch.testing.assert_close(back, codes, atol=1e-4, rtol=1e-4)
    raw = torch.randn(4, sum(model.config.sizes))
    torch.testing.assert_close(space.unwhiten(space.whiten(raw)), raw, atol=1e-5, rtol=1e-5)


def test_first_codes_of_the_open_head_move_the_face_most():
    head = load_head("open-v1")
    shape, expression = population_modes(head, count=150)
    for modes, is_shape, ranks in ((shape, True, [10, 40]), (expression, False, [5, 10, 30])):
        left = list(explained(modes, head, ranks, shape=is_shape).values())
        assert all(a > b > 0 for a, b in itertools.pairwise(left))
        torch.testing.assert_close(
            modes.encode @ modes.decode, torch.eye(modes.decode.shape[1]), atol=2e-3, rtol=0
        )
    # ten expression codes, as the paper has, leave lids and lips half a millimetre off; thirty do not
    assert (
        explained(expression, head, [10], shape=False)[10]
        > 5 * explained(expression, head, [30], shape=False)[30]
    )


def test_whitening_file_round_trips_and_knows_its_head(head_path, tmp_path):
    head = load_head(head_path)
    modes = population_modes(head, count=50)
    save_modes(tmp_path / "w.safetensors", head, *modes)
    for a, b in zip(modes, load_modes(tmp_path / "w.safetensors", head), strict=True):
        torch.testing.assert_close(list(a), list(b))
    with pytest.raises(AssetError, match="whiten head=open-v1"):
        modes_for("open-v1", str(tmp_path / "w.safetensors"))


def test_a_perfect_network_has_no_loss(model, batch):
    weights = SynergyLossConfig(contour=0.05)
    terms = SynergyCriterion(weights, model.net.space)(perfect(model, batch), batch)
    assert set(terms) == {"landmarks", "refined", "contour", "params", "reverse", "consistency"}
    assert float(sum(terms.values())) < 1e-4


def test_each_term_sees_its_own_error(model, batch):
    weights = SynergyLossConfig(contour=0.05, dense=0.05)
    criterion, good = SynergyCriterion(weights, model.net.space), perfect(model, batch)
    base = criterion(good, batch)
    for field, blamed in (
        ("landmarks", {"landmarks"}), ("refined", {"refined"}), ("contour", {"contour"}),
        ("params", {"params", "dense", "consistency"}), ("reverse", {"reverse", "consistency"}),
    ):  # fmt: skip
        bad = good._replace(**{field: getattr(good, field) + 1})
        rise = {name for name, value in criterion(bad, batch).items() if float(value - base[name]) > 1e-4}
        assert rise == blamed, field


def test_unknown_parameters_do_not_count(model, batch):
    hidden = batch._replace(identity_known=torch.zeros_like(batch.identity_known))
    good = perfect(model, batch)
    params = good.params.clone()
    params[:, 12:15] += 3
    terms = SynergyCriterion(SynergyLossConfig(), model.net.space)(good._replace(params=params), hidden)
    assert float(terms["params"]) < 1e-6


@pytest.mark.parametrize(
    ("loss", "parts"),
    [
        ({}, (True, True, False)),
        ({"refined": 0.0}, (False, True, False)),
        ({"reverse": 0.0, "consistency": 0.0}, (True, False, False)),
        ({"consistency": 0.0, "contour": 0.1}, (True, True, True)),
    ],
)
def test_a_training_builds_only_what_its_loss_trains(head_path, loss, parts):
    config = tiny_config(head_path)
    SynergyLossConfig(**loss).adjust(config)
    assert (config.refinement, config.reverse, config.contour) == parts
    network = SynergyModel(config).train()
    output = network(torch.rand(3, 3, 64, 64))
    assert (network.net.refiner is None, network.net.reverse is None) == (not parts[0], not parts[1])
    if not parts[0]:
        assert torch.equal(output.refined, output.landmarks)
    if not parts[1]:
        assert torch.equal(output.reverse, output.params)
        with pytest.raises(InputError, match="no reverse path"):
            network.net.read_back(output.refined)


def test_an_untrained_refinement_corrects_nothing(model):
    with torch.no_grad():
        output = model.eval()(torch.rand(2, 3, 64, 64))
    torch.testing.assert_close(output.refined, output.landmarks)
    torch.testing.assert_close(output.contour, output.landmarks[..., :2])


def test_gradients_reach_every_part(model, batch):
    network = model.train()
    criterion = network.criterion(SynergyLossConfig(contour=0.05))
    sum(criterion(network(batch.images), batch).values()).backward()
    dead = [n for n, p in network.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())]
    network.zero_grad()
    assert not dead


def test_autocast_keeps_landmarks_exact(model):
    images = torch.rand(2, 3, 64, 64)
    network = model.eval()
    with torch.no_grad():
        params = network.net.image_to_params(images)[0]
        plain = network.net.space.reconstruct(params)
        with torch.autocast("cpu", torch.bfloat16):
            output = network(images)
    assert output.landmarks.dtype == torch.float32
    again = network.net.space.reconstruct(output.params)
    assert torch.equal(output.landmarks, again)
    assert float((output.landmarks - plain).abs().max()) < 5  # the backbone alone is in half precision


def test_checkpoint_returns_and_holds_no_head(model, tmp_path):
    model.save_pretrained(tmp_path)
    again = SynergyModel.from_pretrained(tmp_path)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(model.eval()(images), again(images), strict=True))
    arrays = {tuple(b.shape) for b in model.net.space.head.buffers() if b.numel() > 50}
    assert not [
        n for n, v in again.state_dict().items() if "head" in n.split(".") or tuple(v.shape) in arrays
    ]


def test_features_of_another_checkpoint(head_path, tmp_path):
    from facezoo.models.dense.config import DenseConfig
    from facezoo.models.dense.module import DenseModel

    config = tiny_config(head_path)
    shared = {
        k: getattr(config, k)
        for k in ("head", "points", "widths", "depths", "neck_channels", "crop_size", "mean", "std")
    }
    dense = DenseModel(DenseConfig(hidden=16, rank=8, scale_rank=4, n_identity=3, n_expression=3, **shared))
    dense.save_pretrained(tmp_path)
    begun = SynergyModel.for_training(dataclasses.replace(config, features_from=str(tmp_path)))
    own = begun.net.image_to_params.backbone.state_dict()
    assert all(torch.equal(v, own[k]) for k, v in dense.net.features.state_dict().items())
    with pytest.raises(RecipeError, match=r"model\.crop_size=64"):
        SynergyModel.for_training(dataclasses.replace(config, features_from=str(tmp_path), crop_size=96))


def test_a_head_without_landmarks_is_refused(tmp_path):
    from dense_fakes import write_toy_head

    with pytest.raises(AssetError, match="no landmark set 'ibug68'"):
        SynergyModel(tiny_config(write_toy_head(tmp_path)))


@pytest.mark.slow
def test_the_network_can_be_traced_for_any_batch(model):
    from facezoo.export.network import compute, trace

    program = trace(model).module()
    inputs = model.example_inputs(3)
    for name, value in compute(model, inputs).items():
        torch.testing.assert_close(program(*inputs)[name], value)
