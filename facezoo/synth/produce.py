"""Render many people to shards with several processes; an interrupted run continues."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import numpy as np


def _render_shard(job: tuple[str, int, int, int, int, int]) -> tuple[int, int]:
    import torch

    from facezoo.data.shards import write_shard
    from facezoo.synth.engine import RELIEF_VERSION, VERSION, render_batch

    root, number, first, count, size, pictures = job
    if (Path(root) / f"shard-{number:05d}.safetensors").exists():
        return number, 0
    torch.set_num_threads(1)
    relief = pictures > 0
    arrays = render_batch(range(first, first + count), size, relief=relief, pictures=max(pictures, 1))
    for name in ("identity", "expression"):
        arrays[name] = arrays[name].astype(np.float16)
    arrays["visible"] = arrays["visible"].astype(np.uint8)
    version = RELIEF_VERSION if relief else VERSION
    write_shard(root, number, arrays, {"head_id": "open-v1", "synth_version": version, "size": size})
    return number, count


def render_shards(
    root: str, first_seed: int, count: int, size: int, workers: int, shard: int, pictures: int = 0
) -> None:
    """Render ``count`` pictures; finished shards are kept, so an interrupted run continues.

    Args:
        root: folder of the shards.
        first_seed: seed of the first picture.
        count: number of pictures.
        size: side of a picture in pixels.
        workers: processes.
        shard: pictures a file.
        pictures: a person with relief; 0 for people without.
    """
    jobs = [
        (root, i, first_seed + i * shard, min(shard, count - i * shard), size, pictures)
        for i in range(-(-count // shard))
    ]
    start, done = time.monotonic(), 0
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for number, n in pool.imap_unordered(_render_shard, jobs):
            done += n
            rate = done / (time.monotonic() - start)
            print(f"shard {number}: {done}/{count} pictures, {rate:.1f} a second", flush=True)
