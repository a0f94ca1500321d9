"""``facezoo doctor``: what is installed, what would run where, and whether the weights are whole."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys

from facezoo import __version__, catalog
from facezoo.errors import AssetError
from facezoo.hub import resolve

_CORE = (
    "torch", "torchvision", "lightning", "timm", "torchmetrics", "safetensors", "numpy", "scipy", "kornia", "pillow",
    "omegaconf", "scikit-image", "huggingface-hub",
)  # fmt: skip
_OPTIONAL = ("av", "onnxruntime", "pytorch3d", "wandb", "gradio", "transformers")
_BAD_LIGHTNING = ("2.6.2", "2.6.3")


def run(args: argparse.Namespace) -> int:
    """Print the findings; exit code 2 if something is broken."""
    findings, problems = examine()
    if args.json:
        print(json.dumps({**findings, "problems": problems}, indent=1))
    else:
        for section, values in findings.items():
            print(section)
            for name, value in values.items():
                print(f"  {name:<20}{value}")
        print("\n".join(f"PROBLEM  {text}" for text in problems) or "all well")
    return 2 if problems else 0


def examine() -> tuple[dict[str, dict[str, str]], list[str]]:
    """Collect facts and problems."""
    problems: list[str] = []
    findings = {
        "facezoo": {
            "version": __version__,
            "python": platform.python_version(),
            "system": platform.platform(),
        },
        "packages": {name: _version(name) or "MISSING" for name in _CORE},
        "optional": {name: _version(name) or "-" for name in _OPTIONAL},
        "device": _device(problems),
        "weights": {},
    }
    problems += [f"{name} is not installed: pip install {name}" for name in _CORE if _version(name) is None]
    if _version("lightning") in _BAD_LIGHTNING:
        problems.append(
            "lightning 2.6.2 and 2.6.3 were malicious uploads: remove it, rotate credentials, install another"
        )
    for entry in catalog.entries():
        try:
            resolve(entry.id).verify()
            findings["weights"][entry.id] = "sha256 ok"
        except AssetError as error:
            findings["weights"][entry.id] = "BROKEN"
            problems.append(str(error))
    return findings, problems


def _device(problems: list[str]) -> dict[str, str]:
    facts = {"cores": str(os.cpu_count())}
    try:
        import torch
    except Exception as error:  # a broken wheel raises anything from OSError to RuntimeError
        problems.append(f"torch does not import: {error}")
        return facts
    facts["threads"] = str(torch.get_num_threads())
    facts["cuda"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    try:
        import torchvision

        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except Exception as error:  # the mismatch shows as RuntimeError, OSError or AttributeError, by version
        problems.append(
            f"torchvision does not fit torch {torch.__version__} ({type(error).__name__}: {error}). Install both "
            f"in one command from one index: {sys.executable} -m pip install --force-reinstall torch torchvision"
        )
    return facts


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
