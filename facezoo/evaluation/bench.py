"""How long ``predict`` takes on this machine, stage by stage."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from facezoo.data.images import load_image
from facezoo.detect import load_detector
from facezoo.models.load import load
from facezoo.models.predict import FaceModel

_REPEATS = 7


def bench_predict(photo: Path, model: str = "dense-1609", device: str = "auto") -> dict[str, Any]:
    """Time loading a model and predicting one photo with one face.

    Args:
        photo: a picture with one face.
        model: name or folder.
        device: as of :func:`facezoo.models.load.load`.

    Returns:
        Milliseconds, each the median of several runs after one to warm up; ``faces`` found; threads and device.
    """
    begin = time.perf_counter()
    network = load(model, device=device)
    load_ms = 1000 * (time.perf_counter() - begin)
    detector = load_detector()
    image = load_image(photo).pixels
    found = network.predict(image)
    boxes = torch.stack([face.box for face in found]) if len(found) else torch.zeros(0, 4)
    rows = {
        "load model": load_ms,
        "read image": _median(lambda: load_image(photo), network),
        f"detect ({detector.name})": _median(lambda: detector.detect([image]), network),
        "network, given box": _median(lambda: network.predict(image, boxes=boxes, fit=False), network),
        "network and fit, given box": _median(lambda: network.predict(image, boxes=boxes), network),
        "predict(path), everything": _median(lambda: network.predict(photo), network),
        "predict of 16, a face": _median(lambda: network.predict([image] * 16), network, 3) / 16,
    }
    return {
        "model": network.model_id,
        "device": str(network.device),
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
        "faces": len(found),
        "ms": {name: round(value, 1) for name, value in rows.items()},
    }


def _median(call: Callable[[], Any], network: FaceModel, repeats: int = _REPEATS) -> float:
    call()
    times = []
    for _ in range(repeats):
        _wait(network)
        begin = time.perf_counter()
        call()
        _wait(network)
        times.append(1000 * (time.perf_counter() - begin))
    return statistics.median(times)


def _wait(network: FaceModel) -> None:
    if network.device.type == "cuda":
        torch.cuda.synchronize(network.device)
