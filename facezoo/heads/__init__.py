"""3D heads: one model class, a licence-free head inside the package, and adapters for licensed ones."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facezoo.heads.assets import add_flame, list_assets
    from facezoo.heads.model import HeadModel
    from facezoo.heads.params import HeadOutput, HeadParams, ParamSpec
    from facezoo.heads.registry import load_head
    from facezoo.heads.topology import LandmarkSet, Topology

_HOME = {
    "HeadModel": "model",
    "HeadOutput": "params",
    "HeadParams": "params",
    "LandmarkSet": "topology",
    "ParamSpec": "params",
    "Topology": "topology",
    "add_flame": "assets",
    "list_assets": "assets",
    "load_head": "registry",
}
__all__ = [
    "HeadModel",
    "HeadOutput",
    "HeadParams",
    "LandmarkSet",
    "ParamSpec",
    "Topology",
    "add_flame",
    "list_assets",
    "load_head",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import facezoo.heads` needs no torch."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
