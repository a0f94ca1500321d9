"""Configuration of FlowFace; the same fields are the recipe's ``model`` section and config.json."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from facezoo.errors import RecipeError, unknown_name

BLOCKS = ("fused", "basic")


@dataclass
class FlowFaceConfig:
    """What a :class:`~facezoo.models.flowface.net.FlowFaceNet` is made of.

    The defaults are this project's size. The paper's (as far as it is known): ``backbone=segformer:b5``,
    ``crop_size=512``, ``features=128``, ``image_context=false``, ``iterations=3``.

    Attributes:
        name: method name, always ``"flowface"``.
        head: head whose vertices are found.
        points: vertex subset that the data carries; the network finds all vertices.
        backbone: ``"nano"``, ``"segformer:b0"`` ... ``"segformer:b5"`` (needs the extra ``segformer``), or any timm
            model with a feature pyramid.
        pretrained: start a timm or SegFormer backbone from its published weights (training only, it downloads).
        widths, depths, block: of ``nano``, see :class:`~facezoo.backbones.nano.NanoBackbone`.
        features_from: a dense model (zoo name or folder) of the same ``nano``, whose backbone a training begins with.
        fusion: channels each pyramid level is brought to before they are joined at a quarter of the resolution.
        features: channels that UV and image features are compared in.
        uv_size: side of the UV grid that is iterated on.
        uv_factor: convex upsampling of the result.
        uv_levels: resolutions of the UV embedding, halving from ``uv_size``, summed.
        levels, radius: correlation pyramid and half its window.
        hidden: channels of the recurrent unit's state and of its context.
        motion: channels of the motion features.
        iterations: updates.
        image_context: let the pooled picture set the first state (RAFT's context network sees the picture; the paper's
            context is the UV embedding alone).
        depth: also find each vertex's depth, so that a mesh comes out without fitting.
        sigma_scale: factor that calibrates predicted scales on validation data; 1 means as trained.
        n_identity, n_expression: components of the head; they follow the data.
        crop_size: side of the input in pixels.
        crop_scale: side of the crop over the geometric mean of the tight box's sides; the whole head should fit.
        crop_padding: ``"zeros"`` or ``"edge"`` outside the photo.
        mean, std: input normalisation per channel.
    """

    rank: ClassVar[int] = 0  # start from means only: components of thousands of vertices would be of no use

    name: str = "flowface"
    head: str = "open-v1"
    points: int = 1609
    backbone: str = "nano"
    pretrained: bool = False
    widths: list[int] = field(default_factory=lambda: [32, 64, 128, 192])
    depths: list[int] = field(default_factory=lambda: [1, 2, 2, 2])
    block: str = "fused"
    features_from: str = ""
    fusion: int = 64
    features: int = 64
    uv_size: int = 32
    uv_factor: int = 4
    uv_levels: int = 3
    levels: int = 3
    radius: int = 3
    hidden: int = 48
    motion: int = 48
    iterations: int = 3
    image_context: bool = True
    depth: bool = True
    sigma_scale: float = 1.0
    n_identity: int = 100
    n_expression: int = 49
    crop_size: int = 128
    crop_scale: float = 1.9
    crop_padding: str = "edge"
    mean: list[float] = field(default_factory=lambda: [0.485, 0.456, 0.406])
    std: list[float] = field(default_factory=lambda: [0.229, 0.224, 0.225])

    def __post_init__(self) -> None:
        if self.block not in BLOCKS:
            raise unknown_name("model.block", self.block, BLOCKS)
        for name in ("iterations", "levels", "uv_levels", "uv_factor", "radius", "features", "hidden"):
            if getattr(self, name) < 1:
                raise RecipeError(f"model.{name}={getattr(self, name)}; expected at least 1")
        if self.uv_size % 2 ** (self.uv_levels - 1):
            raise RecipeError(
                f"model.uv_size={self.uv_size} cannot be halved {self.uv_levels - 1} times (model.uv_levels)"
            )
        if self.crop_size % 32 or self.crop_size // 4 < 2**self.levels:
            raise RecipeError(
                f"model.crop_size={self.crop_size} must be a multiple of 32 and at least {2 ** (self.levels + 2)} "
                f"for model.levels={self.levels}"
            )
        if len(self.widths) != len(self.depths):
            raise RecipeError(
                f"model.widths={self.widths} and model.depths={self.depths} need one entry a stage each"
            )
        if self.motion < 3:
            raise RecipeError(
                f"model.motion={self.motion}; expected at least 3, two of them are the flow itself"
            )


@dataclass
class FlowFaceLossConfig:
    """Weights of the loss; the recipe's ``loss`` section.

    Attributes:
        name: always ``"gaussian"``.
        decay: α of Σ_m α^(M - m) L_m over iterations.
        vertices: Gaussian likelihood of the vertices, weighted by the surface they stand for.
        uv_map: the same for the texels of the dense map.
        direct: plain mean distance of the vertices in percent of the crop, which large scales cannot excuse.
        depth: mean absolute error of depth in percent of the crop.
    """

    name: str = "gaussian"
    decay: float = 0.8
    vertices: float = 1.0
    uv_map: float = 0.3
    direct: float = 0.3
    depth: float = 0.1

    def __post_init__(self) -> None:
        if self.name != "gaussian":
            raise unknown_name("loss.name", self.name, ("gaussian",))
        if not 0 < self.decay <= 1:
            raise RecipeError(f"loss.decay={self.decay:g}; expected more than 0 and at most 1")

    def adjust(self, model: FlowFaceConfig) -> None:
        """Leave the model as it is: no loss changes its outputs."""
