"""Take pictures out of VoxCeleb2's videos, as many of each, evenly spread; finished videos are not read again.

    python -m facezoo.data.extract_frames root=vox2 out=vox2_frames [each=4]

From id00012/VIDEO/00001.mp4, at any depth, come id00012/VIDEO/00001/000000.jpg and so on.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from facezoo.data.video import FramesLike, open_frames
from facezoo.errors import AssetError, FacezooError
from facezoo.mesh.io.atomic import write_bytes
from facezoo.settings import Setting, read_settings, run_module, whole

_QUALITY = 95


def list_videos(root: Path) -> list[tuple[Path, Path]]:
    """Return every video with the folder of its pictures below the result's, sorted.

    Raises:
        AssetError: there are none.
    """
    found = []
    for path in sorted(root.rglob("*.mp4")):
        parts = path.relative_to(root).with_suffix("").parts
        person = [n for n, part in enumerate(parts) if re.fullmatch(r"id\d+", part)]
        if person:
            found.append((path, Path(*parts[person[0] :])))
    if not found:
        raise AssetError(f"{root} holds no videos like id00012/VIDEO/00001.mp4; point root= at VoxCeleb2.")
    return found


def extract(video: FramesLike, folder: Path, each: int) -> int:
    """Write ``each`` frames of a video, evenly spread, and return how many; the folder appears with all of them.

    Raises:
        ImageError: the video cannot be read.
        InputError: the folder cannot be written, or the package that reads videos is missing.
    """
    if (folder / "done").exists():
        return 0
    source = open_frames(video)
    total = source.length or sum(1 for _ in source.frames())
    wanted = np.unique(np.linspace(0, max(total - 1, 0), each + 2).round().astype(int)[1:-1])
    count = 0
    for frame in source.frames():
        if frame.number in wanted:
            text = BytesIO()
            Image.fromarray(frame.image.pixels).save(text, "JPEG", quality=_QUALITY)
            write_bytes(folder / f"{frame.number:06d}.jpg", text.getvalue())
            count += 1
        if frame.number >= wanted[-1]:
            break
    write_bytes(folder / "done", b"")
    return count


def extract_all(
    videos: Sequence[tuple[FramesLike, Path]], out: Path, each: int, told: Callable[[str], None] = print
) -> int:
    """Extract all videos below ``out``; those that cannot be read are named and left out."""
    count = 0
    for number, (video, folder) in enumerate(videos, start=1):
        try:
            count += extract(video, out / folder, each)
        except FacezooError as error:
            told(f"{folder} left out: {error}")
        if number % 100 == 0 or number == len(videos):
            told(f"{number}/{len(videos)} videos, {count} pictures")
    return count


def _run(arguments: list[str]) -> None:
    known = {
        "root": Setting(needed="FOLDER"),
        "out": Setting(needed="FOLDER"),
        "each": Setting(4, whole(1)),
    }
    given = read_settings("extract_frames", arguments, known)
    extract_all(list_videos(Path(given["root"]).expanduser()), Path(given["out"]).expanduser(), given["each"])


if __name__ == "__main__":
    sys.exit(run_module(__doc__, _run, sys.argv[1:]))
