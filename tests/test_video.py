"""Sources of frames: video files and cameras through PyAV, folders, and what is said when they cannot be read."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from facezoo.cli import main
from facezoo.data.video import PictureFrames, open_frames
from facezoo.data.video_file import VideoFrames, VideoWriter
from facezoo.errors import ImageError, InputError


def picture(number: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Return a smooth picture whose brightness tells its number, its left upper corner dark."""
    height, width = size
    ramp = np.linspace(0, 60, width)[None, :, None] + np.linspace(0, 40, height)[:, None, None]
    return np.broadcast_to(ramp + 6 * number, (height, width, 3)).round().astype(np.uint8)


def write(path: Path, count: int = 12, fps: float = 25.0, size: tuple[int, int] = (48, 64)) -> Path:
    with VideoWriter(path, fps) as writer:
        for number in range(count):
            writer.add(picture(number, size))
    return path


# -- without the extra ------------------------------------------


def test_first_frames_end_a_source_early_and_change_its_key() -> None:
    whole = PictureFrames([picture(i) for i in range(5)], "frames", 10.0)
    short = open_frames(whole, count=3)
    assert [(f.number, round(f.time, 3)) for f in short.frames()] == [(0, 0.0), (1, 0.1), (2, 0.2)]
    assert [f.number for f in short.frames(2)] == [2] and short.length == 3 and short.key != whole.key
    assert open_frames(whole, count=9).length == 5
    with pytest.raises(InputError, match="at least 1"):
        open_frames(whole, count=0)


@pytest.mark.parametrize("source", ["film.mp4", "webcam"])
def test_what_is_missing_is_named_with_its_cure(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "film.mp4").write_bytes(b"film")
    monkeypatch.setitem(sys.modules, "av", None)  # as where it is not installed
    given = source if source == "webcam" else str(tmp_path / source)
    assert main(["track", given, "-o", str(tmp_path / "out")]) == 2
    assert "pip install 'facezoo[video]'" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"facezoo\[video\].*folder of PNG"):
        VideoWriter(tmp_path / "out.mp4", 25)


# -- with it ----------------------------------------------------


@pytest.fixture
def video() -> None:
    pytest.importorskip("av", reason="needs the extra video (PyAV)")


@pytest.mark.usefixtures("video")
def test_a_video_is_read_back_frame_by_frame(tmp_path: Path) -> None:
    source = open_frames(write(tmp_path / "film.mp4"))
    assert isinstance(source, VideoFrames) and source.length == 12 and source.fps == 25 and not source.live
    got = list(source.frames())
    assert [f.number for f in got] == list(range(12)) and got[5].time == pytest.approx(0.2)
    for frame in got:
        assert frame.image.pixels.shape == (48, 64, 3) and frame.image.pixels.dtype == np.uint8
        assert np.abs(frame.image.pixels.astype(float) - picture(frame.number)).mean() < 2.5
    late = list(source.frames(7))
    assert [f.number for f in late] == [7, 8, 9, 10, 11]
    np.testing.assert_array_equal(late[0].image.pixels, got[7].image.pixels)  # however it was reached
    assert open_frames(tmp_path / "film.mp4", fps=50).key != source.key


@pytest.mark.usefixtures("video")
def test_odd_sides_lose_a_row_and_a_failed_film_leaves_no_file(tmp_path: Path) -> None:
    odd = open_frames(write(tmp_path / "odd.mp4", 3, size=(49, 65)))
    assert {f.image.size for f in odd.frames()} == {(48, 64)}

    def two_sizes() -> None:
        with VideoWriter(tmp_path / "two.mp4", 25) as writer:
            writer.add(picture(0))
            writer.add(picture(0, (32, 32)))

    with pytest.raises(InputError, match="64 × 48"):
        two_sizes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["odd.mp4"]


@pytest.mark.usefixtures("video")
def test_telephones_films_are_turned_upright(tmp_path: Path) -> None:
    import av

    path = tmp_path / "portrait.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264" if "libx264" in av.codecs_available else "mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(90)
        lying = np.full((48, 64, 3), 20, np.uint8)
        lying[:, :32] = 220  # the left half is light
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(lying, format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        angle = next(container.decode(video=0)).rotation
    assert abs(angle) == 90
    pixels = next(iter(open_frames(path).frames())).image.pixels
    assert pixels.shape == (64, 48, 3)
    # FFmpeg's angle is counter-clockwise: by +90 degrees what lay left is below
    below = pixels[40:].mean() > pixels[:24].mean()
    assert below == (angle == 90)


@pytest.mark.usefixtures("video")
def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"no film at all" * 9)
    with pytest.raises(ImageError, match="not a video that can be read"):
        open_frames(tmp_path / "film.mp4")


@pytest.mark.usefixtures("video")
def test_a_camera_hands_out_its_newest_frame() -> None:
    """FFmpeg's test picture instead of a camera: it is as fast as it can, so that most frames are missed."""
    import time

    from facezoo.data.webcam import Webcam

    try:
        camera = Webcam("testsrc=size=64x48:rate=25:duration=8", driver="lavfi")
    except ImageError as error:
        pytest.skip(f"this FFmpeg has no test picture: {error}")
    assert camera.live and camera.length is None and camera.fps == 25
    indices = []
    for frame in camera.frames():
        indices.append(frame.number)
        assert frame.image.pixels.shape == (48, 64, 3)
        time.sleep(0.02)
    assert indices == sorted(set(indices)) and indices[-1] == 199  # the last is never missed
    assert len(indices) < 200


@pytest.mark.usefixtures("video")
def test_stopping_early_closes_the_camera() -> None:
    import threading

    from facezoo.data.webcam import Webcam

    try:
        camera = Webcam("testsrc=size=64x48:rate=25", driver="lavfi")  # without an end
    except ImageError as error:
        pytest.skip(f"this FFmpeg has no test picture: {error}")
    short = open_frames(camera, count=10**9)
    for count, _ in enumerate(frames := short.frames()):
        if count == 2:
            break
    frames.close()
    assert not any(thread.name == camera.name for thread in threading.enumerate())


@pytest.mark.usefixtures("video")
def test_no_camera_says_what_to_do(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["track", "webcam:97", "-o", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "cannot open the camera" in said and "facezoo track webcam:1" in said


@pytest.mark.slow
@pytest.mark.usefixtures("video")
def test_command_follows_a_camera_until_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """FFmpeg's test picture shows nobody: nothing but the film of what was seen is written."""
    from facezoo.data import webcam

    monkeypatch.setitem(webcam._DRIVERS, sys.platform, ("lavfi", "{}"))
    monkeypatch.delenv("DISPLAY", raising=False)
    picture = "webcam:testsrc=size=160x120:rate=30:duration=1"
    assert main(["track", picture, "-o", str(tmp_path), "--device", "cpu", "--json", "--budget", "200"]) == 1
    summary = json.loads(capsys.readouterr().out)
    assert summary["mode"] == "online" and summary["frames"] == 30 and summary["people"] == []
    assert len(list(open_frames(tmp_path / "overlay.mp4").frames())) == 30
    # a camera never shows the same twice: another run needs another place
    assert main(["track", picture, "-o", str(tmp_path), "--device", "cpu", "--json"]) == 2
    assert "--overwrite" in capsys.readouterr().err
