"""SynergyNet against the released code's own outputs (parity pack ``synergynet``)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from synergynet_official import PACK, official_state, write_official_head
from torch import Tensor

from facezoo.errors import AssetError
from facezoo.models.synergynet.config import SynergyLossConfig
from facezoo.models.synergynet.convert import load_official, official_config
from facezoo.models.synergynet.criterion import code_loss, parameter_loss, wing_loss
from facezoo.models.synergynet.module import SynergyModel
from facezoo.models.synergynet.official import cropped, enlarged_box, official_pose, to_picture


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Sum in one order: how many threads share a convolution moves its last bits, and 52 layers pass them on."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pack() -> dict[str, Tensor]:
    path = PACK / "pack.safetensors"
    if not path.exists():
        pytest.skip(f"parity pack synergynet is not at {PACK}")
    from safetensors.torch import load_file

    return load_file(path)


@pytest.fixture(scope="module")
def model(pack, tmp_path_factory) -> SynergyModel:
    head = write_official_head(pack, tmp_path_factory.mktemp("head"))
    config = official_config(head)
    config.border = 0
    model = SynergyModel(config).eval()
    load_official(model, official_state() | {f"param_{k}": pack[f"basis.param_{k}"] for k in ("mean", "std")})
    return model


def images(pack: dict[str, Tensor]) -> Tensor:
    """Return the pack's BGR pictures as the RGB in [0, 1] that the model takes."""
    return pack["input_uint8_chw"].flip(1).float() / 255


def close(found: Tensor, wanted: Tensor, share: float = 1e-5) -> None:
    scale = float(wanted.abs().max())
    error = float((found - wanted).detach().abs().max())
    assert error <= share * scale, f"{error:g} of {scale:g}"


@pytest.mark.parametrize("gain", [1.0, 1.5])
def test_backbone_and_heads(pack, model, gain):
    prefix = "g15." if gain == 1.5 else ""
    part = "net.image_to_params.backbone.features."
    state = {k: v.clone() for k, v in model.state_dict().items()}
    for name in state:
        if name.startswith(part) and state[name].dim() == 4:
            state[name] *= gain
    network = SynergyModel(model.config).eval()
    network.load_state_dict(state)
    seen = {}
    for i, block in enumerate(network.net.image_to_params.backbone.features):
        block.register_forward_hook(lambda _m, _i, out, i=i: seen.update({i: out}))
    with torch.no_grad():
        params, pooled = network.net.image_to_params(images(pack))
        close(params, pack[f"{prefix}params62"])
        close(pooled, pack[f"{prefix}pool1280"])
        network.net.image_to_params.backbone((pack["input_uint8_chw"].float() - 127.5) / 128)
    checked = 0
    for i, out in seen.items():
        if f"{prefix}features.{i}.sub" in pack:
            close(
                out.flatten()[:: int(pack[f"{prefix}features.{i}.step"])], pack[f"{prefix}features.{i}.sub"]
            )
            checked += 1
    assert checked == 9


def test_reconstruction(pack, model):
    space = model.net.space
    for name, params in (("lmk", "params62"), ("lmk_gt", "target_params62")):
        close(space.reconstruct(pack[params]).mT, pack[name])
    raw = space.unwhiten(pack["target_params62"])
    pose, shape, expression = space.split(raw)
    points = space.landmarks(space.head_params(shape, expression))
    close((points @ pose[:, :, :3].mT + pose[:, None, :, 3]).mT, pack["lmk_gt_no_flip"])


def test_refinement_and_reverse_path(pack, model):
    net = model.net
    with torch.no_grad():
        refined, contour = net.refine(pack["params62"], pack["pool1280"], pack["lmk"].mT)
        close(refined.mT, pack["lmk_refined"])
        assert torch.equal(contour, refined[..., :2])
        close(net.read_back(pack["lmk_refined"].mT), pack["mlp_rev_out"])
        out = net.refiner(
            pack["mlp_in_pts"].mT, pack["mlp_in_pool"], pack["mlp_in_shape"], pack["mlp_in_exp"]
        )
        close(out.mT, pack["mlp_for_out_indep"])
        close(net.read_back(pack["mlp_in_pts"].mT), pack["mlp_rev_out_indep"])


