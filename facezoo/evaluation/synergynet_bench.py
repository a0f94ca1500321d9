"""How many images a second SynergyNet reads on this machine: landmarks alone, and with the whole mesh."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from facezoo.errors import FacezooError, InputError
from facezoo.export.metadata import describe
from facezoo.export.network import trace
from facezoo.export.onnx_file import to_bytes
from facezoo.hub import resolve
from facezoo.models.load import load
from facezoo.models.synergynet.module import SynergyModel

BATCHES = {"cpu": (1, 16), "cuda": (1, 256)}
_REPEATS = 3

Call = Callable[[Tensor], Any]


def bench_synergynet(name: str = "synergynet", device: str = "auto", seconds: float = 1.0) -> dict[str, Any]:
    """Time the network on random crops that lie in memory; reading and cropping pictures is ``bench predict``'s matter.

    Args:
        name: a model of this method, by name or folder.
        device: as of :func:`facezoo.models.load.load`; on a GPU the CPU is measured as well.
        seconds: each measurement lasts at least so long.

    Returns:
        ``images/s``: one row a way of running and batch size, the best of three measurements; a way that this machine
        cannot run has its reason instead.

    Raises:
        InputError: the model is of another method.
    """
    model = load(name, device=device)
    if not isinstance(model, SynergyModel):
        raise InputError(
            f"{name} is no SynergyNet but {model.method!r}; facezoo bench predict times any model"
        )
    place = model.device
    rows: list[dict[str, Any]] = []
    with torch.inference_mode():
        if place.type == "cuda":
            rows += _ways(model, place, seconds)
        rows += _ways(model.cpu(), torch.device("cpu"), seconds)
        rows += _onnx(model, name, seconds)
    return {
        "model": name,
        "parameters": sum(p.numel() for p in model.net.image_to_params.parameters()),
        "crop": model.config.crop_size,
        "machine": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(place) if place.type == "cuda" else "none",
        "images/s": rows,
    }


def _ways(model: SynergyModel, place: torch.device, seconds: float) -> list[dict[str, Any]]:
    model = model.to(place).eval()

    def mesh(images: Tensor) -> Tensor:
        return model.net.space.reconstruct_dense(model(images).params)

    ways: list[tuple[str, Call, torch.memory_format]] = [
        ("eager", model, torch.contiguous_format),
        ("channels-last", model, torch.channels_last),
        ("channels-last, dense mesh", mesh, torch.channels_last),
        ("compiled", torch.compile(model), torch.channels_last),
    ]
    rows = []
    for way, call, layout in ways:
        model.to(memory_format=layout)
        rows += _rows(f"{place.type} {way}", call, model, layout, place, seconds)
    if place.type == "cuda":
        half: Call = _in_half(model)
        rows += _rows("cuda channels-last, float16", half, model, torch.channels_last, place, seconds)
    model.to(memory_format=torch.contiguous_format)
    return rows


def _in_half(model: SynergyModel) -> Call:
    def call(images: Tensor) -> Any:
        with torch.autocast("cuda", torch.float16):
            return model(images)

    return call


def _rows(
    way: str,
    call: Call,
    model: SynergyModel,
    layout: torch.memory_format,
    place: torch.device,
    seconds: float,
) -> list[dict[str, Any]]:
    rows = []
    for batch in BATCHES[place.type]:
        images = torch.rand(batch, 3, model.config.crop_size, model.config.crop_size, device=place)
        images = images.contiguous(memory_format=layout)
        try:
            rate = _rate(lambda images=images: call(images), batch, place, seconds)  # type: ignore[misc]
        except Exception as error:  # no compiler on this machine, say; torch raises a dozen kinds
            lines = str(error).strip().splitlines() or [type(error).__name__]
            rows.append({"way": way, "batch": batch, "images/s": f"not to be had here: {lines[0][:80]}"})
            break
        rows.append({"way": way, "batch": batch, "images/s": round(rate, 1)})
    return rows


def _onnx(model: SynergyModel, name: str, seconds: float) -> list[dict[str, Any]]:
    """Time the exported network with onnxruntime."""
    try:
        data = to_bytes(trace(model), model.example_inputs(2), describe(model, resolve(name)), None)
        import onnxruntime
    except (FacezooError, ImportError) as error:
        return [{"way": "cpu ONNX", "batch": 1, "images/s": f"not to be had here: {str(error)[:80]}"}]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    key = session.get_inputs()[0].name
    rows = []
    for batch in BATCHES["cpu"]:
        feed = {key: torch.rand(batch, 3, model.config.crop_size, model.config.crop_size).numpy()}
        rate = _rate(lambda feed=feed: session.run(None, feed), batch, torch.device("cpu"), seconds)  # type: ignore[misc]
        rows.append({"way": "cpu ONNX", "batch": batch, "images/s": round(rate, 1)})
    return rows


def _rate(call: Callable[[], Any], batch: int, place: torch.device, seconds: float) -> float:
    """Return images a second, the best of several measurements after one call to warm up."""
    call()
    best = 0.0
    for _ in range(_REPEATS):
        _wait(place)
        begin, count = time.perf_counter(), 0
        while True:
            call()
            count += 1
            if place.type == "cuda" and count % 10:
                continue
            _wait(place)
            if (spent := time.perf_counter() - begin) >= seconds:
                break
        best = max(best, count * batch / spent)
    return best


def _wait(place: torch.device) -> None:
    if place.type == "cuda":
        torch.cuda.synchronize(place)
