"""ID-MRF: wrinkles should look like some wrinkle of the target, not like the mean of all.

Wang et al., "Image Inpainting via Generative Multi-column Convolutional Neural Networks", NeurIPS 2018; 1×1 patches.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facezoo.models.deca.frozen import load_frozen

_BANDWIDTH, _RELATIVE = 0.5, 1e-5
# Outputs of VGG-19's layer list. The released code counts convolutions and ReLUs with one number, so that its
# "relu3_2" and "relu4_2" are the ReLUs behind the first convolution of a block instead of the second.
LAYERS = {"clean": (13, 22), "official": (11, 20)}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def mrf_loss(generated: Tensor, target: Tensor, *, official: bool = False) -> Tensor:
    """Return how little variety of the target's features the generated ones cover.

    Args:
        generated, target: features (B, C, H, W).
        official: sum over the batch and no guard for zero vectors, which give NaN; otherwise the mean.
    """
    centre = target.mean(1, keepdim=True)
    vectors = [(x - centre).flatten(2) for x in (generated, target)]
    lengths = [x.square().sum(1, keepdim=True) for x in vectors]
    if not official:
        lengths = [x.clamp_min(1e-12) for x in lengths]
    made, wanted = (x / n.sqrt() for x, n in zip(vectors, lengths, strict=True))
    distance = (1 - wanted.mT @ made) / 2  # (B, targets, generated)
    relative = distance / (distance.amin(1, keepdim=True) + _RELATIVE)
    weight = ((1 - relative) / _BANDWIDTH).exp()
    share = weight / weight.sum(1, keepdim=True)
    best = share.amax(2).mean(1)
    loss = -best.log()
    return loss.sum() if official else loss.mean()


class IdMrf(nn.Module):
    """The loss on two layers of VGG-19: L(3) + 2 L(4), the coarser layer once for style and once for content."""

    mean: Tensor
    std: Tensor

    def __init__(self, weights: str, *, official: bool = False) -> None:
        """Load a frozen VGG-19.

        Args:
            weights: ``"pretrained"`` downloads timm's ImageNet weights; otherwise a safetensors file with timm's names.
            official: see :func:`mrf_loss` and ``LAYERS``.
        """
        super().__init__()
        self.official = official
        self.layers = LAYERS["official" if official else "clean"]
        vgg = load_frozen("vgg19", weights)
        self.features = nn.Sequential(*list(vgg.features)[: self.layers[1] + 1])
        for name, value in (("mean", _MEAN), ("std", _STD)):
            self.register_buffer(name, torch.tensor(value).view(3, 1, 1), persistent=False)

    def forward(self, generated: Tensor, target: Tensor) -> Tensor:
        """Compare pictures (B, 3, H, W) of RGB in [0, 1]."""
        made, wanted = self._features(generated), self._features(target)
        fine, coarse = (mrf_loss(g, t, official=self.official) for g, t in zip(made, wanted, strict=True))
        return fine + 2 * coarse

    def _features(self, images: Tensor) -> list[Tensor]:
        x = (images - self.mean) / self.std
        kept = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in self.layers:
                kept.append(x)
                x = x.clone()  # the next layers may work in place
        return kept
