"""Augmented labels stay exact: the mirrored, turned, cropped head projects onto the moved points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dense_fakes import POINTS, toy_head_arrays, toy_landmarks, toy_samples
from torch import Tensor

from facezoo.data import degrade
from facezoo.data.augment import Augment, AugmentConfig, CropBatch, resample
from facezoo.data.mirror import Mirror, basis_mirror, ibug68_mirror, subset_mirror
from facezoo.data.shards import to_tensors
from facezoo.errors import InputError
from facezoo.geometry.crop import CropSpec
from facezoo.geometry.crop_pose import decode_pose, encode_pose, split_crop_camera
from facezoo.geometry.rotations import axis_angle_to_matrix
from facezoo.heads import HeadModel, HeadParams, load_head

LABELS_ONLY = dict.fromkeys(("color", "grey", "low_resolution", "blur", "noise", "jpeg", "cutout"), 0.0)
SIZE = 64


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return HeadModel(*toy_head_arrays())


@pytest.fixture(scope="module")
def samples(head: HeadModel) -> dict[str, Tensor]:
    return to_tensors(toy_samples(head, 16))


def projected(head: HeadModel, batch: CropBatch) -> Tensor:
    """Project the head of every crop's own labels with every crop's own camera, in crop units."""
    vertices = head(HeadParams(identity=batch.identity, expression=batch.expression)).vertices
    pixels = (vertices @ batch.R.mT + batch.t[:, None]) @ batch.K.mT
    return pixels[..., :2] / pixels[..., 2:] / SIZE - 0.5


@pytest.mark.parametrize("flip", [0.0, 1.0, 0.5])
@pytest.mark.parametrize("upside_down", [0.0, 0.5])
def test_labels_describe_the_augmented_crop(
    head: HeadModel, samples: dict[str, Tensor], flip: float, upside_down: float
) -> None:
    config = AugmentConfig(flip=flip, flip_vertical=upside_down, rotation=30, **LABELS_ONLY)
    batch = Augment(CropSpec(SIZE), Mirror.of_head(head, POINTS), config)(samples, seed=3)
    torch.testing.assert_close(projected(head, batch), batch.points, atol=2e-3, rtol=0)  # float16 parameters
    torch.testing.assert_close(batch.points[:, toy_landmarks()], batch.landmarks68, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(batch.R), torch.ones(16))
    assert batch.identity_known.min() == 1 and batch.expression_known.min() == 1


def test_pictures_follow_the_labels(head: HeadModel, samples: dict[str, Tensor]) -> None:
    """A dot drawn at a landmark is found at the label's place, also after flips: left keeps its colour."""
    image = torch.zeros(16, 3, 96, 96, dtype=torch.uint8)
    nose = samples["lm68"][:, 36]
    for n, (x, y) in enumerate(nose.tolist()):
        image[n, :, int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3] = 255
    for seed in range(3):
        config = AugmentConfig(flip=0.5, rotation=30, **LABELS_ONLY)
        augment = Augment(CropSpec(SIZE), Mirror.of_head(head, POINTS), config)
        batch = augment({**samples, "images": image}, seed=seed)
        flipped = batch.R[:, 0, 0] * 0 + (batch.landmarks68[:, 36] - batch.landmarks68[:, 45]).norm(dim=1)
        assert flipped.min() > 0
        grid = (torch.arange(SIZE) + 0.5) / SIZE - 0.5
        mass = batch.images.mean(1)
        total = mass.sum((1, 2)).clamp_min(1e-6)
        found = torch.stack([(mass.sum(1) * grid).sum(1), (mass.sum(2) * grid).sum(1)], 1) / total[:, None]
        inside = batch.landmarks68.abs().amax((1, 2)) < 0.45
        wanted = torch.stack([batch.landmarks68[:, 36], batch.landmarks68[:, 45]], 1)
        error = (wanted - found[:, None]).norm(dim=-1).amin(1)
        assert inside.sum() > 3 and float(error[inside].max()) < 1.5 / SIZE


def test_same_seed_same_crops(head: HeadModel, samples: dict[str, Tensor]) -> None:
    augment = Augment(CropSpec(SIZE), Mirror.of_head(head, POINTS), AugmentConfig())
    one, two, other = augment(samples, 1), augment(samples, 1), augment(samples, 2)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one.images, other.images)
    assert float(one.images.min()) >= 0 and float(one.images.max()) <= 1
    labels = augment.targets(samples, 1)
    assert torch.equal(labels.points, one.points) and labels.images.shape[-1] == 1


def test_unknown_mirrors_mask_parameters_or_forbid_flips(samples: dict[str, Tensor], head: HeadModel) -> None:
    full = Mirror.of_head(head, POINTS)
    config = AugmentConfig(flip=1.0, **LABELS_ONLY)
    batch = Augment(CropSpec(SIZE), Mirror(full.points, None, full.expression, full.landmarks68), config)(
        samples
    )
    assert float(batch.identity_known.max()) == 0 and float(batch.expression_known.min()) == 1
    plain = Augment(CropSpec(SIZE), Mirror(), AugmentConfig(flip=0.0, **LABELS_ONLY))(samples)
    never = Augment(CropSpec(SIZE), Mirror(), config)(samples)
    assert torch.equal(plain.points, never.points)


