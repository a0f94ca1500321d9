"""Networks that only judge: loaded through timm or from a file, never trained, never part of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from facezoo.errors import AssetError


def load_frozen(name: str, weights: str, **options: Any) -> Any:
    """Build a timm model in eval mode without parameters: its weights are constants.

    Args:
        name: of ``timm.list_models()``.
        weights: ``"pretrained"`` downloads timm's published weights; otherwise a safetensors file with timm's names (a
            classifier in it is ignored).
        options: for ``timm.create_model``.

    Raises:
        AssetError: the file is missing, damaged or of another network.
    """
    import timm

    model = timm.create_model(name, pretrained=weights == "pretrained", num_classes=0, **options)
    if weights != "pretrained":
        path = Path(weights).expanduser()
        try:
            values = load_file(path)
            missing, _ = model.load_state_dict(values, strict=False)
        except (OSError, SafetensorError, RuntimeError) as error:
            raise AssetError(f"cannot load {name} from {path}: {error}") from error
        if missing:
            raise AssetError(f"{path} lacks {len(missing)} tensors of {name}, first {missing[0]!r}.")
    return _constant(model.eval())


def _constant(model: nn.Module) -> nn.Module:
    """Turn parameters into buffers that no state dict lists: nothing trains them, nothing stores them."""
    for module in model.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, value.detach(), persistent=False)
        for name, buffer in list(module.named_buffers(recurse=False)):
            module.register_buffer(name, buffer, persistent=False)
    return model


class IdentityFeatures(nn.Module):
    """Feature vectors that tell people apart, of pictures of faces (B, 3, S, S) in [0, 1]; differentiable in them."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, weights: str) -> None:
        """Load a frozen recognition network; arguments as of :func:`load_frozen`."""
        super().__init__()
        self.net = load_frozen(name, weights)
        known = self.net.pretrained_cfg
        self.size = int(known["input_size"][-1])
        for part in ("mean", "std"):
            self.register_buffer(part, torch.tensor(known[part]).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, F)."""
        resized = F.interpolate(images, size=(self.size, self.size), mode="bilinear", align_corners=False)
        return self.net((resized - self.mean) / self.std)

    def train(self, mode: bool = True) -> IdentityFeatures:
        """Stay in eval mode: its batch statistics belong to its own training."""
        return super().train(False)
