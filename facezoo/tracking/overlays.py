"""Frames with the fitted heads drawn in, as PNG files or as an MP4."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np
from PIL import Image

from facezoo.data.video import FrameSource
from facezoo.data.video_file import VideoWriter
from facezoo.errors import InputError
from facezoo.mesh.io.atomic import write_bytes
from facezoo.tracking.track import Track
from facezoo.viz.overlay import draw_faces
from facezoo.viz.save import png_bytes


def can_write_video() -> bool:
    """Tell whether the package that encodes video is installed."""
    return importlib.util.find_spec("av") is not None


class OverlayWriter:
    """Takes drawn frames one after the other: into ``NAME.mp4`` if that is the path, else into a folder of PNG files.

    Args:
        path: of the MP4, or of the folder.
        fps: frames a second of the MP4.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path = path
        self.written: list[Path] = []
        self._video = VideoWriter(path, fps) if path.suffix.lower() == ".mp4" else None
        self._filled = 0

    def __enter__(self) -> OverlayWriter:
        return self

    def add(self, index: int, picture: Image.Image) -> None:
        """Write frame ``index``; a film shows it, too, in place of those that were left out before it."""
        if self._video is not None:
            pixels = np.asarray(picture.convert("RGB"))
            for _ in range(self._filled, index + 1):
                self._video.add(pixels)
            self._filled = index + 1
            self.written = [self.path]
        else:
            self.written.append(write_bytes(self.path / f"{index:06d}.png", png_bytes(picture)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._video is not None:
            self._video.__exit__(kind, error, trace)


def write_overlays(
    track: Track,
    source: FrameSource,
    path: Path,
    style: str = "mesh",
    progress: Callable[[int, int], None] | None = None,
    view: int = 0,
) -> list[Path]:
    """Draw the fitted heads into every frame, one after the other: memory does not grow.

    Args:
        track: what was tracked.
        source: its frames.
        path: ``NAME.mp4`` (extra ``video``), or a folder for ``000000.png`` and so on.
        style: as of :func:`facezoo.viz.overlay.draw_faces`.
        progress: called with frames done and frames in all.
        view: camera that the frames are of, where there are several.

    Raises:
        InputError: the frames are not those that were tracked, or an MP4 without the package that writes it.
    """
    size = track.image_size
    if track.views and len(track):
        size = track[0].views[view].image_size
    with OverlayWriter(path, source.fps) as writer:
        for index, _, image in source.frames():
            if image.size != size or index >= track.frames:
                raise InputError(f"{source.name} is not what was tracked: frame {index} is {image.size}.")
            writer.add(index, draw_faces(image, track.faces(index, view), style, scale=1))
            if progress is not None:
                progress(index + 1, track.frames)
    return writer.written
