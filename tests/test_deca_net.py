"""DECA's networks: the released encoders, decoder and checkpoint to 1e-5, codes, camera, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from deca_packs import assert_near, assert_record, load_pack, official_weights
from torch import Tensor, nn

import facezoo
from facezoo.errors import AssetError, InputError
from facezoo.geometry import axis_angle_to_matrix
from facezoo.heads import HeadModel, HeadParams, load_head
from facezoo.models.deca import camera
from facezoo.models.deca.__main__ import main
from facezoo.models.deca.codes import euler_to_axis_angle, join_codes, split_codes
from facezoo.models.deca.config import DecaConfig
from facezoo.models.deca.convert import convert_checkpoint, load_official, read_official
from facezoo.models.deca.detail_decoder import DetailDecoder
from facezoo.models.deca.encoder import Encoder
from facezoo.models.deca.net import DecaNet
from facezoo.models.deca.space import DecaSpace

OFFICIAL = DecaConfig(compat="official", n_expression=50)
SMALL = {
    "backbone": "nano", "widths": [8, 8, 8, 16], "depths": [1, 1, 1, 1], "hidden": 16,
    "detail": 6, "detail_channels": [8, 4, 4], "crop_size": 64,
}  # fmt: skip


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("open-v1")


def recorded(module: nn.Module, names: dict[str, str], images: Tensor) -> dict[str, Tensor]:
    """Run a module and keep what some of its parts return."""
    kept: dict[str, Tensor] = {}
    for record, name in names.items():
        module.get_submodule(name).register_forward_hook(
            lambda part, given, made, record=record: kept.__setitem__(record, made.clone())
        )
    kept["out"] = module(images)
    return kept


@pytest.mark.parametrize(("group", "outputs"), [("E_flame", 236), ("E_detail", 128)])
def test_encoders_compute_what_the_released_ones_compute(group: str, outputs: int) -> None:
    pack = load_pack("deca-encoders")
    encoder = Encoder(OFFICIAL, outputs).eval()
    weights = official_weights("deca-encoders", group)
    renamed = {
        f"features.backbone.{k.removeprefix('encoder.')}" if k.startswith("encoder.") else k: v
        for k, v in weights.items()
    }
    encoder.load_state_dict(renamed)
    stages = {
        "maxpool": "maxpool",
        "layer1": "layer1",
        "layer2": "layer2",
        "layer3": "layer3",
        "layer4": "layer4",
    }
    names = {k: f"features.backbone.{v}" for k, v in stages.items()} | {"feature2048": "features"}
    with torch.no_grad():
        found = recorded(encoder, names, pack["input"])
    for stage in stages:
        assert_record(found[stage], pack, f"{group}.{stage}")
    assert_near(found["feature2048"], pack[f"{group}.feature2048"])
    assert_near(found["out"], pack[f"{group}.out"])
    if group == "E_flame":
        codes = split_codes(found["out"], OFFICIAL.sizes)
        for name, part in zip(("shape", "tex", "exp", "pose", "cam", "light"), codes, strict=True):
            assert_near(part, pack[f"code.{name}"], scale=float(found["out"].abs().max()))


def test_decoder_computes_what_the_released_one_computes() -> None:
    pack = load_pack("deca-detail")
    decoder = DetailDecoder(OFFICIAL).eval()
    decoder.load_state_dict(official_weights("deca-detail", "D_detail"))
    kept: dict[str, Tensor] = {}
    for index in (0, 3, 7, 11, 15, 19, 21):
        decoder.conv_blocks[index].register_forward_hook(
            lambda part, given, made, name=f"conv_blocks.{index}": kept.__setitem__(name, made.clone())
        )
    with torch.no_grad():
        displacement = decoder(pack["jaw"], pack["exp"], pack["detail"])
    for name, value in kept.items():
        assert_record(value, pack, name)
    assert_near(displacement, pack["displacement"])


def test_clean_decoder_uses_the_usual_epsilon_and_keeps_its_limit() -> None:
    layers = [m for m in DetailDecoder(DecaConfig()).modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(layers) == 6 and {m.eps for m in layers} == {1e-5}
    decoder = DetailDecoder(DecaConfig(**SMALL))
    out = decoder(torch.randn(2, 3) * 9, torch.randn(2, 49) * 9, torch.randn(2, 6) * 900)
    assert out.shape == (2, 1, 32, 32) and float(out.detach().abs().max()) <= 0.01


def test_checkpoint_loads_whole_or_not_at_all(tmp_path: Path, head: HeadModel) -> None:
    net = DecaNet(DecaConfig(**SMALL), head)
    own = net.state_dict()
    groups: dict[str, dict[str, Tensor]] = {}
    for group, part in (("E_flame", "coarse."), ("E_detail", "detail."), ("D_detail", "decoder.")):
        names = [name for name in own if name.startswith(part)]
        groups[group] = {
            name.removeprefix(part).replace("features.backbone.", "encoder."): 0.1
            * torch.rand_like(own[name].float())
            for name in names
        }
    for values in groups.values():  # as old torch versions wrote them
        for key in [k for k in values if k.endswith("num_batches_tracked")]:
            del values[key]
    path = tmp_path / "deca_model.tar"
    torch.save({**groups, "global_step": 7}, path)
    load_official(net, read_official(path))
    torch.testing.assert_close(net.decoder.l1[0].weight, groups["D_detail"]["l1.0.weight"])
    torch.testing.assert_close(net.coarse.layers[2].bias, groups["E_flame"]["layers.2.bias"])

    convert_checkpoint(path, tmp_path / "model", DecaConfig(**SMALL))
    model = facezoo.load(tmp_path / "model")
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(images).codes, net.eval()(images).codes)
    assert model.info["licences"]["weights"].startswith("of the released DECA")

    key = next(iter(groups["E_detail"]))
    broken = {**groups, "E_detail": {k: v for k, v in groups["E_detail"].items() if k != key}}
    with pytest.raises(AssetError, match="E_detail does not fit: 1 of"):
        load_official(net, broken)
    torch.save({"E_flame": {}}, path)
    with pytest.raises(AssetError, match="lacks E_detail, D_detail"):
        read_official(path)
    assert main(["convert", f"checkpoint={path}"]) == 2 and main(["export"]) == 2
    assert main(["convert", f"checkpoint={path}", f"out={tmp_path / 'x'}", "head=flame2020"]) == 2
    path.write_bytes(b"no checkpoint")
    with pytest.raises(AssetError, match="cannot read"):
        read_official(path)


def test_camera_projection_equals_the_released_one() -> None:
    pack = load_pack("deca-losses")
    projected = camera.project(pack["cam_points"], pack["cam"])
    assert_near(projected, pack["cam_proj"])
    assert_near(camera.to_image_axes(projected), pack["cam_proj_flipped"])


def test_euler_jaw_equals_the_released_one() -> None:
    pack = load_pack("deca-losses")
    assert_near(euler_to_axis_angle(pack["euler_in"]), pack["euler_axis"])


def test_weak_camera_sees_what_the_codes_project(head: HeadModel) -> None:
    torch.manual_seed(0)
    space = DecaSpace(DecaConfig(), head)
    vector = torch.randn(3, 235) * 0.3
    codes = split_codes(vector, space.config.sizes)
    codes = codes._replace(camera=torch.tensor([[8.0, 0.01, 0.02], [9, 0, 0], [7, -0.02, 0.01]]))
    torch.testing.assert_close(join_codes(split_codes(vector, space.config.sizes)), vector)
    joint = space.joint(codes)
    posed = space.head(space.head_params(codes))
    torch.testing.assert_close(posed.joints[:, 0], joint, atol=1e-6, rtol=0)
    made = camera.weak_camera(codes.camera, codes.pose[:, :3], joint, 224)
    seen = made.project(space.vertices(codes, turned=False))
    expected = camera.to_screen(posed.vertices, codes.camera, 224)
    torch.testing.assert_close(seen, expected[..., :2], atol=2e-3, rtol=0)
    depth = made.to_camera(space.vertices(codes, turned=False))[..., 2]
    torch.testing.assert_close(depth, expected[..., 2], atol=1e-5, rtol=0)
    rotation, back = camera.camera_codes(made, joint)
    torch.testing.assert_close(rotation, codes.pose[:, :3], atol=1e-5, rtol=0)
    torch.testing.assert_close(back, codes.camera, atol=1e-5, rtol=0)
    refit = camera.fit_camera(posed.vertices, expected[..., :2] / 112 - 1)
    torch.testing.assert_close(refit, codes.camera, atol=1e-4, rtol=0)


def test_crop_window_of_a_camera_keeps_the_picture(head: HeadModel) -> None:
    joint = head.joint_template[:1]
    made = camera.weak_camera(torch.tensor([[8.0, 0.01, 0.02]]), torch.tensor([[0.1, 0.4, -0.2]]), joint, 100)
    window = torch.tensor([[[2.0, 0, -30], [0, 2, -50]]])  # the part that begins at (15, 25), enlarged
    zoomed = made.warped(window, (120, 120))
    rotation, code = camera.camera_codes(zoomed, joint)
    posed = head(HeadParams(rotation=rotation)).vertices
    seen = camera.to_screen(posed, code, 120)[..., :2]
    expected = made.project(head(HeadParams(rotation=torch.zeros(1, 3))).vertices) * 2 - torch.tensor(
        [30.0, 50]
    )
    torch.testing.assert_close(seen, expected, atol=1e-3, rtol=0)
    with pytest.raises(InputError, match="square"):
        camera.camera_codes(made.warped(window, (120, 100)), joint)


def test_landmarks_follow_head_and_camera(head: HeadModel) -> None:
    net = DecaNet(DecaConfig(**SMALL), head).eval()
    codes = torch.zeros(2, sum(net.config.sizes))
    parts = net.split(codes)._replace(camera=torch.tensor([[8.0, 0, 0], [8.0, 0.01, 0.02]]))
    points = net.space.place(net.space.landmarks(parts), parts)
    torch.testing.assert_close(
        points[1] - points[0], torch.tensor([0.04, -0.08]).expand(68, 2), atol=1e-6, rtol=0
    )
    assert float(points[0, 8, 1]) > float(points[0, 27, 1])  # the chin is below the nose's root
    assert float(points[0, 45, 0]) > float(points[0, 36, 0])  # the subject's left eye is on the right
    turned = parts._replace(pose=torch.tensor([[0, 0.5, 0, 0, 0, 0]]).expand(2, 6))
    assert float(net.space.place(net.space.landmarks(turned), turned)[0, 30, 0]) > float(points[0, 30, 0])
    out = net(torch.rand(2, 3, 64, 64))
    assert out.landmarks68.shape == (2, 68, 2) and out.displacement.shape == (2, 1, 32, 32)


def test_head_and_code_sizes_must_fit(head: HeadModel) -> None:
    with pytest.raises(AssetError, match=r"49 expression components but model.n_expression=50"):
        DecaSpace(OFFICIAL, head)
    with pytest.raises(InputError, match=r"\(B, 236\)"):
        split_codes(torch.zeros(1, 235), OFFICIAL.sizes)
    net = DecaNet(DecaConfig(**{**SMALL, "detail": 0}), head)
    with pytest.raises(InputError, match="no detail branch"):
        net.displacement(net.split(torch.zeros(1, 235)), torch.zeros(1, 6))


def test_rotation_of_the_head_is_about_its_root(head: HeadModel) -> None:
    made = camera.weak_camera(
        torch.tensor([[8.0, 0, 0]]), torch.tensor([[0.3, 0.2, 0.1]]), head.joint_template[:1], 64
    )
    turn = axis_angle_to_matrix(torch.tensor([[0.3, 0.2, 0.1]]))
    torch.testing.assert_close(torch.diag(torch.tensor([1.0, -1, -1])) @ turn, made.R)
    fixed = made.project(head.joint_template[None, :1])
    plain = camera.weak_camera(torch.tensor([[8.0, 0, 0]]), torch.zeros(1, 3), head.joint_template[:1], 64)
    torch.testing.assert_close(fixed, plain.project(head.joint_template[None, :1]), atol=1e-4, rtol=0)
