"""FlowFace's measuring commands on networks whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from flowface_fakes import TINY as SMALL

from facezoo.data.augment import Augment
from facezoo.data.mirror import Mirror
from facezoo.data.shards import to_tensors
from facezoo.evaluation import flowface_ablation, flowface_picture
from facezoo.models.flowface.config import FlowFaceConfig
from facezoo.models.flowface.predict import FlowFace
from facezoo.synth.engine import label_batch

TINY = {**SMALL, "uv_factor": 1}


@pytest.fixture(scope="module")
def person() -> dict[str, torch.Tensor]:
    labels = to_tensors(label_batch([5], 128))
    return {**labels, "images": torch.zeros(1, 3, 128, 128, dtype=torch.uint8)}


@pytest.fixture(scope="module")
def model(person: dict[str, torch.Tensor]) -> FlowFace:
    """A network that answers with one person's vertices whatever it sees."""
    torch.manual_seed(0)
    made = FlowFace.for_training(FlowFaceConfig(**TINY))
    assert isinstance(made, FlowFace)
    batch = Augment(made.crop, Mirror.of_head(made.head, 1609), None).targets(person)
    made.net.guess.start_from(made.targets(batch)[0][0], torch.zeros(0, made.head.n_vertices, 3))
    return made.eval()


def test_errors_are_in_percent_and_updates_are_counted(
    model: FlowFace, person: dict[str, torch.Tensor]
) -> None:
    found = flowface_ablation.measure(model, [person])
    assert max(found[name] for name in ("nme68", "face", "all", "guess")) < 0.05
    assert found["sigma"] == pytest.approx(5, rel=1e-3)  # an untrained network's
    with torch.no_grad():
        model.net.update.last.bias[0] = 0.08  # every update moves all by a hundredth of the crop (8 cells)
        by_count = flowface_ablation.by_updates(model, [person])
        model.net.update.last.bias.zero_()
    assert model.config.iterations == 2
    for count, (name, (run,)) in enumerate(by_count.items(), 1):
        assert name == f"{count} of 2 updates"
        # At the border of the map, convex upsampling averages with zeros; the face lies inside.
        assert run["face"] == pytest.approx(count, rel=0.05) and run["guess"] < 0.05


def test_the_picture_shows_vertices_where_they_lie(model: FlowFace, person: dict[str, torch.Tensor]) -> None:
    x, y = person["lm68"][0, 30].round().int().tolist()
    photo = np.full((128, 128, 3), 255, np.uint8)
    photo[y - 5 : y + 6, x - 5 : x + 6] = (0, 0, 255)  # a blue nose
    sheet = np.asarray(flowface_picture.flow_picture(model, photo, person["box"][0])).astype(int)
    side = sheet.shape[0]
    assert sheet.shape[1] > 4 * side
    u, v = model.net.vertex_uv[model.net.lm_vertices[30, 0]].tolist()
    texture = sheet[:, -side:]
    blue = texture[..., 2] - texture[..., 0] > 128
    assert (
        blue[int((1 - v) * side), int(u * side)] and 0 < blue.mean() < 0.1
    )  # read where the nose is, only there
    flow = sheet[:, -3 * side - 16 : -2 * side - 16]
    left, right = (flow[side // 2, int(share * side), 0] for share in (0.3, 0.7))
    assert left < right - 50  # x grows to the right of the picture and of the texture alike


def test_commands_refuse_what_they_cannot_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert flowface_picture.main(["x.jpg", "out=y.png", "model=dense-1609"]) == 2
    assert "no flowface" in capsys.readouterr().err
    assert flowface_ablation.main(["people=3"]) == 2
    assert "root=SHARDS" in capsys.readouterr().err
