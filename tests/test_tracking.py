"""Tracking: who is who, missing faces, cuts, going on after a kill, online and offline, files."""

from __future__ import annotations

import json
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tracking_fakes import SIZE, Actor, ScriptedModel, WholeFrame, actor, frame, one_thread

import facezoo
from facezoo.cli import main
from facezoo.data.video import Frame, PictureFrames, open_frames
from facezoo.errors import ImageError, InputError
from facezoo.geometry import axis_angle_to_matrix, geodesic_angle
from facezoo.tracking import SolveOptions, Track, track
from facezoo.tracking.export import alignment_arrays, fit_arrays, quaternions
from facezoo.tracking.observe import Observations, observe
from facezoo.tracking.overlays import write_overlays
from facezoo.tracking.people import Follower

__all__ = ["one_thread"]
FLOWFACE = {
    "widths": [8, 8, 8, 8], "depths": [1, 1, 1, 1], "fusion": 8, "features": 8, "uv_size": 16, "uv_factor": 4,
    "uv_levels": 2, "levels": 2, "radius": 2, "hidden": 8, "motion": 8, "iterations": 2, "crop_size": 64,
}  # fmt: skip
FAST = SolveOptions(subset=101, focal="fixed")


def follow(actors: list[Actor], frames: list[np.ndarray], **options: object) -> Track:
    options.setdefault("solve", FAST)
    return track(ScriptedModel(actors), frames, detector=WholeFrame(), **options)  # type: ignore[arg-type]


def test_a_face_that_is_hidden_for_a_while_stays_one_person_and_is_filled_in() -> None:
    there = [not 6 <= i < 9 for i in range(16)]
    someone = actor(16, there=there)
    got = follow([someone], [frame(i) for i in range(16)])
    assert len(got) == 1 and got.frames == 16
    person = got[0]
    assert person.frames.tolist() == list(range(16)) and person.seen.tolist() == there
    angle = torch.rad2deg(geodesic_angle(person.R, someone.R))
    assert float(angle.max()) < 2.5  # shape and turn trade places a little
    error = (person.cameras.project(person.vertices()) - truth(someone)).norm(dim=2).mean(1)
    assert float(error.max()) < 1.0  # pixels, over all vertices, the hidden frames included
    assert bool(person.rms[6:9].isnan().all()) and float(person.rms[person.seen].mean()) < 0.6
    assert [len(got.faces(i)) for i in (0, 7, 15)] == [1, 1, 1] and got.faces(7)[0].score == 0.0


def truth(someone: Actor) -> torch.Tensor:
    model = ScriptedModel([someone])
    from facezoo.geometry import Camera

    camera = Camera(Camera.default_K(*SIZE).expand(len(someone.t), 3, 3), someone.R, someone.t, SIZE)
    return camera.project(model.head(someone.params).vertices)


def look(actors: list[Actor], frames: list[np.ndarray], **options: int) -> list[Observations]:
    """Follow without fitting anything."""
    options = {"most": 4, "search_every": 15, "patience": 15, **options}
    follower = Follower(ScriptedModel(actors), WholeFrame(), **options)  # type: ignore[arg-type]
    return observe(follower, PictureFrames(frames, "frames"), None, {})[0]


def who_is_it(seen: Observations, actors: list[Actor]) -> set[int]:
    """Return whose landmarks a track holds."""
    truth = [points for points, _ in ScriptedModel(actors).truth]
    error = [np.abs(seen.points - points.numpy()[seen.frames]).mean((1, 2)) for points in truth]
    return set(np.argmin(error, axis=0).tolist())


