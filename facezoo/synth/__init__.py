"""Synthetic people: a seed in, a picture with exact labels out (``render_sample``, ``render_batch``, ``python -m facezoo.synth``)."""

from __future__ import annotations

from typing import Any

_PUBLIC = ("Sample", "TEST_SEEDS", "VALIDATION_SEEDS", "VERSION", "label_batch", "render_batch", "render_sample")
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        from facezoo.synth import engine

        return getattr(engine, name)
    raise AttributeError(f"module 'facezoo.synth' has no attribute {name!r}")