def test_losses_in_training(pack):
    w = SynergyLossConfig()
    params, target = pack["params62"], pack["target_params62"]
    close(w.landmarks * wing_loss(pack["lmk"], pack["lmk_gt"]), pack["train.loss_LMK_f0"])
    close(w.refined * wing_loss(pack["lmk_refined"], pack["lmk_gt"]), pack["train.loss_LMK_pointNet"])
    close(w.params * parameter_loss(params, target), pack["train.loss_Param_In"])
    reverse = pack["mlp_rev_out"]
    close(w.reverse * code_loss(reverse, target, compat=True), pack["train.loss_Param_S2"])
    close(w.consistency * code_loss(reverse, params, compat=True), pack["train.loss_Param_S1S2"])


def test_gradients_of_losses(pack):
    points = pack["wing_pred"].clone().requires_grad_()
    loss = wing_loss(points, pack["wing_target"])
    close(loss, pack["wing"])
    close(torch.autograd.grad(loss, points)[0], pack["wing.grad"])
    for name, function in (
        ("normal", parameter_loss),
        ("only_3dmm", lambda p, t: code_loss(p, t, compat=True)),
    ):
        params = pack["param_pred"].clone().requires_grad_()
        loss = function(params, pack["param_target"])
        close(loss, pack[f"param_loss.{name}"])
        close(torch.autograd.grad(loss.mean(), params)[0], pack[f"param_loss.{name}.grad_of_mean"])


def test_the_slip_is_not_the_default(pack):
    params, target = pack["param_pred"], pack["param_target"]
    assert not torch.allclose(code_loss(params, target), code_loss(params, target, compat=True))
    assert float(code_loss(target, target).max()) < 1e-5


def test_dense_points_and_pose_in_the_picture(pack, model):
    space, params = model.net.space, pack["target_params62"]
    roi = pack["roi"][:, :4].float()
    dense = to_picture(space.reconstruct_dense(params), roi)
    sparse = to_picture(space.reconstruct(params), roi)
    pose = official_pose(space.split(space.unwhiten(params))[0], roi)
    for i in range(2):
        close(dense[i].mT, pack[f"roi{i}.dense"])
        close(sparse[i].mT, pack[f"roi{i}.lmk"])
        close(pose.matrix[i], pack[f"roi{i}.pose_P"])
        close(pose.angles_deg[i].double(), pack[f"roi{i}.angles_deg"])
        close(pose.translation[i].double(), pack[f"roi{i}.t3d"])


def test_crops_and_boxes(pack):
    image = pack["crop.image"].numpy()
    for i in range(4):
        out = cropped(image, tuple(pack[f"crop.box{i}"].tolist()))
        assert out.shape == tuple(pack[f"crop.out{i}"].shape)
        assert (out == pack[f"crop.out{i}"].numpy()).all()
    for rect, wanted in zip(pack["enlarge.rect"].tolist(), pack["enlarge.out"].tolist(), strict=True):
        assert list(enlarged_box(tuple(rect))) == wanted


def test_benchmark_border(pack, model):
    part = SynergyModel(official_config(model.config.head)).net.image_to_params
    prepared = part.prepare(images(pack)[:1])
    normalised = ((prepared - part.mean) / part.std).flatten()
    step = int(pack["benchmark_preprocess.step"])
    close(normalised[::step], pack["benchmark_preprocess.sub"])


def test_a_strange_checkpoint_is_refused(model):
    state = official_state()
    state.pop("forwardDirection.conv9.bias")
    with pytest.raises(AssetError, match=r"lacks.*net\.refiner\.merge\.3\.conv\.bias"):
        load_official(model, state)
