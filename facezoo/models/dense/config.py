"""Configuration of the dense-landmark method; the same fields are the recipe's ``model`` section and config.json."""

from __future__ import annotations

from dataclasses import dataclass, field

from facezoo.checks import BLOCKS, POOLINGS, check_lengths, check_names
from facezoo.errors import RecipeError

DECODERS = ("mlp", "linear", "spiral")
SCALES = ("exp", "sigmoid")
LIKELIHOODS = ("laplace", "gaussian", "rle", "rle-exp")


@dataclass
class DenseConfig:
    """What a :class:`~facezoo.models.dense.net.DenseNet` is made of.

    Attributes:
        name: method name, always ``"dense"``.
        head: head whose surface the landmarks lie on.
        points: number of dense landmarks; names the head's vertex subset.
        backbone: ``"nano"`` or any timm model name.
        pretrained: start a timm backbone from its published weights (training only, the one option that downloads).
        widths: channels of the four stages of ``nano``.
        depths: blocks in each stage of ``nano``.
        block: kind of block of ``nano``: ``"fused"`` or ``"basic"``.
        pooling: ``"flatten"`` (1×1 convolution to ``neck_channels``, then all positions) or ``"avg"``.
        neck_channels: channels kept by ``"flatten"``.
        decoder: ``"mlp"`` (low-rank), ``"linear"`` (one matrix) or ``"spiral"`` (SpiralNet++ on the decimated mesh).
        hidden: width of the layer before the ``mlp`` and ``spiral`` decoders; 0 for none (as for ``linear``).
        rank: bottleneck of the ``mlp`` decoder for coordinates.
        scale_rank: bottleneck of the ``mlp`` decoder for scales.
        spiral_channels: channels of the spiral decoder from the coarsest level to the finest.
        spiral_factors: decimation factors of the mesh from fine to coarse.
        spiral_length: neighbours of a spiral, the vertex included.
        scale: how a scale is made positive: ``"exp"`` or ``"sigmoid"``; a training sets it by its loss.
        scale_channels: 2 for one scale per coordinate, 1 for one per point.
        normalize_features: divide features by their norm before the ``linear`` coordinates (as RLE's released code).
        sigma_scale: factor that calibrates predicted scales on validation data; 1 means as trained.
        n_identity, n_expression: head parameters that are estimated.
        crop_size: side of the input in pixels.
        crop_scale: side of the crop over the geometric mean of the tight box's sides.
        crop_padding: ``"zeros"`` or ``"edge"`` outside the photo.
        mean, std: input normalisation per channel.
    """

    name: str = "dense"
    head: str = "open-v1"
    points: int = 1609
    backbone: str = "nano"
    pretrained: bool = False
    widths: list[int] = field(default_factory=lambda: [32, 64, 128, 256])
    depths: list[int] = field(default_factory=lambda: [1, 2, 3, 2])
    block: str = "fused"
    pooling: str = "flatten"
    neck_channels: int = 64
    decoder: str = "mlp"
    hidden: int = 512
    rank: int = 256
    scale_rank: int = 64
    spiral_channels: list[int] = field(default_factory=lambda: [64, 64, 32, 32])
    spiral_factors: list[int] = field(default_factory=lambda: [4, 4, 4])
    spiral_length: int = 9
    scale: str = "exp"
    scale_channels: int = 1
    normalize_features: bool = False
    sigma_scale: float = 1.0
    n_identity: int = 100
    n_expression: int = 52
    crop_size: int = 128
    crop_scale: float = 1.45
    crop_padding: str = "edge"
    mean: list[float] = field(default_factory=lambda: [0.485, 0.456, 0.406])
    std: list[float] = field(default_factory=lambda: [0.229, 0.224, 0.225])

    def __post_init__(self) -> None:
        check_names("model", self, decoder=DECODERS, pooling=POOLINGS, block=BLOCKS, scale=SCALES)
        if self.scale_channels not in (1, 2):
            raise RecipeError(
                f"model.scale_channels={self.scale_channels}; expected 1 (per point) or 2 (per coordinate)"
            )
        check_lengths("model", self, "stage", "widths", "depths")
        if len(self.spiral_channels) != len(self.spiral_factors) + 1:
            raise RecipeError(
                f"model.spiral_channels={self.spiral_channels} needs one entry more than model.spiral_factors="
                f"{self.spiral_factors}: one a mesh level"
            )


@dataclass
class DenseLossConfig:
    """Weights of the loss terms; the recipe's ``loss`` section.

    Attributes:
        name: likelihood of the points: ``"laplace"``, ``"gaussian"``, ``"rle"`` (σ by sigmoid) or ``"rle-exp"``.
        compat: for RLE: the released code's form, see :func:`facezoo.losses.rle.rle_loss`.
        dense: weight of the dense points.
        landmarks68: weight of the 68 points on the mesh.
        contour68: weight of the 68 points with visible contour.
        direct: weight of the plain mean distance in percent of the crop, which counts hard faces in full where a
            likelihood lets large scales excuse them.
        vertex_edge: weight of the vertex-edge loss in (percent of the crop)².
        identity, expression, jaw, rotation, placement: weights of the head estimate's parts.
    """

    name: str = "laplace"
    compat: bool = False
    dense: float = 1.0
    landmarks68: float = 1.0
    contour68: float = 0.5
    direct: float = 0.2
    vertex_edge: float = 0.0
    identity: float = 0.2
    expression: float = 0.2
    jaw: float = 0.05
    rotation: float = 1.0
    placement: float = 0.5

    def __post_init__(self) -> None:
        check_names("loss", self, name=LIKELIHOODS)

    def adjust(self, model: DenseConfig) -> None:
        """Make the model's scales what the likelihood is defined for: a sigmoid for ``"rle"``, else an exponential."""
        model.scale = "sigmoid" if self.name == "rle" else "exp"
