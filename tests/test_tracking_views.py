"""Several cameras: who is who across them, and one fit to all of them, with and without a calibration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tracking_fakes import SIZE, Actor, ScriptedModel, WholeFrame, actor, frame, one_thread

from facezoo.cli import main
from facezoo.data.images import LoadedImage
from facezoo.data.video import PictureFrames, open_frames
from facezoo.errors import InputError
from facezoo.geometry import Camera, axis_angle_to_matrix, geodesic_angle
from facezoo.tracking import SolveOptions, Track, track
from facezoo.tracking.export import alignment_arrays, fit_arrays
from facezoo.tracking.overlays import write_overlays
from facezoo.tracking.rig import read_rig
from facezoo.types import Prediction

__all__ = ["one_thread"]
FRAMES = 6
# from the first camera to the second: 35 degrees around a point 0.8 m ahead, and a little up
TURN = axis_angle_to_matrix(torch.tensor([[0.1, 0.6, 0.0]]))[0]
PIVOT = torch.tensor([0.0, 0.0, 0.8])
SHIFT = PIVOT - TURN @ PIVOT + torch.tensor([0.0, 0.02, 0.05])


class Studio(ScriptedModel):
    """Two cameras with a script each; a frame tells which camera it is of."""

    def __init__(self, scripts: list[list[Actor]]) -> None:
        super().__init__(scripts[0])
        self.cameras = [ScriptedModel(script) for script in scripts]

    def predict(self, source: LoadedImage, **options: Any) -> Prediction:  # type: ignore[override]
        return self.cameras[int(source.pixels[0, 0, 2])].predict(source, **options)


def shots(view: int) -> list[np.ndarray]:
    pictures = [frame(i) for i in range(FRAMES)]
    for picture in pictures:
        picture[0, 0, 2] = view
    return pictures


def from_second(someone: Actor) -> Actor:
    there = list(someone.there)
    return Actor(someone.params, TURN @ someone.R, someone.t @ TURN.T + SHIFT, there)


@pytest.fixture(scope="module")
def people() -> list[Actor]:
    hidden = [i != 3 for i in range(FRAMES)]
    return [actor(FRAMES, 0, x=-0.12), actor(FRAMES, 1, x=0.12, there=hidden)]


@pytest.fixture(scope="module")
def rig() -> dict[str, Any]:
    second = torch.eye(4)
    second[:3, :3], second[:3, 3] = TURN, SHIFT
    world = torch.eye(4)  # the world's origin is not a camera
    world[:3, :3] = axis_angle_to_matrix(torch.tensor([[0.0, -0.4, 0.0]]))[0]
    world[:3, 3] = torch.tensor([0.3, 0.0, 0.1])
    K = Camera.default_K(*SIZE).tolist()
    return {
        "view1": {"K": K, "extrinsics": world.tolist()},
        "view2": {"K": K, "extrinsics": (second @ world).tolist()},
    }


def follow(people: list[Actor], cameras: Any) -> Track:
    # the second camera sees the second person first
    model = Studio([people, [from_second(p) for p in reversed(people)]])
    options = SolveOptions(subset=101, focal="fixed")
    return track(model, [shots(0), shots(1)], cameras=cameras, detector=WholeFrame(), solve=options)


@pytest.fixture(scope="module", params=["calibrated", "uncalibrated"])
def found(request: pytest.FixtureRequest, people: list[Actor], rig: dict[str, Any]) -> Track:
    return follow(people, rig if request.param == "calibrated" else "uncalibrated")


def test_people_are_paired_and_explained_in_both_views(found: Track, people: list[Actor]) -> None:
    assert len(found) == 2 and found.views == ("view1", "view2") and found.frames == FRAMES
    for person in found:
        who = people[0 if float(person.t[:, 0].mean()) < 0 else 1]
        for view, truth in enumerate((who, from_second(who))):
            camera = Camera(Camera.default_K(*SIZE).expand(FRAMES, 3, 3), truth.R, truth.t, SIZE)
            wanted = camera.project(person.head(truth.params).vertices)
            got = person.cameras_of(view).project(person.vertices())
            assert float((got - wanted).norm(dim=2).mean()) < 0.6  # pixels
        assert len(person.views[0].observations) == len(person.views[1].observations) == sum(who.there)
        hidden = [i for i, there in enumerate(who.there) if not there]
        assert np.flatnonzero(~person.seen).tolist() == hidden and person.converged
        assert float(torch.rad2deg(geodesic_angle(person.R, who.R)).max()) < 1.5


def test_the_second_camera_is_where_it_was(found: Track) -> None:
    first, second = (view.extrinsics for view in found[0].views)
    move = second @ torch.linalg.inv(first)
    assert float(torch.rad2deg(geodesic_angle(move[:3, :3], TURN))) < 1.0
    assert float((move[:3, 3] - SHIFT).norm()) < 0.02  # metres


def test_files_hold_every_camera(found: Track) -> None:
    person = found[0]
    fit, seen = fit_arrays(person), alignment_arrays(person)
    assert (
        fit["fx"].shape == (2, 1)
        and fit["extr"].shape == (2, 4, 4)
        and fit["valid_mask"].shape == (2, FRAMES)
    )
    assert (
        fit["camera_order"].tolist() == ["view1", "view2"] and fit["resolutions"].tolist() == [[320, 240]] * 2
    )
    assert seen["vertex_coords"].shape == (2, FRAMES, 5023, 2) and int(seen["n_views"]) == 2
    # from the files alone: head to world (OpenGL axes), to OpenCV, to each camera, to pixels
    R = axis_angle_to_matrix(torch.from_numpy(fit["rot"]))
    world = (person.vertices() @ R.mT + torch.from_numpy(fit["tra"])[:, None]) * torch.tensor(
        [1.0, -1.0, -1.0]
    )
    for view in range(2):
        matrix = torch.from_numpy(fit["extr"][view])
        fx, fy, cx, cy = (float(fit[name][view, 0]) for name in ("fx", "fy", "cx", "cy"))
        x, y, z = (world @ matrix[:3, :3].mT + matrix[:3, 3]).unbind(-1)
        pixels = torch.stack((x / z * fx + cx, y / z * fy + cy), -1)
        torch.testing.assert_close(
            pixels.float(), person.cameras_of(view).project(person.vertices()), atol=2e-2, rtol=0
        )
        ids = person.vertex_ids.numpy()
        gap = np.linalg.norm(seen["vertex_coords"][view][:, ids] - pixels[:, ids].numpy(), axis=-1)
        assert np.nanmean(gap) < 1.0


@pytest.mark.parametrize("suffix", ["", ".mp4"])
def test_overlays_show_what_a_camera_saw(found: Track, tmp_path: Path, suffix: str) -> None:
    if suffix:
        pytest.importorskip("av", reason="needs the extra video (PyAV)")
    source = PictureFrames(shots(1), "view2")
    written = write_overlays(found, source, tmp_path / f"overlay{suffix}", "landmarks", view=1)
    assert len(written) == (1 if suffix else FRAMES)
    drawn = [f.image.pixels for f in open_frames(tmp_path / f"overlay{suffix}").frames()]
    assert len(drawn) == FRAMES
    changed = np.abs(drawn[2].astype(int) - shots(1)[2]).max(2) > 60
    box = torch.cat([face.box[None] for face in found.faces(2, view=1)])
    x0, y0, x1, y1 = (*box[:, :2].amin(0).tolist(), *box[:, 2:].amax(0).tolist())
    ys, xs = np.nonzero(changed)
    assert len(xs) > 100
    assert (
        abs(xs.min() - x0) < 4
        and abs(xs.max() - x1) < 4
        and abs(ys.min() - y0) < 4
        and abs(ys.max() - y1) < 4
    )


def test_a_calibration_that_does_not_fit_is_refused(rig: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "cameras.json"
    file.write_text(json.dumps(rig))
    got = read_rig(file, ["view2", "view1"])
    assert got.names == ("view2", "view1") and got.extrinsics is not None
    torch.testing.assert_close(got.extrinsics[1], torch.tensor(rig["view1"]["extrinsics"]))
    for wrong, says in (
        ({"view1": rig["view1"]}, "has no 'view2'"),
        ({**rig, "view2": {"K": rig["view1"]["K"]}}, "'extrinsics'"),
        ({**rig, "view2": {**rig["view2"], "K": [[1, 2], [3, 4]]}}, "must be 3 × 3"),
        ({**rig, "view2": {**rig["view2"], "extrinsics": [[2.0 * (i == j) for j in range(4)] for i in range(4)]}},
         "no rotations"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=says):
            read_rig(wrong, ["view1", "view2"])
    with pytest.raises(InputError, match="cannot read the cameras"):
        read_rig(tmp_path / "none.json", ["view1", "view2"])


def test_cameras_without_anybody_in_common_need_a_calibration(people: list[Actor]) -> None:
    nobody = [Actor(p.params, p.R, p.t, [False] * FRAMES) for p in people]
    model = Studio([people, nobody])
    with pytest.raises(InputError, match=r"camera view2 has nobody in common.*--cameras FILE"):
        track(model, [shots(0), shots(1)], cameras="uncalibrated", detector=WholeFrame())


def test_command_asks_what_several_videos_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["track", "a.mp4", "b.mp4", "-o", str(tmp_path)]) == 2
    assert "--cameras uncalibrated" in capsys.readouterr().err
