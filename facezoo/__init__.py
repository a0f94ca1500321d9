"""facezoo: published 3D-face methods behind one call.

    import facezoo
    faces = facezoo.load("dense-1609").predict("photo.jpg")
    faces[0].save("face.glb")

Names below are imported on first use (PEP 562), so ``import facezoo`` costs milliseconds and needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facezoo.catalog import info as info
    from facezoo.catalog import list_models as list_models
    from facezoo.errors import FacezooError as FacezooError
    from facezoo.geometry.camera import Camera as Camera
    from facezoo.heads import HeadModel as HeadModel
    from facezoo.heads import HeadParams as HeadParams
    from facezoo.heads import load_head as load_head
    from facezoo.models.load import load as load
    from facezoo.types import Face as Face
    from facezoo.types import Prediction as Prediction

__version__ = "0.1.0"

_PUBLIC = {
    "Camera": "facezoo.geometry.camera",
    "Face": "facezoo.types",
    "FacezooError": "facezoo.errors",
    "HeadModel": "facezoo.heads",
    "HeadParams": "facezoo.heads",
    "Prediction": "facezoo.types",
    "info": "facezoo.catalog",
    "list_models": "facezoo.catalog",
    "load": "facezoo.models.load",
    "load_head": "facezoo.heads",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(
            f"module 'facezoo' has no attribute {name!r}; public names: {', '.join(sorted(_PUBLIC))}"
        )
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
