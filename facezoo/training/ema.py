"""Exponential moving average of weights: what is validated and exported in place of the last step's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """A running average of a module's parameters and floating-point buffers."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.values = {k: v.detach().clone() for k, v in _averaged(module).items()}

    def reset(self, module: nn.Module) -> None:
        """Start again from the module's present values."""
        self.updates = 0
        self.values = {k: v.detach().clone() for k, v in _averaged(module).items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Add the module's present values; early updates count more, so the random start is forgotten soon."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        now = _averaged(module)
        torch._foreach_lerp_(list(self.values.values()), [now[k].detach() for k in self.values], 1 - decay)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Let the module use the averages inside a ``with`` block."""
        self.exchange(module)
        try:
            yield
        finally:
            self.exchange(module)

    @torch.no_grad()
    def exchange(self, module: nn.Module) -> None:
        """Swap averages and the module's values; twice restores both."""
        for name, value in _averaged(module).items():
            kept = value.detach().clone()
            value.copy_(self.values[name])
            self.values[name].copy_(kept)

    def state_dict(self) -> dict[str, object]:
        """Return everything that resuming needs."""
        return {"updates": self.updates, "values": self.values}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restore :meth:`state_dict`."""
        self.updates = int(state["updates"])  # type: ignore[call-overload]
        for name, value in state["values"].items():  # type: ignore[attr-defined]
            self.values[name].copy_(value)

    def to(self, device: torch.device) -> None:
        """Move the averages to a device."""
        self.values = {k: v.to(device) for k, v in self.values.items()}


def _averaged(module: nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in module.state_dict().items() if v.is_floating_point()}
