"""Weights from a parent of the same or of other sizes, and the report of what came from where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from facezoo.models.base import ZooModel

_SHOWN = 8  # tensors named on the screen; init.json has all


@dataclass(frozen=True)
class Inheritance:
    """What a model took over.

    Attributes:
        loaded: names of tensors as the parent has them.
        sliced: name -> the parent's shape and the model's; rows were picked or mixed.
        new: names of tensors that the parent has nothing for.
        left: names of the parent's tensors that nothing was taken from.
        values: number of values in each of the four.
    """

    loaded: list[str]
    sliced: dict[str, list[list[int]]]
    new: list[str]
    left: list[str]
    values: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "values": self.values,
            "loaded": self.loaded,
            "sliced": self.sliced,
            "new": self.new,
            "left": self.left,
        }

    def lines(self) -> list[str]:
        """Return what a person reads."""
        shapes = [f"{n} {_shape(a)} -> {_shape(b)}" for n, (a, b) in self.sliced.items()]
        return [
            _line("loaded", self.values, f"{len(self.loaded)} tensors"),
            _line("sliced", self.values, _names(shapes)),
            _line("new", self.values, _names(self.new)),
            _line("left over", self.values, _names(self.left)),
        ]


@torch.no_grad()
def inherit_weights(model: ZooModel, parent: ZooModel) -> Inheritance:
    """Copy into a model, in place, what :meth:`ZooModel.inherit` finds for each of its tensors."""
    given, own = parent.state_dict(), model.state_dict()
    loaded, sliced, new = [], {}, []
    for name, value in own.items():
        source = given.get(name)
        taken = None if source is None else model.inherit(name, value, source, parent)
        if source is None or taken is None:
            new.append(name)
            continue
        value.copy_(taken)
        if taken is source:
            loaded.append(name)
        else:
            sliced[name] = [list(source.shape), list(value.shape)]
    left = [name for name in given if name not in own or name in new]
    values = {
        "loaded": sum(own[n].numel() for n in loaded),
        "sliced": sum(own[n].numel() for n in sliced),
        "new": sum(own[n].numel() for n in new),
        "left": sum(given[n].numel() for n in left),
    }
    return Inheritance(loaded, sliced, new, left, values)


def nothing_inherited(model: ZooModel) -> Inheritance:
    """Return the report of a model that starts from scratch."""
    own = model.state_dict()
    count = sum(value.numel() for value in own.values())
    return Inheritance([], {}, list(own), [], {"loaded": 0, "sliced": 0, "new": count, "left": 0})


def _line(kind: str, values: dict[str, int], text: str) -> str:
    return f"  {kind:<9} {values[kind.split()[0]]:>12,} values  {text}".rstrip()


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    rest = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + rest


def _shape(sizes: list[int]) -> str:
    return f"({', '.join(map(str, sizes))})"
