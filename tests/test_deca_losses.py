"""DECA's losses: released values and gradients to 1e-5, float64 gradients, and what they must and must not see."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from deca_packs import assert_near, load_pack
from safetensors.torch import save_file
from torch import Tensor

from facezoo.errors import AssetError, InputError
from facezoo.models.deca import losses_coarse as coarse
from facezoo.models.deca import losses_detail as detail
from facezoo.models.deca.consistency import doubled, exchange, swapped
from facezoo.models.deca.frozen import IdentityFeatures, load_frozen
from facezoo.models.deca.id_mrf import LAYERS, mrf_loss
from facezoo.render import sh_basis, shade_sh


@pytest.fixture(scope="module")
def pack() -> dict[str, Tensor]:
    return load_pack("deca-losses")


def check(
    pack: dict[str, Tensor], name: str, loss: Tensor, source: Tensor | None = None, near: float = 1e-5
) -> None:
    """Compare a value, and its gradient when the pack has one."""
    assert_near(loss.detach().view(1), pack[name])
    if source is not None:
        (grad,) = torch.autograd.grad(loss, source)
        assert_near(grad, pack[f"{name}.grad"], near)


def test_landmark_losses_equal_the_released_ones(pack: dict[str, Tensor]) -> None:
    points = pack["lmk_pred"].requires_grad_()
    weights = coarse.landmark_weights(points)
    for suffix, truth in (("", pack["lmk_gt"]), ("_vis", pack["lmk_gt_vis"])):
        target, seen = truth[..., :2], truth[..., 2]
        check(pack, f"landmark_loss{suffix}", coarse.landmark_loss(points, target, seen), points)
        check(
            pack,
            f"weighted_landmark_loss{suffix}",
            coarse.landmark_loss(points, target, seen * weights),
            points,
        )
    target, seen = pack["lmk_gt"][..., :2], pack["lmk_gt"][..., 2]
    check(pack, "landmark_loss_from_2d_gt", coarse.landmark_loss(points, target), points)
    check(pack, "eyed_loss", coarse.closure_loss(points, target, coarse.EYE_PAIRS), points)
    check(pack, "lipd_loss", coarse.closure_loss(points, target, coarse.LIP_PAIRS), points)
    assert_near(coarse.pair_distances(points.detach(), coarse.EYE_PAIRS), pack["eye_dis"])
    assert_near(coarse.pair_distances(points.detach(), coarse.LIP_PAIRS), pack["lip_dis"])
    # The released code weighs the caller's visibility again at every call; ours leaves it as it is.
    assert_near(seen * weights, pack["weighted_landmark_loss.gt_after_call"][..., 2])
    again = coarse.landmark_loss(points, target, seen * weights * weights)
    assert_near(again.detach().view(1), pack["weighted_landmark_loss.second_call"])


def test_regularisers_equal_the_released_ones(pack: dict[str, Tensor]) -> None:
    for name in ("shape", "exp", "tex"):
        codes = pack[f"reg_{name}_in"]
        check(pack, f"reg_{name}", 1e-4 * coarse.code_loss(codes, official=True))
        clean = coarse.code_loss(codes)
        torch.testing.assert_close(coarse.code_loss(torch.cat([codes, codes])), clean)
        torch.testing.assert_close(2 * clean, coarse.code_loss(codes, official=True))
    check(pack, "reg_light", coarse.light_loss(pack["reg_light_in"]))


def test_detail_losses_equal_the_released_ones(pack: dict[str, Tensor]) -> None:
    z, mask = pack["sym_z"].requires_grad_(), pack["sym_mask"]
    assert torch.equal(detail.eroded(mask), pack["sym_eroded"])
    check(pack, "z_sym", 0.005 * detail.soft_symmetry_loss(z, mask, official=True), z)
    check(pack, "z_reg", 0.005 * detail.size_loss(z), z)
    shading = pack["z_diff_in"].requires_grad_()
    check(pack, "z_diff_unweighted", detail.smoothness_loss(shading), shading)


def test_id_mrf_equals_the_released_one(pack: dict[str, Tensor]) -> None:
    losses = {}
    for name in ("a", "b"):
        made = pack[f"mrf_{name}.gen"].requires_grad_()
        losses[name] = mrf_loss(made, pack[f"mrf_{name}.tar"], official=True)
        check(pack, f"mrf_{name}.loss", losses[name], made, near=1e-4)
    total = losses["a"] + 2 * losses["b"]
    assert_near(total.detach().view(1), pack["mrf_total"])
    assert_near((losses["a"] + losses["b"]).detach().view(1), pack["mrf_style"])
    assert_near(losses["b"].detach().view(1), pack["mrf_content"])


def test_light_equals_the_released_one(pack: dict[str, Tensor]) -> None:
    shading = shade_sh(pack["sh_normal"].permute(0, 2, 3, 1), pack["sh_light"]).permute(0, 3, 1, 2)
    assert_near(shading, pack["sh_shading"])
    ones = sh_basis(torch.tensor([[1.0, 1, 1], [1, 0, 0]]))
    assert_near(ones[0, :7], pack["sh_constants"][:7])
    assert_near(ones[1, 7:8], pack["sh_constants"][7:8])


def test_id_mrf_is_zero_for_no_vectors_and_least_for_the_target() -> None:
    torch.manual_seed(0)
    target = torch.randn(2, 6, 5, 5, dtype=torch.float64)
    flat = torch.zeros_like(target, requires_grad=True)
    loss = mrf_loss(flat, torch.zeros_like(target))
    loss.backward()
    assert torch.isfinite(loss) and flat.grad is not None and torch.isfinite(flat.grad).all()
    assert torch.isnan(mrf_loss(torch.zeros_like(target), torch.zeros_like(target), official=True))
    order = torch.randperm(25)
    target = target - target.mean(1, keepdim=True)  # positions are centred by the target's own means
    own = mrf_loss(target.flatten(2)[:, :, order].view_as(target), target)
    assert float(own) < 1e-3 < float(mrf_loss(torch.randn_like(target), target))
    one = mrf_loss(target[:1].flip(-1) * 0.9 + 0.1, target[:1])
    torch.testing.assert_close(mrf_loss(doubled(target[:1].flip(-1) * 0.9 + 0.1), doubled(target[:1])), one)


def test_gradients() -> None:
    torch.manual_seed(1)

    def leaf(*shape: int) -> Tensor:
        return torch.rand(*shape, dtype=torch.float64).requires_grad_()

    points, target = leaf(2, 68, 2), torch.rand(2, 68, 2).double()
    picture, image, mask = leaf(2, 3, 4, 4), torch.rand(2, 3, 4, 4).double(), torch.rand(2, 1, 4, 4).double()
    z, seen = leaf(2, 1, 9, 9), (torch.rand(2, 1, 9, 9) > 0.3).double()
    mirror = z.detach().clone()
    cases = [
        (lambda p: coarse.landmark_loss(p, target, coarse.landmark_weights(p)), points),
        (lambda p: coarse.closure_loss(p, target, coarse.EYE_PAIRS), points),
        (lambda p: coarse.photometric_loss(p, image, mask), picture),
        (lambda p: coarse.photometric_loss(p, image, mask, official=True), picture),
        (lambda p: coarse.identity_loss(p.flatten(1), image.flatten(1)), picture),
        (lambda p: coarse.code_loss(p.flatten(1)), picture),
        (lambda p: coarse.light_loss(p), leaf(2, 9, 3)),
        (lambda p: mrf_loss(p, image), picture),
        (lambda p: detail.smoothness_loss(p), z),
        (lambda p: detail.size_loss(p), z),
        (lambda p: detail.patch(p, (1, 8, 2, 9), 5), z),
    ]
    for number, (function, value) in enumerate(cases):
        assert torch.autograd.gradcheck(function, (value,), fast_mode=True), number
    # The mirror image is a constant by definition, so the derivative is taken against a fixed copy of it.
    loss = detail.soft_symmetry_loss(z, seen)
    (grad,) = torch.autograd.grad(loss, z)
    unseen = 1 - detail.eroded(seen)
    torch.testing.assert_close(grad, unseen * (mirror - mirror.flip(-1)).sign() / unseen.sum())


def test_clean_sums_do_not_grow_with_batch_or_background() -> None:
    torch.manual_seed(2)
    image, rendered = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 2:6, 2:6] = 1
    loss = coarse.photometric_loss(rendered, image, mask)
    torch.testing.assert_close(
        coarse.photometric_loss(rendered[..., 2:6, 2:6], image[..., 2:6, 2:6], mask[..., 2:6, 2:6]), loss
    )
    torch.testing.assert_close(coarse.photometric_loss(rendered, image, mask, official=True), loss / 4)
    z, seen = torch.randn(1, 1, 12, 12), torch.ones(1, 1, 12, 12)
    seen[..., 6:] = 0
    one = detail.soft_symmetry_loss(z, seen)
    torch.testing.assert_close(detail.soft_symmetry_loss(doubled(z), doubled(seen)), one)
    assert float(coarse.photometric_loss(rendered, image, torch.zeros_like(mask))) == 0


def test_patch_box_holds_the_mask() -> None:
    mask = torch.zeros(1, 1, 20, 30)
    mask[..., 5:9, 12:29] = 0.3
    assert detail.patch_box(mask) == (3, 11, 10, 30)
    assert detail.patch_box(torch.zeros(1, 1, 20, 30)) == (0, 20, 0, 30)
    assert detail.patch(mask, (3, 11, 10, 30), 16).shape == (1, 1, 16, 16)


def test_exchange_stays_within_people_and_moves_everyone() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = exchange(12, 3, generator)
    assert torch.equal(rows // 3, torch.arange(12) // 3) and not (rows == torch.arange(12)).any()
    assert torch.equal(rows.sort().values, torch.arange(12))
    draws = {tuple(exchange(12, 3, generator).tolist()) for _ in range(20)}
    assert len(draws) > 1
    codes = torch.arange(12.0)[:, None]
    assert torch.equal(swapped(codes, rows), torch.cat([codes, codes[rows]]))
    for batch, pictures in ((12, 1), (12, 5)):
        with pytest.raises(InputError, match="pictures a person"):
            exchange(batch, pictures)


def test_frozen_networks_come_from_files_and_stay_frozen(tmp_path: Path) -> None:
    import timm

    torch.manual_seed(0)
    source = timm.create_model("test_resnet", num_classes=3)
    path = tmp_path / "net.safetensors"
    save_file(source.state_dict(), path)
    judge = IdentityFeatures("test_resnet", str(path)).train()
    images = torch.rand(2, 3, 40, 40, requires_grad=True)
    loss = coarse.identity_loss(judge(images), judge(images.flip(-1)).detach())
    loss.backward()
    assert images.grad is not None and float(images.grad.abs().max()) > 0
    assert not list(judge.parameters()) and not judge.state_dict()
    assert not any(m.training for m in judge.modules())
    with torch.no_grad():
        plain = source.eval().forward_features((torch.zeros(1, 3, 160, 160) - judge.mean) / judge.std)
        torch.testing.assert_close(
            judge(torch.zeros(1, 3, 40, 40)), source.forward_head(plain, pre_logits=True)
        )
    assert float(coarse.identity_loss(judge(images), judge(images)).detach()) < 1e-6
    with pytest.raises(AssetError, match="test_byobnet"):
        load_frozen("test_byobnet", str(path))
    with pytest.raises(AssetError, match="cannot load"):
        load_frozen("test_resnet", str(tmp_path / "absent.safetensors"))


def test_layers_are_those_behind_the_named_convolutions() -> None:
    from torch import nn

    vgg = load_frozen_shape()
    convolutions = [i for i, layer in enumerate(vgg) if isinstance(layer, nn.Conv2d)]
    # VGG-19 has 2, 2, 4, 4, 4 convolutions a block.
    assert LAYERS["clean"] == (convolutions[5] + 1, convolutions[9] + 1)
    assert LAYERS["official"] == (convolutions[4] + 1, convolutions[8] + 1)
    assert all(isinstance(vgg[i], nn.ReLU) for layers in LAYERS.values() for i in layers)


def load_frozen_shape() -> list:
    """Return VGG-19's layers without memory for their weights."""
    import timm

    with torch.device("meta"):
        return list(timm.create_model("vgg19", num_classes=0).features)
