"""Clips of Multiface: real pictures, with tracked meshes for the truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facezoo.data.images import load_image
from facezoo.data.readers.multiface import FPS, MultifaceReader
from facezoo.errors import AssetError, InputError
from facezoo.evaluation.tracking_clips import Clip
from facezoo.metrics.ssme import Surface


@dataclass(frozen=True)
class _Pictures(Sequence[Any]):
    """Pictures read and scaled when they are asked for."""

    paths: list[Path]
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return _Pictures(self.paths[index], self.size)
        image = Image.fromarray(load_image(self.paths[index]).pixels)
        return np.asarray(image.resize(self.size[::-1], Image.Resampling.LANCZOS, reducing_gap=3.0))


def multiface_clips(
    root: str | Path,
    sequences: Sequence[str] | None = None,
    cameras: Sequence[str] | None = None,
    *,
    frames: int = 45,
    side: int = 1024,
    regions: str | Path | None = None,
) -> Iterator[Clip]:
    """Read clips of one person.

    Args:
        root: the person's folder, see :mod:`facezoo.data.readers.multiface`.
        sequences: their names; default all.
        cameras: their names; default the first that took pictures of the sequence.
        frames: of each clip, from its beginning.
        side: the pictures' longest side is scaled down to it.
        regions: NPZ of vertex ids by name, ``face`` among them. The benchmark's masks are not published; without a file
            the face is the whole mesh.

    Raises:
        AssetError: the folder or the regions cannot be read.
        InputError: no camera filmed three frames of a sequence.
    """
    reader = MultifaceReader(root)
    areas = _regions(regions, int(reader.faces.max()) + 1)
    for sequence in sequences or list(reader.sequences):
        able = [name for name in reader.cameras if len(reader.frames(sequence, name)) >= 3]
        for camera in cameras or able[:1]:
            chosen = reader.frames(sequence, camera)[:frames]
            if len(chosen) < 3:
                raise InputError(
                    f"camera {camera} has {len(chosen)} pictures of {sequence}; a clip needs three."
                )
            paths = [reader.picture(sequence, camera, frame) for frame in chosen]
            height, width = load_image(paths[0]).size
            scale = min(1.0, side / max(height, width))
            size = (round(height * scale), round(width * scale))
            K = reader.cameras[camera].K.clone()
            K[0] *= size[1] / width
            K[1] *= size[0] / height
            vertices = torch.stack([reader.seen(sequence, frame, camera) for frame in chosen])
            yield Clip(
                name=f"{sequence}/{camera}",
                kind=sequence.partition("_")[0],
                images=_Pictures(paths, size),
                size=size,
                fps=FPS,
                truth=Surface(vertices, reader.faces, K),
                regions=areas,
            )
        if not (cameras or able):
            raise InputError(f"no camera has three pictures of {sequence} in {root}.")


def _regions(path: str | Path | None, count: int) -> Mapping[str, Tensor]:
    if path is None:
        return {"face": torch.arange(count)}
    try:
        with np.load(Path(path).expanduser(), allow_pickle=False) as archive:
            areas = {name: torch.from_numpy(np.asarray(archive[name], np.int64)) for name in archive.files}
    except (OSError, ValueError) as error:
        raise AssetError(f"cannot read regions from {path}: {error}") from error
    known = torch.arange(count)
    bad = [
        n
        for n, ids in areas.items()
        if ids.dim() != 1 or not len(ids) or not bool(torch.isin(ids, known).all())
    ]
    if bad or "face" not in areas:
        raise AssetError(
            f"{path} must hold vertex ids below {count} by region, 'face' among them; wrong: "
            f"{', '.join(bad) or 'no face'}."
        )
    return areas
