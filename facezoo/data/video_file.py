"""Video files through PyAV (the extra ``video``): frames out of them, pictures into MP4."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from facezoo.data.images import ImageArray, LoadedImage
from facezoo.data.video import ASSUMED_FPS, Frame
from facezoo.errors import ImageError, InputError

_QUALITY = "18"  # x264's constant rate factor: hardly to be told from the pictures


def pyav(purpose: str, instead: str) -> Any:
    """Return the package that decodes and encodes video.

    Args:
        purpose: what it is needed for, the first words of the message.
        instead: what works without it.

    Raises:
        InputError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise InputError(f"{purpose} needs PyAV: pip install 'facezoo[video]'; or {instead}.") from error
    return av


class VideoFrames:
    """A video file. Frames are turned the way the file says (telephones store portrait as landscape).

    Raises:
        ImageError: it is no video.
        InputError: PyAV is not installed.
    """

    live = False

    def __init__(self, path: Path, fps: float | None = None) -> None:
        self._av = pyav(f"reading {path.name}", "give a folder of its pictures")
        self.path, self.name = path, str(path)
        try:
            with self._av.open(str(path)) as container:
                stream = container.streams.video[0]
                rate = stream.average_rate or stream.guessed_rate
                self.fps = fps if fps is not None else float(rate) if rate else ASSUMED_FPS
                seconds = float(container.duration or 0) / 1e6
                self.length: int | None = int(stream.frames) or max(1, round(seconds * self.fps))
        except (OSError, IndexError, ValueError) as error:
            raise ImageError(f"{path} is not a video that can be read: {error}.") from error
        self.key = hashlib.sha256(f"{path.name} {path.stat().st_size} {self.fps}".encode()).hexdigest()

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """Decode from the first frame, which alone is exact for all containers, and yield from ``start`` on."""
        try:
            with self._av.open(str(self.path)) as container:
                for index, frame in enumerate(container.decode(video=0)):
                    if index >= start:
                        image = LoadedImage(upright(frame), f"{self.path.name}#{index}")
                        yield Frame(index, index / self.fps, image)
        except self._av.error.FFmpegError as error:
            raise ImageError(f"{self.path} is damaged: {error}.") from error


def upright(frame: Any) -> ImageArray:
    """Return a decoded frame as (H, W, 3) uint8 RGB, turned by the display matrix that came with it."""
    pixels: ImageArray = frame.to_ndarray(format="rgb24")
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


class VideoWriter:
    """An MP4 file (H.264 where the encoder is there) that appears when it is whole.

    Use it as a context: leaving it by an error leaves no file. Odd sides lose their last row or column, which the
    format cannot hold.

    Args:
        path: of the file.
        fps: frames a second.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self._av = pyav(f"writing {path.name}", "write a folder of PNG files")
        self.path, self.fps = path, fps
        self._part = path.with_name(f".{path.stem[:64]}.{uuid.uuid4().hex}.part.mp4")
        self._container: Any = None
        self._stream: Any = None

    def __enter__(self) -> VideoWriter:
        return self

    def add(self, pixels: ImageArray) -> None:
        """Append a frame (H, W, 3) uint8 RGB.

        Raises:
            InputError: the file cannot be written, or the frame has another size than the first.
        """
        height, width = (side - side % 2 for side in pixels.shape[:2])
        if self._stream is None:
            self._begin(width, height)
        if (self._stream.width, self._stream.height) != (width, height):
            raise InputError(f"{self.path.name} has frames of {self._stream.width} × {self._stream.height}, "
                             f"got {width} × {height}.")  # fmt: skip
        frame = self._av.VideoFrame.from_ndarray(
            np.ascontiguousarray(pixels[:height, :width]), format="rgb24"
        )
        self._mux(frame)

    def _begin(self, width: int, height: int) -> None:
        codec = "libx264" if "libx264" in self._av.codecs_available else "mpeg4"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._container = self._av.open(str(self._part), "w")
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {error.strerror or error}.") from error
        rate = Fraction(self.fps).limit_denominator(1001)
        self._stream = self._container.add_stream(
            codec, rate=rate, options={"crf": _QUALITY} if codec == "libx264" else {"q": "3"}
        )
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"

    def _mux(self, frame: Any) -> None:
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._container is None:
            return
        try:
            if kind is None:
                self._mux(None)
            self._container.close()
            if kind is None:
                os.replace(self._part, self.path)
        finally:
            self._part.unlink(missing_ok=True)
