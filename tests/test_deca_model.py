"""The DECA model: painting, label codes, training in its stages, faces with cameras, animation, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_deca_net import SMALL
from torch import Tensor

import facezoo
from facezoo.config import load_recipe
from facezoo.data.augment import Augment, CropBatch
from facezoo.data.mirror import Mirror
from facezoo.data.shards import to_tensors, write_shard
from facezoo.errors import InputError, RecipeError
from facezoo.evaluation.wrinkles import exchange_energy
from facezoo.geometry.camera import Camera
from facezoo.heads.texture import load_texture
from facezoo.mesh import read_mesh
from facezoo.models.deca.config import DecaConfig, DecaLossConfig
from facezoo.models.deca.criterion import true_codes
from facezoo.models.deca.criterion_detail import DetailCriterion
from facezoo.models.deca.module import DecaModel
from facezoo.models.deca.net import DecaOutput
from facezoo.models.deca.painter import FacePainter
from facezoo.models.deca.predict import Deca
from facezoo.models.deca.texture import complete_texture
from facezoo.synth.engine import label_batch
from facezoo.training.run import train

CAMERA = slice(205, 208)  # of the code vector of SMALL


@pytest.fixture(scope="module")
def people() -> dict[str, np.ndarray]:
    """Labels of true synthetic people under pictures of noise: enough for everything but learning."""
    arrays = label_batch(range(24), 96)
    arrays["visible"] = arrays["visible"].astype(np.uint8)
    arrays["images"] = np.random.default_rng(0).integers(0, 255, (24, 3, 96, 96), dtype=np.uint8)
    return arrays


@pytest.fixture(scope="module")
def model() -> Deca:
    torch.manual_seed(0)
    model = Deca(DecaConfig(**SMALL)).eval()
    with torch.no_grad():
        model.net.codes_std.fill_(0.3)
        model.net.codes_mean[CAMERA] = torch.tensor([8.0, 0, 0])
        model.net.codes_std[CAMERA] = 0.05
        model.net.codes_mean[-27:-24] = 2.8  # plain light
        for parameter in model.net.decoder.parameters():
            parameter.mul_(4)  # a lively displacement
    return model


@pytest.fixture(scope="module")
def crops(people: dict[str, np.ndarray], model: Deca) -> CropBatch:
    mirror = Mirror.of_head(model.net.space.head, 1609)
    return Augment(model.crop, mirror, None)({k: v[:6] for k, v in to_tensors(people).items()})


def output_of(model: DecaModel, codes: Tensor) -> DecaOutput:
    parts = model.net.split(codes)
    landmarks = model.net.space.place(model.net.space.landmarks(parts), parts)
    return DecaOutput(
        codes, landmarks, codes.new_zeros(len(codes), 6), codes.new_zeros(len(codes), 1, 32, 32)
    )


def test_label_codes_show_the_head_where_the_picture_does(model: Deca, crops: CropBatch) -> None:
    _, codes = model.targets(crops)
    parts = model.net.split(codes)
    points = model.net.space.place(model.net.space.landmarks(parts), parts)
    error = (points - crops.landmarks68).norm(dim=-1).mean(1) / crops.box_side
    assert float(error.max()) < 0.04  # what a camera without perspective cannot show
    size = model.config.crop_size
    K = crops.K * crops.K.new_tensor([[9.0, 1, 1], [1, 9, 1], [1, 1, 1]])
    far = Camera(K, crops.R, crops.t * crops.t.new_tensor([1.0, 1, 9]), (size, size))
    posed = model.net.space.landmarks(parts._replace(pose=parts.pose * torch.tensor([0.0] * 3 + [1] * 3)))
    seen = far.project(posed) / size - 0.5
    distant = crops._replace(landmarks68=seen, t=far.t, K=far.K)
    again = model.net.split(model.targets(distant)[1])
    points = model.net.space.place(model.net.space.landmarks(again), again)
    assert float((points - seen).norm(dim=-1).mean() / crops.box_side.mean()) < float(error.mean()) / 2


def test_true_codes_leave_only_perspective_to_the_label_terms(model: Deca, crops: CropBatch) -> None:
    weights = DecaLossConfig(
        label_shape=1, label_expression=1, label_jaw=1, label_rotation=1, points=1, pixels=0
    )
    criterion = model.criterion(weights)
    truth = model.targets(crops)[1].requires_grad_()
    terms = criterion(output_of(model, truth), crops)
    for name in ("label_shape", "label_expression", "label_jaw", "label_rotation"):
        assert float(terms[name].detach()) < 1e-6
    assert float(terms["points"].detach()) < 0.03 and float(terms["eyes"].detach()) < 0.01
    wrong = criterion(output_of(model, truth + 0.1), crops)
    assert all(wrong[name] > terms[name] for name in ("label_shape", "label_jaw", "points", "landmarks"))
    unknown = criterion(output_of(model, truth + 0.1), crops._replace(identity_known=torch.zeros(6)))
    assert float(unknown["label_shape"].detach()) == 0
    # The shape of another picture of the same person must do as well, and here it does not: they are other people.
    swapped = model.criterion(DecaLossConfig(pixels=0, pictures=2))(output_of(model, truth), crops)
    assert float(swapped["landmarks"].detach()) > float(terms["landmarks"].detach())
    with pytest.raises(InputError, match="pictures a person"):
        model.criterion(DecaLossConfig(pixels=0, pictures=4))(output_of(model, truth), crops)


def test_painted_faces_match_their_own_codes_and_only_those(model: Deca, crops: CropBatch) -> None:
    head = model.net.space.head
    painter = FacePainter(head, load_texture("open-v1", 50))
    codes = model.targets(crops)[1][:2]
    codes[:, -27:-24] = 2.6
    codes[:, -24:-18] = 0.4
    parts = model.net.split(codes)
    painted = painter(model.net.space.vertices(parts), parts, 48)
    inside = painted.mask[:, 0] > 0.5
    assert 0.15 < float(inside.float().mean()) < 0.9
    assert 0.2 < float(painted.image.mean(1)[inside].mean()) < 0.9
    torch.testing.assert_close(painted.overlay, painted.image)
    grid = (crops.points[:2] + 0.5).clamp(0, 0.999) * 48
    rows = torch.arange(2)[:, None]
    covered = inside[rows, grid[..., 1].long(), grid[..., 0].long()]
    assert float(covered[crops.visible[:2] > 0].float().mean()) > 0.85  # the skin lies where the labels say

    criterion = model.criterion(
        DecaLossConfig(landmarks=0, eyes=0, lips=0, light=0, pixels=1, picture_size=48)
    )
    target = crops._replace(**{k: v[:2] for k, v in crops._asdict().items()})
    picture = torch.nn.functional.interpolate(painted.image, size=(64, 64), mode="bilinear")
    target = target._replace(images=picture.detach())
    right = codes.clone().requires_grad_()
    least = criterion(output_of(model, right), target)["pixels"]
    darker = codes.clone()
    darker[:, -27:-24] = 1.8
    darker.requires_grad_()
    worse = criterion(output_of(model, darker), target)["pixels"]
    assert float(worse.detach()) > 3 * float(least.detach())
    (slope,) = torch.autograd.grad(worse, darker)
    assert float(slope[:, -27:-24].max()) < 0  # more light would help
    assert float(slope[:, 100:150].abs().max()) > 0 and float(slope[:, :100].abs().max()) > 0
    linear = FacePainter(head, load_texture("open-v1", 50), official=True)(
        model.net.space.vertices(parts), parts, 48
    )
    assert float((linear.image - painted.image).abs().max()) > 0.05


def test_detail_loss_prefers_the_displacement_that_made_the_picture(model: Deca, crops: CropBatch) -> None:
    criterion = model.criterion(DecaLossConfig(name="detail"))
    assert isinstance(criterion, DetailCriterion)
    codes = model.targets(crops)[1][:2]
    codes[:, -27:-24] = 2.0
    codes[:, -24:-15] = 0.6  # light from a side shows relief
    codes[:, 200:203] = torch.tensor([0.1, -0.2, 0.0])
    parts = model.net.split(codes)
    z = 0.002 * torch.randn(2, 1, 32, 32)
    texture, shading, truth, seen = criterion.unwrapped(parts, z, crops.images[:2])
    flat, *_ = criterion.unwrapped(parts, torch.zeros_like(z), crops.images[:2])
    assert texture.shape == truth.shape == (2, 3, 32, 32) and shading.shape == texture.shape
    assert 0.1 < float(seen.mean()) < 0.6
    assert float(((texture - flat).abs() * seen).mean()) > 1e-3

    z.requires_grad_()
    small = crops._replace(**{k: v[:2] for k, v in crops._asdict().items()})
    whole = codes.clone().requires_grad_()
    terms = criterion(output_of(model, whole)._replace(displacement=z), small)
    assert set(terms) == {"detail_pixels", "detail_symmetry", "detail_size", "detail_smooth"}
    grads = torch.autograd.grad(sum(terms.values()), [z, whole], allow_unused=True)
    assert grads[1] is None and torch.isfinite(grads[0]).all()  # albedo, light and shape are given
    assert float(grads[0][..., 10:20, 10:20].abs().max()) > 0


def test_faces_carry_cameras_that_put_the_head_on_the_landmarks(model: Deca) -> None:
    picture = np.random.default_rng(1).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    (face,) = model.predict(picture, boxes=torch.tensor([30.0, 20, 90, 80]))
    head = model.net.space.head
    seen = face.camera.project(head.landmarks(face.vertices[None], "ibug68")[0])
    torch.testing.assert_close(seen, face.landmarks["ibug68"], atol=1e-2, rtol=0)
    assert face.camera.kind == "weak" and face.camera.image_size == (90, 120)
    torch.testing.assert_close(head(face.params).vertices[0], face.vertices, atol=1e-6, rtol=0)
    assert face.detail["displacement"].shape == (1, 32, 32)
    assert float(face.detail["displacement"][:, model.surface.mask[0, 0] == 0].abs().max()) == 0
    assert len(model.predict(picture, boxes=torch.zeros(0, 4))) == 0


def test_animation_keeps_the_person_and_moves_the_wrinkles(model: Deca, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    faces = [
        model.predict(
            rng.integers(0, 255, (80, 80, 3), dtype=np.uint8), boxes=torch.tensor([15.0, 15, 65, 65])
        )[0]
        for _ in range(2)
    ]
    one, other = faces
    same = model.animate(one)
    torch.testing.assert_close(same.vertices, one.vertices, atol=1e-6, rtol=0)
    torch.testing.assert_close(same.detail["displacement"], one.detail["displacement"], atol=1e-7, rtol=0)
    moved = model.transfer(one, other)
    torch.testing.assert_close(moved.params.identity, one.params.identity)
    torch.testing.assert_close(moved.params.expression, other.params.expression)
    torch.testing.assert_close(moved.detail["code"], one.detail["code"])
    assert float((moved.detail["displacement"] - one.detail["displacement"]).abs().max()) > 1e-5
    assert float((moved.vertices - one.vertices).abs().max()) > 1e-4
    opened = model.animate(one, jaw=torch.tensor([0.4, 0, 0]))
    shut = model.animate(one, jaw=torch.zeros(3))
    gaps = [float((f.landmarks["ibug68"][66] - f.landmarks["ibug68"][62]).norm()) for f in (opened, shut)]
    assert gaps[0] > gaps[1] + 1
    with pytest.raises(InputError, match=r"expression must be \(49,\)"):
        model.animate(one, expression=torch.zeros(3))

    picture = rng.integers(0, 255, (80, 80, 3), dtype=np.uint8)
    mesh = model.detailed_mesh(one, levels=1, image=picture)
    assert mesh.texture is not None and len(mesh.faces) == 4 * len(model.net.space.head.topology.faces)
    one.save(tmp_path / "face.obj", image=picture)
    one.save(tmp_path / "face.glb", image=picture)
    assert (tmp_path / "face.mtl").is_file()
    assert read_mesh(tmp_path / "face.glb").texture is not None
    one.save(tmp_path / "face.npz")
    stored = np.load(tmp_path / "face.npz")
    np.testing.assert_allclose(stored["detail.displacement"], one.detail["displacement"].numpy())


def test_textures_show_the_photo_and_complete_it(model: Deca) -> None:
    photo = torch.zeros(3, 64, 64)
    photo[0, :, 32:] = 0.8  # red where it is seen: the right half
    seen = torch.zeros(1, 64, 64, dtype=torch.bool)
    seen[:, 8:56, 32:60] = True
    lit = torch.full((3, 64, 64), 0.3)
    lit[:, :, :32] = 0.2  # the unseen half lies in the shade
    whole = complete_texture(photo * seen, seen, lit)
    torch.testing.assert_close(whole[:, 30, 46], photo[:, 30, 46])
    torch.testing.assert_close(whole[0, 30, 17], torch.tensor(0.8 * 2 / 3))  # mirrored, in the shade's light
    assert float(whole[0, 2, 46]) > 3 * float(whole[1, 2, 46])  # the model, tinted like the photo
    assert bool((whole >= 0).all() and (whole <= 1).all())
    torch.testing.assert_close(complete_texture(photo, torch.zeros_like(seen), lit), lit)

    picture = np.full((90, 120, 3), (200, 120, 90), np.uint8)
    face = model.predict(picture, boxes=torch.tensor([30.0, 20, 90, 80]))[0]
    texture = model.texture(face, picture, size=128)
    nose = model.net.space.head.topology.uv[model.net.space.head.topology.masks["nose"]]
    column, row = (nose[:, 0] * 128).long(), ((1 - nose[:, 1]) * 128).long()
    assert np.abs(np.median(texture[row, column], 0) - (200, 120, 90)).max() <= 2
    with pytest.raises(InputError, match="pixels, but the face was found"):
        model.texture(face, picture[:50])


def overrides(shards: Path, run_dir: Path, *more: str) -> list[str]:
    return [
        "model.widths=[8,8,8,16]", "model.depths=[1,1,1,1]", "model.hidden=16", "model.neck_channels=4",
        "model.crop_size=64", "model.features_from=''", "data=shards", f"data.root={shards}",
        "data.batch_size=4", "data.workers=0",
        "data.validation=4", "data.statistics=12", "trainer.device=cpu", "trainer.log_every=1", "trainer.max_steps=2",
        "trainer.validate_every=2", "trainer.image_every=0", "loss.painted=2", "loss.picture_size=32",
        f"trainer.run_dir={run_dir}", *more,
    ]  # fmt: skip


def test_recipe_trains_both_stages_and_what_it_exports_predicts(
    tmp_path: Path, people: dict[str, np.ndarray]
) -> None:
    meta = {"head_id": "open-v1", "size": 96, "synth_version": "test"}
    write_shard(tmp_path / "shards", 0, people, meta)
    first = train(load_recipe("deca", overrides(tmp_path / "shards", tmp_path / "coarse")))
    coarse = Deca.from_pretrained(first)
    assert {"nme68", "nme_dense", "shape_mm"} <= coarse.info["validation"].keys()
    assert coarse.info["validation"]["nme68"] < 60 and coarse.info["validation"]["shape_mm"] < 10
    # An untrained camera already shows the mean face about where faces are.
    assert 4 < float(coarse.net.codes_mean[CAMERA][0]) < 14

    more = [
        f"init={first}", "init.rehead=true", "init.freeze=[net.coarse]", "loss=detail", "model.detail=5",
        "model.detail_channels=[8,4,4]", "model.detail_widths=[4,4,8,8]", "optim.ema=0",
    ]  # fmt: skip
    second = train(load_recipe("deca", overrides(tmp_path / "shards", tmp_path / "detail", *more)))
    model = facezoo.load(str(second))
    assert isinstance(model, Deca)
    kept = model.state_dict()
    for name, value in coarse.state_dict().items():
        torch.testing.assert_close(kept[name], value, msg=name)
    assert float(kept["net.decoder.conv_blocks.0.running_mean"].abs().max()) > 0  # it has trained
    picture = np.random.default_rng(1).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    face = model.predict(picture, boxes=torch.tensor([30.0, 20, 90, 80]))[0]
    assert torch.isfinite(face.vertices).all() and face.detail["displacement"].shape == (1, 32, 32)


def test_recipes_refuse_terms_that_cannot_be_computed() -> None:
    with pytest.raises(RecipeError, match=r"loss=detail needs model.detail"):
        load_recipe("deca", ["loss=detail"])
    with pytest.raises(RecipeError, match=r"loss.judge_weights=FILE"):
        load_recipe("deca", ["loss.identity=0.2"])
    with pytest.raises(RecipeError, match="one entry a stage"):
        load_recipe("deca", ["model.detail_widths=[8]"])


def test_label_codes_are_masked_where_a_flip_made_them_wrong(model: Deca, crops: CropBatch) -> None:
    truth = true_codes(model.net, crops._replace(identity_known=torch.tensor([1.0, 0, 1, 1, 0, 1])))
    assert truth.identity_known.tolist() == [1, 0, 1, 1, 0, 1]
    torch.testing.assert_close(truth.codes.shape, crops.identity)


def test_energy_tells_what_wrinkles_depend_on(model: Deca) -> None:
    rng = np.random.default_rng(3)
    pictures = [rng.integers(0, 255, (80, 80, 3), dtype=np.uint8) for _ in range(3)]
    faces = [model.predict(p, boxes=torch.tensor([15.0, 15, 65, 65]))[0] for p in pictures]
    both = exchange_energy(model, faces)
    assert {"face", "forehead"} <= both.keys()
    whole = both["face"]
    assert 1e-4 < whole.by_expression < 20 and 1e-4 < whole.by_person < 20 and 0.1 < whole.own <= 10
    layer = model.net.decoder.l1[0]
    kept = layer.weight.detach().clone()
    try:
        with torch.no_grad():
            layer.weight[:, :52] = 0  # jaw and expression
        static = exchange_energy(model, faces)["face"]
        assert static.by_expression < 1e-6 < static.by_person
        with torch.no_grad():
            layer.weight.copy_(kept)
            layer.weight[:, 52:] = 0  # the person's code
        nobody = exchange_energy(model, faces)["face"]
        assert nobody.by_person < 1e-6 < nobody.by_expression
    finally:
        with torch.no_grad():
            layer.weight.copy_(kept)
    with pytest.raises(InputError, match="two or more faces"):
        exchange_energy(model, faces[:1])