def test_people_keep_their_numbers_and_a_cut_begins_anew() -> None:
    late = [i >= 4 for i in range(14)]
    actors = [actor(14, 0, x=-0.12), actor(14, 1, x=0.12, there=late)]
    got = look(actors, [frame(i, scene=i // 8) for i in range(14)], search_every=2)
    spans = sorted((int(p.frames[0]), int(p.frames[-1]), *who_is_it(p, actors)) for p in got)
    assert spans == [(0, 7, 0), (4, 7, 1), (8, 13, 0), (8, 13, 1)]
    assert {p.number for p in got} == {0, 1, 2, 3}
    assert [sorted(set(p.segment.tolist())) for p in got] == [[0], [0], [1], [1]]
    only = look(actors, [frame(i) for i in range(14)], most=1, search_every=2)
    assert len(only) == 1 and len(only[0]) == 14


@pytest.mark.parametrize("speed", [0.006, 0.01])
def test_people_who_cross_keep_their_numbers(speed: float) -> None:
    """Two people walk past each other; the one from the left is nearer and hides the other."""
    people = [actor(44, 0), actor(44, 1)]
    way = speed * (torch.arange(44) - 21.5)
    for someone, sign, depth in zip(people, (1.0, -1.0), (0.7, 0.9), strict=True):
        someone.t[:, 0], someone.t[:, 2] = sign * way, depth
    hidden = sum(len(ScriptedModel(people).visible(i)) == 1 for i in range(44))
    assert hidden >= 4
    got = look(people, [frame(i) for i in range(44)], patience=30)
    assert sorted(len(p) for p in got) == [44 - hidden, 44]
    assert [who_is_it(p, people) for p in got] in ([{0}, {1}], [{1}, {0}])


def test_who_leaves_and_comes_back_keeps_the_number_for_as_long_as_patience() -> None:
    n = 30
    someone, stays = actor(n, x=0.1, there=[i < 8 or i >= 18 for i in range(n)]), actor(n, 1, x=-0.2)
    someone.t[:, 0] += 0.15 * torch.sin(torch.linspace(0, torch.pi, n))  # out at the right, and in again
    frames = [frame(i) for i in range(n)]
    assert sorted(len(p) for p in look([someone, stays], frames, search_every=3)) == [20, n]
    short = look([someone, stays], frames, search_every=3, patience=4)
    assert sorted(len(p) for p in short) == [8, 12, n]  # after that it is somebody new


def test_tracks_shorter_than_asked_for_are_dropped() -> None:
    there = [not 3 <= i < 9 for i in range(14)]
    got = follow([actor(14, there=there)], [frame(i) for i in range(14)], patience=2, shortest=4)
    assert [p.frames.tolist() for p in got] == [[9, 10, 11, 12, 13]]


class Interrupted(PictureFrames):
    """A source whose process dies at a frame."""

    dies = 10**9
    started: int = -1

    def frames(self, start: int = 0) -> Iterator[Frame]:
        self.started = start
        for got in super().frames(start):
            if got.number == self.dies:
                raise KeyboardInterrupt
            yield got


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_a_killed_tracking_goes_on_and_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr("facezoo.tracking.observe.PART", 8)
    actors = [actor(28, 0, x=-0.12, there=[i % 11 != 5 for i in range(28)]), actor(28, 1, x=0.12)]
    pictures = [frame(i, scene=i // 20) for i in range(28)]
    solve = SolveOptions(mode=mode, subset=101, focal="fixed", motion=None, window=2, steps=1)
    options = {"solve": solve, "search_every": 5}
    whole = follow(actors, Interrupted(pictures, "video", 30.0), out=tmp_path / "whole", **options)
    dying = Interrupted(pictures, "video", 30.0)
    dying.dies = 21
    with pytest.raises(KeyboardInterrupt):
        follow(actors, dying, out=tmp_path / "cut", **options)
    (tmp_path / "cut/.track/.part-00002.npz.abc.part").write_bytes(b"half a part")
    again = Interrupted(pictures, "video", 30.0)
    got = follow(actors, again, out=tmp_path / "cut", **options)
    assert again.started == 16
    for mine, theirs in zip(got, whole, strict=True):
        assert mine.number == theirs.number
        np.testing.assert_array_equal(mine.observations.points, theirs.observations.points)
        np.testing.assert_array_equal(mine.segment, theirs.segment)
        assert torch.equal(mine.R, theirs.R) and torch.equal(mine.params.expression, theirs.params.expression)
        assert torch.equal(mine.vertices(), theirs.vertices()) and torch.equal(mine.K, theirs.K)
    if mode == "online":
        return
    third = Interrupted(pictures, "video", 30.0)
    follow(actors, third, out=tmp_path / "cut", **options)
    assert third.started == -1  # nothing is read again
    with pytest.raises(InputError, match="follow"):
        follow(actors, third, out=tmp_path / "cut", **{**options, "people": 1})
    follow(actors, third, out=tmp_path / "cut", **{**options, "people": 1}, overwrite=True)
    assert third.started == 0


def test_online_sees_no_future_and_offline_is_steadier() -> None:
    someone = actor(14)
    frames = [frame(i) for i in range(14)]
    online = SolveOptions(mode="online", subset=101, focal="fixed")
    full, short = (follow([someone], frames[:n], solve=online)[0] for n in (14, 9))
    assert torch.equal(full.R[:9], short.R) and torch.equal(full.vertices()[:9], short.vertices())
    joint = follow([someone], frames)[0]
    target = truth(someone)
    error = [(p.cameras.project(p.vertices()) - target).norm(dim=2).mean() for p in (full, joint)]
    assert float(error[1]) < float(error[0]) < 2.0

    def jitter(person: object) -> float:
        points = person.cameras.project(person.vertices()) - target  # type: ignore[attr-defined]
        return float((points[2:] - 2 * points[1:-1] + points[:-2]).norm(dim=2).mean())

    alone = follow([someone], frames, solve=SolveOptions(subset=101, focal="fixed", motion=None))[0]
    assert jitter(joint) < 0.7 * jitter(alone)


def test_online_rotations_stay_rotations() -> None:
    """Each frame starts from a product of the last ones: without care rounding grows exponentially."""
    options = SolveOptions(mode="online", subset=101, focal="fixed", steps=1, window=2)
    person = follow([actor(30)], [frame(i) for i in range(30)], solve=options)[0]
    eye = torch.eye(3).expand(30, 3, 3)
    torch.testing.assert_close(person.R @ person.R.mT, eye, atol=1e-4, rtol=0)


def test_long_tracks_are_solved_in_stretches_that_agree() -> None:
    someone = actor(18)
    frames = [frame(i) for i in range(18)]
    whole = follow([someone], frames)[0]
    parts = follow([someone], frames, solve=SolveOptions(subset=101, focal="fixed", joint=9))[0]
    assert len(parts) == 18 and parts.frames.tolist() == whole.frames.tolist()
    gap = (parts.cameras.project(parts.vertices()) - whole.cameras.project(whole.vertices())).norm(dim=2)
    assert float(gap.mean()) < 0.5


# -- files ------------------------------------------------------


@pytest.fixture(scope="module")
def tracked() -> Track:
    there = [i != 3 for i in range(6)]
    return follow([actor(6, there=there)], [frame(i) for i in range(6)])


def test_npz_has_the_published_layout_and_projects_to_the_same_pixels(tracked: Track, tmp_path: Path) -> None:
    person = tracked[0]
    with np.load(person.save(tmp_path / "p.npz")) as fit:
        shapes = {name: fit[name].shape for name in fit.files}
        for name, shape in {"fx": (1, 1), "cy": (1, 1), "extr": (1, 4, 4), "shape": (100,), "expr": (6, 49),
                            "rot": (6, 3), "tra": (6, 3), "eye_rot": (6, 3), "valid_mask": (1, 6),
                            "detection_boxes": (1, 6, 4), "resolutions": (1, 2), "fps": ()}.items():  # fmt: skip
            assert shapes[name] == shape, name
        assert fit["valid_mask"][0].tolist() == [True, True, True, False, True, True]
        # FlowFace's convention: OpenGL camera axes, then x diag(1, -1, -1) to OpenCV
        R = axis_angle_to_matrix(torch.from_numpy(fit["rot"]))
        world = person.vertices() @ R.mT + torch.from_numpy(fit["tra"])[:, None]
        cv = world * torch.tensor([1.0, -1.0, -1.0])
        x = cv[..., 0] / cv[..., 2] * fit["fx"].item() + fit["cx"].item()
        torch.testing.assert_close(x, person.cameras.project(person.vertices())[..., 0], atol=2e-2, rtol=0)
    with np.load(person.save(tmp_path / "p.alignment.npz")) as seen:
        assert seen["vertex_coords"].shape == (1, 6, 5023, 2) and seen["vertex_confidences"].shape == (
            1,
            6,
            5023,
            1,
        )
        ids = person.vertex_ids.numpy()
        np.testing.assert_array_equal(seen["vertex_coords"][0, 0, ids], person.observations.points[0])
        assert np.isnan(seen["vertex_coords"][0, 3]).all() and int(seen["n_timesteps"]) == 6
    assert set(fit_arrays(person)) >= {"camera_order", "head_id"} and "crop_boxes" in alignment_arrays(person)
    with pytest.raises(InputError, match="track format"):
        person.save(tmp_path / "p.fbx")


def test_glb_plays_the_motion(tracked: Track, tmp_path: Path) -> None:
    person = tracked[0]
    data = person.save(tmp_path / "p.glb").read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    document, start = json.loads(data[20 : 20 + length]), 28 + length
    assert struct.unpack_from("<I", data, 8)[0] == len(data)

    def read(index: int, width: int) -> np.ndarray:
        entry = document["accessors"][index]
        view = document["bufferViews"][entry["bufferView"]]
        offset = start + view["byteOffset"]
        return np.frombuffer(data[offset : offset + view["byteLength"]], "<f4").reshape(-1, width)

    animation = document["animations"][0]
    samplers = {c["target"]["path"]: animation["samplers"][c["sampler"]] for c in animation["channels"]}
    assert set(samplers) == {"rotation", "translation", "weights"}
    np.testing.assert_allclose(read(samplers["weights"]["input"], 1)[:, 0], np.arange(6) / 30, atol=1e-6)
    primitive = document["meshes"][0]["primitives"][0]
    weights = read(samplers["weights"]["output"], len(primitive["targets"]))
    rotation, shift = read(samplers["rotation"]["output"], 4), read(samplers["translation"]["output"], 3)
    base = read(primitive["attributes"]["POSITION"], 3)[:5023]
    shape = base + sum(
        w * read(t["POSITION"], 3)[:5023] for w, t in zip(weights[4], primitive["targets"], strict=True)
    )
    from scipy.spatial.transform import Rotation

    played = Rotation.from_quat(rotation[4]).apply(shape) + shift[4]
    wanted = person.cameras[4].to_camera(person.vertices()[4]).numpy() * [1, -1, -1]
    assert (
        np.abs(played - wanted).mean() < 3e-4 and np.abs(played - wanted).max() < 4e-3
    )  # the jaw's arc is a line


def test_usda_plays_the_motion(tracked: Track, tmp_path: Path) -> None:
    usd = pytest.importorskip("pxr.Usd", reason="usd-core is not installed")
    from pxr import Gf, UsdGeom, UsdSkel

    person = tracked[0]
    stage = usd.Stage.Open(str(person.save(tmp_path / "p.usda")))
    root = stage.GetDefaultPrim()
    assert UsdSkel.BakeSkinning(UsdSkel.Root(root), Gf.Interval(0, 5)) and stage.GetTimeCodesPerSecond() == 30
    body = UsdGeom.Mesh(stage.GetPrimAtPath(root.GetPath().AppendChild("mesh")))
    for row in (0, 4):
        points = np.array(body.GetPointsAttr().Get(row))
        place = np.array(UsdGeom.XformCache(row).GetLocalToWorldTransform(body.GetPrim()))
        played = points @ place[:3, :3] + place[3, :3]
        wanted = person.cameras[row].to_camera(person.vertices()[row]).numpy() * [1, -1, -1]
        # as in the GLB, the jaw's arc is a line
        assert np.abs(played - wanted).mean() < 3e-4 and np.abs(played - wanted).max() < 4e-3


def test_quaternions_do_not_flip_sides() -> None:
    turn = torch.linspace(0, 7, 40, dtype=torch.float64)[:, None] * torch.tensor(
        [0.0, 1.0, 0.2], dtype=torch.float64
    )
    q = quaternions(axis_angle_to_matrix(turn).numpy())
    assert float((q[1:] * q[:-1]).sum(1).min()) > 0.9


def test_overlays_show_every_frame(tracked: Track, tmp_path: Path) -> None:
    source = PictureFrames([frame(i) for i in range(6)], "frames", None)
    paths = write_overlays(tracked, source, tmp_path, style="landmarks")
    assert [p.name for p in paths] == [f"{i:06d}.png" for i in range(6)]
    from PIL import Image

    drawn = np.asarray(Image.open(paths[3]))
    assert drawn.shape == (*SIZE, 3) and (drawn != frame(3)).any(2).sum() > 50
    with pytest.raises(InputError, match="not what was tracked"):
        write_overlays(tracked, PictureFrames([np.zeros((8, 8, 3), np.uint8)], "others", None), tmp_path)


# -- sources and bad input --------------------------------------


def test_sources_say_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImageError, match="no video or folder"):
        open_frames(tmp_path / "film.mp4")
    with pytest.raises(InputError, match="no frames"):
        open_frames([])
    with pytest.raises(InputError, match="fps"):
        open_frames([frame(0)], fps=0)
    with pytest.raises(InputError, match="frame 1"):
        follow([actor(2)], [frame(0), frame(1)[:100]])
    from PIL import Image

    Image.fromarray(frame(0)).save(tmp_path / "0.png")
    assert main(["track", str(tmp_path), "-o", str(tmp_path)]) == 2
    assert "--out is the folder of frames" in capsys.readouterr().err


def test_nobody_gives_an_empty_track() -> None:
    got = follow([actor(5, there=[False] * 5)], [frame(i) for i in range(5)])
    assert len(got) == 0 and got.frames == 5 and got.faces(2) == []


@pytest.mark.slow
def test_command_tracks_a_photo_that_moves(tmp_path: Path) -> None:
    """The whole road with real weights: the demo photo, shifted frame by frame."""
    from PIL import Image
    from skimage.data import astronaut

    photo = astronaut()
    for i in range(4):
        Image.fromarray(photo[:400, 3 * i : 3 * i + 450]).save(tmp_path / f"{i}.png")
    out = tmp_path / "out"
    assert main(["track", str(tmp_path), "-o", str(out), "--json", "--overlay", "png"]) == 0
    summary = json.loads((out / "track.json").read_text())
    assert len(summary["people"]) == 1 and summary["people"][0]["seen"] == 4
    with np.load(out / "person0.npz") as fit:
        speed = np.diff(fit["tra"][:, 0] / -fit["tra"][:, 2] * fit["fx"].item())
    assert np.all(np.abs(speed + 3) < 1.5)  # pixels a frame to the left
    assert (out / "overlay/000003.png").is_file() and (out / "person0.glb").stat().st_size > 1e5


# -- the command, killed ----------------------------------------


def run(*words: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "facezoo", "track", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty small frames of the demo photo that pans."""
    from PIL import Image
    from skimage.data import astronaut

    folder = tmp_path_factory.mktemp("frames")
    photo = Image.fromarray(astronaut()[:300, 100:400])
    for i in range(60):
        x = 8 + 8 * np.sin(0.2 * i)
        photo.resize((160, 160), box=(x, 8, x + 280, 288)).save(folder / f"{i:03d}.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("mode", [[], ["--online"]], ids=["offline", "online"])
def test_a_command_killed_in_the_middle_gives_the_same_files(
    footage: Path, tmp_path: Path, mode: list[str]
) -> None:
    options = ["--device", "cpu", "--overlay", "none", "--detector", "whole", *mode]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(footage, "-o", whole, *options).wait() == 0
    process = run(footage, "-o", cut, *options)
    while process.poll() is None and not (cut / ".track/part-00000.npz").exists():
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL  # between frame 50 and 60
    assert not (cut / "person0.npz").exists()
    again = run(footage, "-o", cut, *options)
    said = again.communicate()[1].decode()
    assert again.returncode == 0 and "reading frames" in said
    files = sorted(p.name for p in whole.iterdir() if p.is_file())
    assert files == ["person0.alignment.npz", "person0.glb", "person0.npz", "person0.usda", "track.json"]
    for name in files:
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name


def test_flowface_is_tracked_by_all_its_vertices(tmp_path: Path) -> None:
    """An untrained one that sees the mean face wherever it looks, from its folder like a trained one."""
    from facezoo.models.flowface.config import FlowFaceConfig
    from facezoo.models.flowface.predict import FlowFace

    torch.manual_seed(0)
    made = FlowFace.for_training(FlowFaceConfig(**FLOWFACE))
    assert isinstance(made, FlowFace)
    head = made.head.v_template
    nose = made.head.landmarks(head[None], "ibug68")[0, 30]
    made.net.guess.mean.copy_(
        (head - nose) / 0.25 * torch.tensor([1.0, -1.0, -1.0])
    )  # crop sides, depth from us
    made.save_pretrained(tmp_path)
    pictures = [np.full((120, 160, 3), 90 + i, np.uint8) for i in range(3)]
    got = facezoo.load(str(tmp_path), device="cpu").track(
        pictures,
        detector="whole",
        shortest=1,
        people=1,
        solve=SolveOptions(mode="online", focal="fixed", steps=1),
    )
    assert got.frames == 3 and len(got) == 1
    person = got[0]
    assert person.seen.all() and person.observations.points.shape == (3, 5023, 2)
    assert len(person.vertex_ids) == 5023 and alignment_arrays(person)["vertex_coords"].shape == (
        1,
        3,
        5023,
        2,
    )
    assert np.isfinite(alignment_arrays(person)["vertex_coords"]).all()  # every vertex, seen or not
    around = person.cameras.project(person.vertices())
    width = float(np.ptp(person.observations.points[0, :, 0]))
    assert float((around - torch.from_numpy(person.observations.points)).norm(dim=2).mean()) < 0.05 * width
