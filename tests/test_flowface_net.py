"""FlowFace: RAFT's parts against torchvision's, labels against the renderer's, the road from crop to mesh, learning."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from flowface_fakes import TINY
from torch import nn

from facezoo.data.augment import Augment, AugmentConfig
from facezoo.data.mirror import Mirror
from facezoo.data.shards import to_tensors
from facezoo.data.statistics import measure_targets
from facezoo.errors import RecipeError, UnknownNameError
from facezoo.geometry.rotations import axis_angle_to_matrix
from facezoo.heads import load_head
from facezoo.models.flowface import raft
from facezoo.models.flowface.config import FlowFaceConfig, FlowFaceLossConfig
from facezoo.models.flowface.net import MOST_SIGMA, START_SIGMA
from facezoo.models.flowface.predict import FlowFace
from facezoo.models.flowface.relief import relief_to_mesh
from facezoo.models.flowface.texel_reader import TexelReader
from facezoo.models.flowface.uv import interpolate, read_map, texel_values, texture_layout
from facezoo.synth.engine import label_batch


@pytest.fixture(scope="module")
def model() -> FlowFace:
    torch.manual_seed(0)
    return FlowFace.for_training(FlowFaceConfig(**TINY))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def samples() -> dict[str, torch.Tensor]:
    return to_tensors(label_batch([5, 6, 7, 8], 128))


def augment(model: FlowFace, config: AugmentConfig | None) -> Augment:
    return Augment(model.crop, Mirror.of_head(model.head, 1609), config)


# -- RAFT -------------------------------------------------------


def copy_weights(ours: nn.Module, theirs: nn.Module) -> None:
    """Copy parameters in the order both modules list them; shapes must agree."""
    for own, given in zip(ours.parameters(), theirs.parameters(), strict=True):
        own.data.copy_(given.data)


def test_raft_parts_equal_torchvision() -> None:
    theirs = pytest.importorskip("torchvision.models.optical_flow.raft")
    utilities = pytest.importorskip("torchvision.models.optical_flow._utils")
    g = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g)

    queries, keys, coords = rand(2, 8, 16, 16), rand(2, 8, 16, 16), 8 + 6 * rand(2, 2, 16, 16)
    block = theirs.CorrBlock(num_levels=3, radius=3)
    block.build_pyramid(queries, keys)
    close = {"atol": 1e-5, "rtol": 1e-5}
    ours = raft.look_up(raft.correlate(queries, keys, 3), coords, 3)
    torch.testing.assert_close(ours, block.index_pyramid(coords), **close)
    flow, state, x = rand(2, 2, 16, 16), rand(2, 32, 16, 16), rand(2, 40, 16, 16)
    for own, given, inputs in (
        (raft.MotionEncoder(147, 128), theirs.MotionEncoder(in_channels_corr=147), (flow, ours)),
        (raft.SeparableGRU(32, 40), theirs.RecurrentBlock(input_size=40, hidden_size=32), (state, x)),
        (raft.UpdateHead(32, 24, 2), theirs.FlowHead(in_channels=32, hidden_size=24), (state,)),
        (raft.MaskHead(32, 24, 8), theirs.MaskPredictor(in_channels=32, hidden_size=24), (state,)),
    ):
        copy_weights(own, given)
        torch.testing.assert_close(own(*inputs), given(*inputs), **close)
    mask = rand(2, 576, 16, 16)
    torch.testing.assert_close(8 * raft.upsample(flow, mask, 8), utilities.upsample_flow(flow, mask), **close)


def test_correlations_are_read_as_places() -> None:
    x, y = torch.tensor([3.0, 10.25]), torch.tensor([6.0, 2.5])
    columns, rows = torch.arange(16.0), torch.arange(12.0)
    peak = -((columns - x[:, None, None]) ** 2 + (rows[:, None] - y[:, None, None]) ** 2)
    log, place = raft.expect(peak[:, None])
    torch.testing.assert_close(place, torch.stack((x, y), 1), atol=1e-3, rtol=0)
    torch.testing.assert_close(log.exp().sum(1), torch.ones(2))
    features = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))[None]  # each cell says where it is
    coords = torch.stack((x, y), 1).view(1, 2, 2, 1).transpose(1, 2)
    torch.testing.assert_close(raft.sample(features, coords), coords)


def test_a_texel_reads_with_weights_of_its_own() -> None:
    columns, rows = torch.arange(16.0), torch.arange(12.0)
    features = torch.stack(torch.meshgrid(columns, rows, indexing="xy")).expand(2, -1, -1, -1)
    coords = 4 + 4 * torch.rand(2, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    reader = TexelReader(9, 2)
    assert not reader(features, coords).any()  # as trained from nothing, it changes nothing
    with torch.no_grad():
        reader.weight.view(9, 9, 2, 2)[4] = (
            1 / 9
        )  # texel 1, 1: the mean of x, of all neighbours, plus that of y
        expected = torch.zeros(2, 2, 3, 3)
        expected[:, :, 1, 1] = 0.1 * coords[:, :, 1, 1].sum(1, keepdim=True)
        torch.testing.assert_close(reader(features, coords), expected)


# -- texture and labels -----------------------------------------


def test_vertices_are_found_again_in_the_texture() -> None:
    head = load_head()
    layout = texture_layout(head, 256)
    face = head.topology.subset(1609)
    texels = texel_values(layout, head.topology.faces, head.v_template[None])
    texels = torch.where(layout.texel_face >= 0, texels, torch.nan)
    read = read_map(texels, layout.vertex_uv)[0]
    inside = torch.isfinite(read).all(1)  # a vertex at an island's border reads empty texels as well
    assert float(inside[face].float().mean()) > 0.9
    away = (read - head.v_template)[inside].norm(dim=1)
    assert float(away.median()) < 3e-4 and float(away[face[inside[face]].argsort()[:1]].max()) < 1e-2
    assert abs(float(layout.vertex_area.mean()) - 1) < 1e-5
    assert float(layout.vertex_area[head.topology.mask("left_eyeball")].max()) == 0
    scalp, lips = (layout.vertex_area[head.topology.mask(name)].mean() for name in ("scalp", "lips"))
    assert float(scalp) > 2 * float(lips)  # few large triangles there, many small ones here


def test_labels_agree_with_the_renderer_through_any_augmentation(
    model: FlowFace, samples: dict[str, torch.Tensor]
) -> None:
    face = model.head.topology.subset(1609)
    wild = AugmentConfig(flip=0.5, flip_vertical=0.5, rotation=30.0)
    for config in (None, wild):
        batch = augment(model, config).targets(samples, seed=3)
        points, depth, known = model.labels(batch)
        assert bool(known.all())
        torch.testing.assert_close(points[:, face], batch.points, atol=2e-4, rtol=0)
        assert points.shape == (4, 5023, 2) and float(depth.abs().max()) < 2


def test_relief_gives_back_the_mesh_and_its_pose() -> None:
    head = load_head()
    g = torch.Generator().manual_seed(1)
    R = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ axis_angle_to_matrix(
        0.4 * torch.randn(3, 3, generator=g)
    )
    t = torch.tensor([[0.02, 0.0, 0.5], [0.0, 0.1, 0.9], [-0.1, 0.0, 0.7]])
    K = torch.tensor([[700.0, 0, 60], [0, 700, 70], [0, 0, 1]]).expand(3, 3, 3)
    camera = head.v_template @ R.mT + t[:, None]
    points = camera @ K.mT
    points = points[..., :2] / points[..., 2:]
    depth = (camera[..., 2] - t[:, 2:]) * 700 / t[:, 2:]
    got, rotation, shift = relief_to_mesh(points, depth, K, head.v_template, torch.ones(len(head.v_template)))
    torch.testing.assert_close(got, head.v_template.expand(3, -1, -1), atol=1e-4, rtol=0)
    torch.testing.assert_close(rotation, R, atol=1e-4, rtol=0)
    torch.testing.assert_close(shift, t, atol=1e-3, rtol=0)


# -- network ----------------------------------------------------


def test_starts_at_the_mean_and_learns(model: FlowFace, samples: dict[str, torch.Tensor]) -> None:
    torch.manual_seed(0)
    plain = augment(model, None)
    model.start_from(measure_targets([model.targets(plain.targets(samples))], rank=model.config.rank))
    images = torch.rand(4, 3, 64, 64)
    model.eval()
    with torch.no_grad():
        before = model(images)
    batch = plain.targets(samples)._replace(images=images)
    truth = model.labels(batch)[0]
    face = model.head.topology.subset(1609)
    assert float((before.points - truth.mean(0))[:, face].norm(dim=2).mean()) < 0.01
    torch.testing.assert_close(before.log_sigma.exp(), torch.full_like(before.log_sigma, START_SIGMA))
    assert torch.equal(before.points, before.guess[..., :2])  # no texel blurs where the updates begin
    assert before.steps.shape == (4, 1, 5023, 4) and before.maps.shape == (4, 1, 4, 64, 64)
    model.train()
    criterion = model.criterion(FlowFaceLossConfig())
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-2)
    first = last = 0.0
    for step in range(30):
        output = model(images)
        terms = criterion(output, batch)
        loss = torch.stack(list(terms.values())).sum()
        first, last = (float(loss.detach()) if step == 0 else first), float(terms["direct"].detach())
        if step == 0:
            assert output.steps.shape == (4, 2, 5023, 4)
            start = float(terms["direct"].detach())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert not missing and torch.isfinite(torch.tensor(first))
    assert last < 0.7 * start  # four pictures are told apart, which the mean map cannot
    assert float(output.log_sigma.detach().exp().max()) < 1.001 * MOST_SIGMA


def test_later_iterations_weigh_more_and_unknown_samples_nothing(
    model: FlowFace, samples: dict[str, torch.Tensor]
) -> None:
    batch = augment(model, None).targets(samples)
    points, depth, _ = model.labels(batch)
    truth = torch.cat((points, depth), 2)
    right = torch.cat((truth, torch.full_like(depth, -4.0)), 2)
    wrong = right.clone()
    wrong[..., :2] += 0.1
    maps = torch.zeros(4, 2, 4, 64, 64)
    criterion = model.criterion(FlowFaceLossConfig(uv_map=0.0, match=0.0, decay=0.5))

    def loss(steps: list[torch.Tensor], given: object = batch) -> float:
        from facezoo.models.flowface import FlowFaceOutput

        empty = torch.zeros(0)
        terms = criterion(
            FlowFaceOutput(empty, empty, empty, empty, truth, empty, torch.stack(steps, 1), maps), given
        )
        return float(terms["direct"])

    early, late = loss([wrong, right]), loss([right, wrong])
    assert early == pytest.approx(late / 2, rel=1e-3)
    half = batch._replace(identity_known=torch.tensor([1.0, 1.0, 0.0, 0.0]))
    broken = wrong.clone()
    broken[2:] += 5.0
    assert loss([wrong, broken], half) == pytest.approx(loss([wrong, wrong], half), rel=1e-4)


def test_matches_are_best_at_the_true_place(model: FlowFace, samples: dict[str, torch.Tensor]) -> None:
    batch = augment(model, None).targets(samples)
    truth = torch.cat(model.labels(batch)[:2], 2)
    criterion = model.criterion(FlowFaceLossConfig())
    place = interpolate(truth, criterion.coarse_corners, criterion.coarse_bary)[:, :2].flatten(2).mT

    def loss(shift: float) -> float:
        centres = (torch.arange(8) + 0.5) / 8 - 0.5
        x, y = (place[..., i, None] + shift - centres for i in range(2))
        hat_x, hat_y = ((1 - 8 * d.abs()).clamp(min=1e-3) for d in (x, y))
        match = (hat_y[..., None] * hat_x[..., None, :]).flatten(2)
        log = (match / match.sum(2, keepdim=True)).log()
        return float(criterion._mismatch(log, truth, torch.ones(4)))

    assert loss(0.0) < 1.5 and loss(0.0) < loss(0.05) - 0.1 and loss(0.0) < loss(-0.05) - 0.1


def test_weights_travel_without_the_head_and_predict_a_face(tmp_path: Path) -> None:
    torch.manual_seed(1)
    made = FlowFace.for_training(FlowFaceConfig(**TINY))
    labels = to_tensors(label_batch([11, 12], 160))
    plain = Augment(made.crop, Mirror.of_head(made.head, 1609), None)
    made.start_from(measure_targets([made.targets(plain.targets(labels))], rank=0))
    made.save_pretrained(tmp_path)
    # Directions of pictures, not the head's basis.
    assert (tmp_path / "model.safetensors").stat().st_size < 2_000_000
    loaded = FlowFace.from_pretrained(tmp_path)
    picture = torch.rand(3, 160, 160)
    box = labels["box"][0].tolist()
    fitted = loaded.predict(picture, boxes=[box])[0]
    assert fitted.landmarks["vertices"].shape == (5023, 2) and fitted.confidence["dense"].shape == (1609,)
    assert fitted.vertices is not None and fitted.camera is not None and fitted.params is not None
    away = (
        fitted.camera.project(fitted.vertices)[loaded.head.topology.subset(1609)] - fitted.landmarks["dense"]
    )
    assert float(away.norm(dim=1).mean()) < 0.03 * (box[2] - box[0])  # the mean face is a face
    relief = loaded.predict(picture, boxes=[box], fit=False)[0]
    assert relief.params is None and relief.vertices is not None and relief.camera is not None
    again = relief.camera.project(relief.vertices)
    torch.testing.assert_close(again, relief.landmarks["vertices"], atol=0.05, rtol=0)


@pytest.mark.parametrize(
    "change", [{"crop_size": 100}, {"uv_size": 18, "uv_levels": 3}, {"iterations": 0}, {"stride": 5}]
)
def test_impossible_sizes_are_refused(change: dict) -> None:
    with pytest.raises(RecipeError, match=next(iter(change))):
        FlowFaceConfig(**{**TINY, **change})


def test_other_backbones_give_a_pyramid() -> None:
    head_free = {**TINY, "backbone": "test_efficientnet"}
    made = FlowFace.for_training(FlowFaceConfig(**head_free))
    made.eval()
    with torch.no_grad():
        assert made(torch.rand(1, 3, 64, 64)).points.shape == (1, 5023, 2)
    with pytest.raises(UnknownNameError, match="test_efficientnet"):
        FlowFace.for_training(FlowFaceConfig(**{**TINY, "backbone": "test_eficientnet"}))


def test_segformer_gives_a_pyramid() -> None:
    pytest.importorskip("transformers")
    former = FlowFace.for_training(FlowFaceConfig(**{**TINY, "backbone": "segformer:b0"}))
    with torch.no_grad():
        assert former.eval()(torch.rand(1, 3, 64, 64)).points.shape == (1, 5023, 2)
