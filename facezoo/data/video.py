"""Moving pictures as numbered frames: a folder of pictures, a video file, a webcam, or a sequence of arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

from facezoo.data.images import LoadedImage, list_images, load_image
from facezoo.errors import ImageError, InputError

FramesLike: TypeAlias = "str | Path | Sequence[Any] | FrameSource"
ASSUMED_FPS = 30.0  # of pictures without a clock


class Frame(NamedTuple):
    """One picture of a video.

    Attributes:
        number: from 0; a camera that was not waited for leaves numbers out.
        time: seconds since frame 0.
        image: the picture.
    """

    number: int
    time: float
    image: LoadedImage


class FrameSource(Protocol):
    """Frames in order.

    Attributes:
        name: what a message calls it.
        fps: frames a second.
        key: changes when the frames do; a tracking that was cut off goes on with the same key only.
        length: number of frames, for some video files an estimate; None where nobody knows.
        live: its frames come once, as they are made.
    """

    name: str
    fps: float
    key: str
    length: int | None
    live: bool

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """Yield the frames from number ``start`` on."""
        ...


class PictureFrames:
    """Pictures of a folder in the order of their names, or pictures in memory."""

    live = False

    def __init__(self, pictures: Sequence[Any], name: str, fps: float | None = None) -> None:
        if not len(pictures):
            raise InputError(f"{name} holds no frames.")
        self.pictures, self.name = pictures, name
        self.length: int | None = len(pictures)
        self.fps = ASSUMED_FPS if fps is None else fps
        digest = hashlib.sha256(f"{len(pictures)} {self.fps}".encode())
        for picture in pictures:
            if isinstance(picture, str | Path):
                digest.update(f"{Path(picture).name} {Path(picture).stat().st_size}".encode())
        self.key = digest.hexdigest()

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """Yield the pictures from ``start`` on, each read when it is asked for."""
        for index in range(start, len(self.pictures)):
            yield Frame(index, index / self.fps, load_image(self.pictures[index]))


class FirstFrames:
    """The first frames of a source.

    Args:
        source: the source.
        count: how many.
    """

    def __init__(self, source: FrameSource, count: int) -> None:
        if count < 1:
            raise InputError(f"the number of frames must be at least 1, got {count}.")
        self.source, self.count = source, count
        self.name, self.fps, self.live = source.name, source.fps, source.live
        self.length: int | None = count if source.length is None else min(count, source.length)
        self.key = hashlib.sha256(f"{source.key} {count}".encode()).hexdigest()

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """Yield frames from ``start`` on, up to the last wanted."""
        for frame in self.source.frames(start):
            if frame.number >= self.count:
                return
            yield frame
            if frame.number == self.count - 1:
                return


def open_frames(source: FramesLike, fps: float | None = None, count: int | None = None) -> FrameSource:
    """Open a folder, a video file, a webcam, or a sequence of pictures.

    Args:
        source: a folder (its pictures in the order of their names), a video file, ``"webcam"`` or ``"webcam:1"``, or a
            sequence of anything that :func:`facezoo.data.images.load_image` reads.
        fps: frames a second, where the source does not tell or tells wrong; 30 is assumed for pictures.
        count: stop after so many frames.

    Raises:
        ImageError: there is no such file or camera, or nothing in it can be read.
        InputError: no frames, a rate that is not positive, or a video without the package that reads it.
    """
    if fps is not None and not fps > 0:
        raise InputError(f"fps must be positive, got {fps!r}.")
    opened = _open(source, fps)
    return opened if count is None else FirstFrames(opened, count)


def _open(source: FramesLike, fps: float | None) -> FrameSource:
    if isinstance(source, str) and (source == "webcam" or source.startswith("webcam:")):
        from facezoo.data.webcam import Webcam

        return Webcam(source.partition(":")[2] or "0", fps)
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        if path.is_dir():
            return PictureFrames(list_images(path), str(path), fps)
        if not path.exists():
            raise ImageError(f"there is no video or folder {path}.")
        from facezoo.data.video_file import VideoFrames

        return VideoFrames(path, fps)
    if isinstance(source, Sequence):
        return PictureFrames(source, "frames", fps)
    if hasattr(source, "frames") and hasattr(source, "key"):
        return source
    raise InputError(
        f"cannot read frames from {type(source).__name__}; give a folder, a video, 'webcam' or a list of pictures."
    )
