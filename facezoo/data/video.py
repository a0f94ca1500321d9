"""Moving pictures as numbered frames: a folder of pictures, a video file, or a sequence of arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from facezoo.data.images import LoadedImage, list_images, load_image
from facezoo.errors import ImageError, InputError

FramesLike: TypeAlias = "str | Path | Sequence[Any] | FrameSource"
_ASSUMED_FPS = 30.0  # of pictures without a clock


class FrameSource(Protocol):
    """Frames in order.

    Attributes:
        name: what a message calls it.
        fps: frames a second.
        key: changes when the frames do; a tracking that was cut off goes on with the same key only.
    """

    name: str
    fps: float
    key: str

    def __len__(self) -> int:
        """Return the number of frames; for some video files an estimate."""
        ...

    def frames(self, start: int = 0) -> Iterator[LoadedImage]:
        """Yield the frames from number ``start`` on."""
        ...


class PictureFrames:
    """Pictures of a folder in the order of their names, or pictures in memory."""

    def __init__(self, pictures: Sequence[Any], name: str, fps: float | None) -> None:
        if not len(pictures):
            raise InputError(f"{name} holds no frames.")
        self.pictures, self.name = pictures, name
        self.fps = _ASSUMED_FPS if fps is None else fps
        digest = hashlib.sha256(f"{len(pictures)} {self.fps}".encode())
        for picture in pictures:
            if isinstance(picture, str | Path):
                digest.update(f"{Path(picture).name} {Path(picture).stat().st_size}".encode())
        self.key = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.pictures)

    def frames(self, start: int = 0) -> Iterator[LoadedImage]:
        """Yield the pictures from ``start`` on, each read when it is asked for."""
        for number in range(start, len(self.pictures)):
            yield load_image(self.pictures[number])


class VideoFrames:
    """A video file, decoded by PyAV (the extra ``video``)."""

    def __init__(self, path: Path, fps: float | None) -> None:
        try:
            import av
        except ImportError as error:
            raise InputError(
                f"reading {path.name} needs PyAV: pip install facezoo[video]; or give a folder of its pictures."
            ) from error
        self.path, self.name, self._av = path, str(path), av
        try:
            with av.open(str(path)) as container:
                stream = container.streams.video[0]
                rate = stream.average_rate or stream.guessed_rate
                self.fps = fps if fps is not None else float(rate) if rate else _ASSUMED_FPS
                seconds = float(container.duration or 0) / 1e6
                self._length = int(stream.frames) or max(1, round(seconds * self.fps))
        except (OSError, IndexError, ValueError) as error:
            raise ImageError(f"{path} is not a video that can be read: {error}.") from error
        self.key = hashlib.sha256(f"{path.name} {path.stat().st_size} {self.fps}".encode()).hexdigest()

    def __len__(self) -> int:
        return self._length

    def frames(self, start: int = 0) -> Iterator[LoadedImage]:
        """Decode from the first frame, which alone is exact for all containers, and yield from ``start`` on."""
        with self._av.open(str(self.path)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number >= start:
                    yield LoadedImage(frame.to_ndarray(format="rgb24"), f"{self.path.name}#{number}")


def open_frames(source: FramesLike, fps: float | None = None) -> FrameSource:
    """Open a folder, a video file, or a sequence of pictures.

    Args:
        source: a folder (its pictures in the order of their names), a video file, or a sequence of anything that
            :func:`facezoo.data.images.load_image` reads.
        fps: frames a second, where the source does not tell or tells wrong; 30 is assumed for pictures.

    Raises:
        ImageError: there is no such file, or nothing in it can be read.
        InputError: no frames, a rate that is not positive, or a video without the package that reads it.
    """
    if fps is not None and not fps > 0:
        raise InputError(f"fps must be positive, got {fps!r}.")
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        if path.is_dir():
            return PictureFrames(list_images(path), str(path), fps)
        if not path.exists():
            raise ImageError(f"there is no video or folder {path}.")
        return VideoFrames(path, fps)
    if isinstance(source, Sequence):
        return PictureFrames(source, "frames", fps)
    if hasattr(source, "frames") and hasattr(source, "key"):
        return source
    raise InputError(
        f"cannot read frames from {type(source).__name__}; give a folder, a video or a list of pictures."
    )
