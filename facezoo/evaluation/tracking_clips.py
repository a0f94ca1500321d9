"""Videos whose true surface is known, for measuring tracks: synthetic people, and captures with tracked meshes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from facezoo.errors import InputError
from facezoo.heads.model import HeadModel
from facezoo.metrics.ssme import Surface
from facezoo.synth.engine import TEST_SEEDS
from facezoo.synth.layout import stage
from facezoo.synth.sequence import KINDS, render_video

_REGIONS = {"ear": ("left_ear", "right_ear"), "eye": ("eye_region",), "mouth": ("lips",), "nose": ("nose",)}


@dataclass(frozen=True)
class Clip:
    """One video with its truth.

    Attributes:
        name: of the video; kind: what happens in it.
        images: T pictures, arrays or files.
        size: (height, width).
        fps: frames a second.
        truth: the true surface.
        regions: name -> vertex ids of the true surface; ``main`` is the one that curves are about.
        head: whose vertices the true surface has, None if it is another mesh.
        closed: (T,) bool, lips shut for a p, b or m; None where nobody says.
    """

    name: str
    kind: str
    images: Sequence[Any]
    size: tuple[int, int]
    fps: float
    truth: Surface
    regions: Mapping[str, Tensor]
    main: str = "face"
    head: HeadModel | None = None
    closed: Tensor | None = None


def synthetic_clips(
    count: int, kinds: Sequence[str] = KINDS, frames: int = 45, size: int = 176
) -> Iterator[Clip]:
    """Render videos of people that nothing is trained on.

    Args:
        count: people, from the engine's test seeds.
        kinds: of motion; every person does each. See :mod:`facezoo.synth.sequence_script`.
        frames, size: of each video.

    Raises:
        InputError: more people than there are test seeds, or fewer than three frames.
    """
    if not 1 <= count <= len(TEST_SEEDS) or frames < 3:
        raise InputError(
            f"count must be 1 to {len(TEST_SEEDS)} and frames at least 3, got {count} and {frames}."
        )
    for seed in TEST_SEEDS[:count]:
        for kind in kinds:
            video = render_video(seed, kind, frames, size)
            head = stage().head
            yield Clip(
                name=str(seed),
                kind=kind,
                images=list(video.images),
                size=(size, size),
                fps=video.fps,
                truth=Surface(video.vertices, head.topology.faces, video.K),
                regions=head_regions(head),
                head=head,
                closed=video.closed,
            )


def head_regions(head: HeadModel) -> dict[str, Tensor]:
    """Return the regions of a head that SSME is measured on: the face, and its parts as far as the head names them."""
    masks = head.topology.masks
    out = {"face": head.topology.subset(1609)}
    for name, parts in _REGIONS.items():
        known = [masks[part] for part in parts if part in masks]
        if known:
            out[name] = torch.cat(known)
    return out