def test_resampling_is_exact_at_the_identity_and_shifts_by_half_pixels() -> None:
    image = torch.rand(1, 3, 8, 8)
    same = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])
    torch.testing.assert_close(resample(image, same, 8, "zeros"), image)
    shifted = same + torch.tensor([[0, 0, 0.5], [0, 0, 0]])
    torch.testing.assert_close(
        resample(image, shifted, 8, "edge")[..., 1:],
        (image[..., :-1] + image[..., 1:]) / 2,
        atol=1e-5,
        rtol=0,
    )


def test_mirror_tables_of_the_toy_head(head: HeadModel) -> None:
    mirror = Mirror.of_head(head, POINTS)
    assert mirror.identity is not None and mirror.identity[1].tolist() == [1, 1, -1]
    assert mirror.expression is not None and mirror.expression[0].tolist() == [1, 0, 2]
    symmetry = head.topology.symmetry
    assert subset_mirror(torch.tensor([0, 1]), symmetry) is None
    with pytest.raises(InputError, match="basis"):
        basis_mirror(torch.zeros(3, 3, 1), symmetry)
    lopsided = head.shapedirs[..., 3:4]
    assert basis_mirror(lopsided, symmetry) is None
    order = ibug68_mirror()
    assert torch.equal(order[order], torch.arange(68)) and int((order == torch.arange(68)).sum()) == 10


def test_the_open_head_mirrors_completely() -> None:
    mirror = Mirror.of_head(load_head("open-v1"), 1609)
    assert mirror.points is not None and mirror.identity is not None and mirror.expression is not None
    for index, sign in (mirror.identity, mirror.expression):
        assert torch.equal(index[index], torch.arange(len(index)))
        assert torch.equal(sign, sign[index])


def test_damage_keeps_range_and_touches_only_some() -> None:
    torch.manual_seed(0)
    clean = torch.rand(12, 3, 32, 32)
    effects = {
        "color": lambda x, g: degrade.jitter_color(x, g, 0.6, 0.5),
        "resolution": lambda x, g: degrade.reduce_resolution(x, g, 0.5, 0.25),
        "blur": lambda x, g: degrade.blur(x, g, 0.5, 2.0),
        "noise": lambda x, g: degrade.add_noise(x, g, 0.5, 0.1),
        "jpeg": lambda x, g: degrade.compress(x, g, 0.5, 40),
        "hole": lambda x, g: degrade.cut_out(x, g, 0.5, 0.5),
    }
    for name, effect in effects.items():
        out = effect(clean.clone(), torch.Generator().manual_seed(1))
        changed = (out - clean).abs().amax((1, 2, 3)) > 1e-6
        assert out.shape == clean.shape and float(out.min()) >= -1e-5 and float(out.max()) <= 1 + 1e-5, name
        assert changed.any() and (name == "color" or not changed.all()), name


def test_fine_quantisation_changes_little() -> None:
    smooth = torch.linspace(0.2, 0.8, 32).view(1, 1, 1, 32).expand(2, 3, 32, 32).contiguous()
    out = degrade.compress(smooth.clone(), torch.Generator().manual_seed(0), 1.0, 2.0 + 1e-3)
    assert 0 < float((out - smooth).abs().max()) < 0.02


def test_crop_pose_round_trip_and_camera_split() -> None:
    torch.manual_seed(0)
    R = axis_angle_to_matrix(torch.randn(6, 3).double()) @ torch.diag(torch.tensor([1.0, -1, -1])).double()
    t = torch.tensor([0.1, -0.2, 1.0]).double() + torch.rand(6, 3).double() * 0.2
    K = torch.tensor([[300.0, 0, 90], [0, 300, 70], [0, 0, 1]]).double().expand(6, 3, 3)
    angle, zoom = torch.rand(6).double() * 6, torch.rand(6).double() + 0.3
    rotation = (
        axis_angle_to_matrix(torch.stack([angle * 0, angle * 0, angle], 1))[:, :2, :2] * zoom[:, None, None]
    )
    affine = torch.cat([rotation, torch.randn(6, 2, 1).double() * 20], 2)
    crop_K, turn = split_crop_camera(K, affine)
    homogeneous = torch.cat([affine, torch.tensor([0.0, 0, 1]).double().expand(6, 1, 3)], 1)
    torch.testing.assert_close(crop_K @ turn, homogeneous @ K)
    again = decode_pose(*encode_pose(turn @ R, (turn @ t[..., None])[..., 0], crop_K, 128), crop_K, 128)
    torch.testing.assert_close(again[0], turn @ R)
    torch.testing.assert_close(again[1], (turn @ t[..., None])[..., 0])


def test_a_head_beside_the_axis_looks_turned() -> None:
    """Two heads that show the camera the same side have the same target, wherever in the photo they are."""
    K = torch.tensor([[[300.0, 0, 64], [0, 300, 64], [0, 0, 1]]])
    straight = torch.diag(torch.tensor([1.0, -1, -1]))[None]
    target, _ = encode_pose(straight, torch.tensor([[0.0, 0, 1]]), K, 128)
    yaw = torch.atan2(torch.tensor(0.3), torch.tensor(1.0))
    aside = axis_angle_to_matrix(torch.stack([yaw * 0, yaw, yaw * 0])[None]) @ straight
    same, _ = encode_pose(aside, torch.tensor([[0.3, 0, 1.0]]), K, 128)
    torch.testing.assert_close(same, target, atol=1e-6, rtol=0)
    assert np.isfinite(same.numpy()).all() and Path(__file__).exists()
