"""Train the detector on rendered people; a killed run continues from its last checkpoint."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from torch import Tensor
from torch.nn import functional as F

from facezoo.data.shards import ShardFolder
from facezoo.detect.base import Detections
from facezoo.detect.open_faces.net import FaceMap, FaceNet, decode
from facezoo.detect.open_faces.scenes import Scenes, backgrounds, sample_scenes
from facezoo.detect.suppress import overlaps, suppress
from facezoo.mesh.io.atomic import write_bytes

_EMA = 0.998


def loss(seen: FaceMap, wanted: Scenes) -> tuple[Tensor, Tensor]:
    """Focal loss of the heat map (Zhou et al. 2019, Eq. 1) and L1 of the boxes, a face each."""
    logits = seen.logits.float()
    p = logits.sigmoid()
    centre = wanted.heat == 1
    faces = centre.sum().clamp(min=1)
    found = F.logsigmoid(logits) * (1 - p) ** 2 * centre
    empty = F.logsigmoid(-logits) * p**2 * (1 - wanted.heat) ** 4 * ~centre
    away = (seen.boxes.float() - wanted.boxes).abs().sum(1) * wanted.weight
    return -(found + empty).sum() / faces, away.sum() / wanted.weight.sum().clamp(min=1)


def train(
    root: str, out: Path, minutes: float, *, batch: int = 24, people: int = 12_000, seed: int = 0
) -> Path:
    """Train for a time and write ``model.safetensors`` (float16 averages) to ``out``.

    Args:
        root: folder of shards (``python -m facezoo.synth shards``).
        out: folder of the run.
        minutes: wall-clock time, over which the learning rate falls.
        batch: canvases a step.
        people: how many rendered people to hold in memory.
        seed: of the weights and the scenes.
    """
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    folder = ShardFolder(root)
    held = min(len(folder) // 8, 400)
    known = folder.read(np.arange(min(people, len(folder) - held)), ("images", "lm68"))
    check = folder.read(np.arange(len(folder) - held, len(folder)), ("images", "lm68"))
    empty = backgrounds(1200, 160, seed)
    net = FaceNet().to(memory_format=torch.channels_last)
    average = FaceNet()
    average.load_state_dict(net.state_dict())
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.02)
    last, step, spent = out / "last.safetensors", 0, 0.0
    if last.exists():
        step, spent = _restore(last, net, average, optimiser)
        print(f"resuming at step {step}", flush=True)
    start = time.monotonic() - spent
    low_precision = torch.backends.cpu.get_cpu_capability() == "AVX512"
    while (elapsed := time.monotonic() - start) < minutes * 60:
        rate = 2e-3 * min(1.0, step / 200) * (0.5 + 0.5 * np.cos(np.pi * min(elapsed / (minutes * 60), 1)))
        for group in optimiser.param_groups:
            group["lr"] = rate + 1e-6
        scenes = sample_scenes(np.random.default_rng([seed, step]), known, empty, batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=low_precision):
            seen = net(scenes.images.contiguous(memory_format=torch.channels_last))
        heat, box = loss(seen, scenes)
        optimiser.zero_grad()
        (heat + box).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        step += 1
        _follow(average, net, min(_EMA, step / (step + 10)))
        if step % 50 == 0:
            pace = step * batch / (time.monotonic() - start)
            print(
                f"step {step} heat {float(heat):.3f} box {float(box):.3f} {pace:.0f} canvases/s", flush=True
            )
        if step % 400 == 0:
            _save(last, net, average, optimiser, step, time.monotonic() - start)
            print(f"step {step} held-out: {measure(average, check, empty)}", flush=True)
    half = {k: v.half() if v.is_floating_point() else v for k, v in average.state_dict().items()}
    write_bytes(out / "model.safetensors", save(half))
    print(f"held-out: {measure(average, check, empty)}\nwrote {out / 'model.safetensors'}", flush=True)
    return out / "model.safetensors"


@torch.no_grad()
def measure(net: FaceNet, people: dict[str, Tensor], empty: Tensor, canvases: int = 48) -> dict[str, float]:
    """Return recall at IoU 0.5, precision and mean IoU on fresh canvases of held-out people, at score 0.4."""
    training, hit, faces, claims, shared = net.training, 0, 0, 0, 0.0
    net.eval()
    scenes = sample_scenes(np.random.default_rng(12345), people, empty, canvases)
    for found, wanted in zip(decode(net(scenes.images), 0.4), _truth(scenes), strict=True):
        boxes, _ = suppress(Detections(*found))
        faces, claims = faces + len(wanted), claims + len(boxes)
        if len(wanted) and len(boxes):
            best = overlaps(wanted, boxes)[0].amax(1)
            hit += int((best > 0.5).sum())
            shared += float(best[best > 0.5].sum())
    net.train(training)
    return {
        "recall": round(hit / max(faces, 1), 4),
        "precision": round(hit / max(claims, 1), 4),
        "iou": round(shared / max(hit, 1), 4),
    }


def _truth(scenes: Scenes) -> list[Tensor]:
    """Read the true boxes back from the targets."""
    exact = torch.where(scenes.heat == 1, 30.0, -30.0)
    return [boxes for boxes, _ in decode(FaceMap(exact, scenes.boxes), 0.5)]


@torch.no_grad()
def _follow(average: FaceNet, net: FaceNet, keep: float) -> None:
    for slow, fast in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if slow.is_floating_point():
            slow.mul_(keep).add_(fast, alpha=1 - keep)
        else:
            slow.copy_(fast)


def _save(
    path: Path, net: FaceNet, average: FaceNet, optimiser: torch.optim.Optimizer, step: int, spent: float
) -> None:
    tensors = {f"net.{k}": v.contiguous() for k, v in net.state_dict().items()}
    tensors |= {f"average.{k}": v.clone() for k, v in average.state_dict().items()}
    for i, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{i}.{k}": v.contiguous().clone() for k, v in state.items()}
    part = path.with_suffix(".part")
    save_file(tensors, part, {"step": str(step), "spent": str(spent)})
    part.replace(path)


def _restore(
    path: Path, net: FaceNet, average: FaceNet, optimiser: torch.optim.Optimizer
) -> tuple[int, float]:
    tensors = load_file(path)
    for name, model in (("net.", net), ("average.", average)):
        model.load_state_dict({k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)})
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimiser."):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    with safe_open(path, "pt") as file:
        meta = file.metadata()
    return int(meta["step"]), float(meta["spent"])
