"""The tracking benchmark on models that know the truth, with noise: ways, speech, tables and pictures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from tracking_fakes import SIZE, ScriptedModel, actor, frame

from facezoo.cli import main
from facezoo.errors import InputError
from facezoo.evaluation.tracking import evaluate_tracking, table
from facezoo.evaluation.tracking_clips import Clip, head_regions, synthetic_clips
from facezoo.evaluation.tracking_picture import draw_horizons
from facezoo.evaluation.tracking_speech import lip_distance, lip_errors
from facezoo.evaluation.tracking_ways import Way, ways_of
from facezoo.geometry import Camera, axis_angle_to_matrix
from facezoo.heads import HeadParams, load_head
from facezoo.metrics.ssme import Surface, ssme
from facezoo.tracking import SolveOptions
from facezoo.types import Face

FRAMES = 12
OPTIONS = SolveOptions(subset=101)


class Landmarks(ScriptedModel):
    """Finds dense landmarks with confidences."""

    doubts = "dense"


class Heads(ScriptedModel):
    """Regresses the true head seen by a weak camera: nothing to fit."""

    model_id = "weak"

    def face(self, who: int, number: int) -> Face:
        face, a = super().face(who, number), self.actors[who]
        face.head, face.vertices = self.head, self.head(a.params[number]).vertices[0]
        K = Camera.default_K(*SIZE)
        scale = float(K[0, 0] / a.t[number, 2])
        weak = torch.eye(3)
        weak[0, 0] = weak[1, 1] = scale
        weak[:2, 2] = K[:2, 2] + scale * a.t[number, :2]
        face.camera = Camera(weak, a.R[number], torch.tensor([0.0, 0.0, 1.0]), SIZE, "weak")
        return face


def model(kind: type[ScriptedModel], noise: float = 0.5) -> Any:
    a = actor(FRAMES)
    made: Any = kind([a], noise=noise)
    made.actors = [a]
    return made


def clip() -> Clip:
    head, a = load_head(), actor(FRAMES)
    vertices = head(a.params).vertices @ a.R.mT + a.t[:, None]
    return Clip(
        name="0", kind="talk", images=[frame(i) for i in range(FRAMES)], size=SIZE, fps=30.0,
        truth=Surface(vertices, head.topology.faces, Camera.default_K(*SIZE)), regions=head_regions(head), head=head,
        closed=torch.arange(FRAMES) == 4,
    )  # fmt: skip


def test_ways_order_as_they_must_and_all_models_share_a_table() -> None:
    lines: list[str] = []
    found = evaluate_tracking([model(Landmarks), model(Heads)], [clip()], solve=OPTIONS, report=lines.append)
    rows = {(row["model"], row["way"]): row for row in found["rows"] if row["kind"] == "all"}
    assert set(rows) == {
        *(("scripted", way) for way in ("single", "smoothed", "online", "offline")),
        ("weak", "single"), ("weak", "smoothed"),
    }  # fmt: skip
    jitter = {key: row["jitter_px"] for key, row in rows.items()}
    assert jitter["scripted", "smoothed"] < jitter["scripted", "single"]
    assert jitter["scripted", "offline"] < 0.8 * jitter["scripted", "single"]
    assert rows["scripted", "offline"]["ssme_px"] < rows["scripted", "single"]["ssme_px"]
    # the weak camera is the perspective one to first order: some tenths of a pixel, without noise
    assert rows["weak", "single"]["ssme_px"] < 0.6 and rows["weak", "single"]["coverage"] > 0.9
    assert rows["weak", "single"]["closure_mm"] < 1e-3 < rows["scripted", "single"]["closure_mm"]
    assert found["horizons"] == [1, 2, 3, 5, 10] and len(rows["weak", "single"]["curve_px"]) == 5
    text = "\n".join(table(found))
    assert all(word in text for word in ("scripted", "weak", "offline", "closure", "talk", "10 frames ahead"))
    assert len(lines) == 6
    picture = np.asarray(draw_horizons(found))
    assert picture.shape[1] == 2 * 420 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 5


def test_lost_faces_are_counted_and_bad_input_is_named() -> None:
    lost = model(Landmarks)
    lost.there = [[i == 3 for i in range(FRAMES)]]
    found = evaluate_tracking([lost], [clip()], solve=OPTIONS)
    assert found["rows"] == [] and found["lost"] == {"scripted talk": 1}
    assert "not followed" in table(found)[-1]
    with pytest.raises(InputError, match="no videos"):
        evaluate_tracking([lost], [])
    with pytest.raises(InputError, match="different models"):
        evaluate_tracking([lost, lost], [clip()])
    with pytest.raises(InputError, match="frames"):
        next(synthetic_clips(1, frames=2))


def test_lip_distance_is_metric_and_rigid() -> None:
    head = load_head()
    jaw = torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [0.2, 0, 0]])
    shape = head(HeadParams(jaw=jaw)).vertices
    apart = lip_distance(head, shape)
    assert float(apart[0]) < 1.0 and float(apart[2]) > 1.7 * float(apart[1]) > 10
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))[0]
    turn = turn * torch.det(turn)
    torch.testing.assert_close(lip_distance(head, shape @ turn.mT + 0.3), apart, atol=1e-3, rtol=0)


def test_smoothing_over_a_closure_shows_as_an_error_of_the_lips() -> None:
    scene, head = clip(), load_head()
    jaw = torch.full((FRAMES, 1), 0.15) * torch.tensor([[1.0, 0, 0]])
    jaw[4] = 0.0
    shape = head(HeadParams(jaw=jaw)).vertices
    scene = Clip(**{**scene.__dict__, "truth": Surface(shape, head.topology.faces, None)})
    exact = Way(scene.truth, shape, head)
    everywhere = torch.ones(FRAMES, dtype=torch.bool)
    assert lip_errors(scene, exact, everywhere) == {"lips": 0.0, "closure": 0.0}
    blurred = lip_errors(scene, exact.smoothed(), everywhere)
    assert blurred["closure"] > 5 and blurred["closure"] > 3 * blurred["lips"]
    assert "closure" not in lip_errors(scene, exact, ~scene.closed)


def test_the_skull_of_a_track_is_held_still() -> None:
    from facezoo.evaluation.tracking_speech import skull_errors

    class Procrustes:
        """Stands in for the network: the rigid motion of the cranium itself, which is exact for a clean track."""

        def __init__(self) -> None:
            self.head = load_head()

        def stabilize(self, frames: Tensor) -> Any:
            from facezoo.models.stabilizer import RigidTransform
            from facezoo.models.stabilizer.regions import regions

            skull = regions(self.head).cranium
            a, b = frames[:, skull].double(), frames[:1, skull].double()
            u, _, vh = torch.linalg.svd((a - a.mean(1, keepdim=True)).mT @ (b - b.mean(1, keepdim=True)))
            sign = torch.diag_embed(torch.tensor([1.0, 1.0, 1.0]).double().repeat(len(a), 1))
            sign[:, 2, 2] = torch.det(u @ vh)
            R = (u @ sign @ vh).mT
            t = b.mean(1) - (R @ a.mean(1)[..., None])[..., 0]
            moves = RigidTransform(R.float(), t.float())
            moved = torch.stack([moves[i].apply(f) for i, f in enumerate(frames)])
            return type("Held", (), {"vertices": moved, "transforms": moves, "reference": 0})()

    scene, held = clip(), Procrustes()
    everywhere = torch.ones(FRAMES, dtype=torch.bool)
    exact = Way(scene.truth, scene.truth.vertices, held.head)
    got = skull_errors(scene, exact, everywhere, held)  # type: ignore[arg-type]
    assert got["moves_mm"] > 5 and got["held_mm"] < 0.05 and got["turns_deg"] > 3 and got["left_deg"] < 0.05
    # a track that is turned wrongly is held still itself, but does not turn the true head back
    wrong, angle = scene.truth.vertices.clone(), torch.tensor([[0.0, 0.1, 0.0]])
    wrong[5:] = wrong[5:] @ axis_angle_to_matrix(angle)[0]
    got = skull_errors(scene, Way(scene.truth, wrong, held.head), everywhere, held)  # type: ignore[arg-type]
    assert got["held_mm"] < 0.05 and got["left_deg"] == pytest.approx(math.degrees(0.1) * 7 / 12, rel=0.05)
    weak = Way(Surface(wrong, held.head.topology.faces, None), wrong, held.head)
    assert skull_errors(scene, weak, everywhere, held) == {}  # type: ignore[arg-type]


def test_a_followed_clip_keeps_the_camera_it_is_told() -> None:
    scene = clip()
    found = ways_of(model(Landmarks, noise=0.05), scene, OPTIONS)
    assert found is not None and bool(found[1].all())
    for name, way in found[0].items():
        got = ssme(scene.truth, way.surface, scene.size, [1, 5], scene.regions)
        assert got.mean < 0.4, name
        assert float((way.shape - scene.truth.vertices)[:, ::50].norm(dim=2).median()) < 0.02, name


def test_the_command_names_bad_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "dense-1609", "data=tracking", "cout=2"]) == 2
    assert "Did you mean 'count'" in capsys.readouterr().err
    assert main(["evaluate", "dense-1609", "data=multiface"]) == 2
    assert "root=DIR" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_measures_models_and_writes_curves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "data=tracking",
        "models=synergynet",
        "count=1",
        "frames=4",
        "kinds=talk,turn",
        "size=128",
        "skull=false",
    ]
    assert main(["evaluate", "dense-1609", *words, f"out={tmp_path}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "tracking.json").read_text()) == found
    assert (tmp_path / "tracking_horizons.png").read_bytes()[:4] == b"\x89PNG"
    assert len(found["rows"]) == 3 * (4 + 2) and found["horizons"] == [1, 2, 3]
    assert len(set(found["weights_sha256"].values())) == 2 and "models=synergynet" in found["command"]
