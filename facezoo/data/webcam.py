"""A camera of this machine, through PyAV (the extra ``video``): always its newest frame."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from facezoo.data.images import ImageArray, LoadedImage
from facezoo.data.video import ASSUMED_FPS, Frame
from facezoo.data.video_file import pyav, upright
from facezoo.errors import ImageError

# system -> FFmpeg's name for its cameras, and how number N is called there
_DRIVERS = {
    "linux": ("v4l2", "/dev/video{}"),
    "darwin": ("avfoundation", "{}:none"),
    "win32": ("dshow", "{}"),
}
_PATIENCE = 10.0  # seconds without a frame after which a camera has gone


class Webcam:
    """Frames of a camera as they are made.

    A thread reads the camera, so that its queue never fills: who is slower than the camera gets the newest frame, and
    the numbers of those missed are left out. A source that is recorded ends with its last frame.

    Args:
        device: number of the camera, or its name as FFmpeg's driver calls it (``/dev/video2``; on Windows
            ``video=NAME``).
        fps: frames a second to ask for; default the camera's own.
        driver: FFmpeg's input format; default that of the system.

    Raises:
        ImageError: there is no such camera or it cannot be opened.
        InputError: PyAV is not installed.
    """

    live = True
    length: int | None = None

    def __init__(self, device: str = "0", fps: float | None = None, driver: str | None = None) -> None:
        self._av = pyav("a webcam", "record a video elsewhere and give a folder of its pictures")
        system, pattern = _DRIVERS.get(sys.platform, _DRIVERS["linux"])
        self._format = driver or system
        self._device = pattern.format(device) if device.isdigit() else device
        self.name = f"webcam:{device}"
        self.key = f"{self.name} {time.time_ns()}"  # never the same twice
        self._container = self._open(fps)
        rate = self._container.streams.video[0].average_rate
        self.fps = fps if fps is not None else float(rate) if rate else ASSUMED_FPS

    def _open(self, fps: float | None) -> Any:
        options = {} if fps is None else {"framerate": f"{fps:g}"}
        try:
            return self._av.open(self._device, format=self._format, options=options)
        except (OSError, ValueError, self._av.error.FFmpegError) as error:
            there = sorted(str(path) for path in Path("/dev").glob("video*"))
            known = f"cameras here: {', '.join(there)}" if there else "this machine has no /dev/video*"
            hint = known if self._format == "v4l2" else "list them with: ffmpeg -list_devices"
            raise ImageError(
                f"cannot open the camera {self._device} ({error}); {hint}. Plug one in, allow this user to read it, or "
                "name another: facezoo track webcam:1."
            ) from error

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """Yield the newest frame whenever asked; ``start`` is where numbering begins."""
        box = _Newest()
        thread = threading.Thread(target=self._read, args=(box,), name=self.name, daemon=True)
        thread.start()
        try:
            while True:
                got = box.take(_PATIENCE)
                if got is None:
                    return
                index, seconds, pixels = got
                yield Frame(start + index, seconds, LoadedImage(pixels, f"{self.name}#{start + index}"))
        finally:
            box.stop()
            thread.join(_PATIENCE)

    def _read(self, box: _Newest) -> None:
        """Decode until told to stop; time is when a frame came, its number the camera's."""
        begin = None
        try:
            for index, frame in enumerate(self._container.decode(video=0)):
                now = time.monotonic()
                begin = now if begin is None else begin
                if not box.put((index, now - begin, upright(frame))):
                    break
        except Exception as error:  # handed to whoever waits for frames
            box.fail(ImageError(f"the camera {self._device} stopped: {error}."))
        else:
            box.end()
        finally:
            self._container.close()


Item = tuple[int, float, ImageArray]


class _Newest:
    """Hands the newest item from one thread to another."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: Item | None = None
        self._error: ImageError | None = None
        self._ended = self._stopped = False

    def put(self, item: Item) -> bool:
        with self._changed:
            self._item = item
            self._changed.notify()
            return not self._stopped

    def take(self, patience: float) -> Item | None:
        """Wait for an item; None when there will be no more."""
        with self._changed:
            there = self._changed.wait_for(lambda: self._item or self._ended or self._error, patience)
            if self._item is not None:
                item, self._item = self._item, None
                return item
            if self._error is not None:
                raise self._error
            if not there:
                raise ImageError(f"the camera sent nothing for {patience:g} s.")
            return None

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()

    def fail(self, error: ImageError) -> None:
        with self._changed:
            self._error = error
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
