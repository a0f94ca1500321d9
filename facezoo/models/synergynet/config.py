"""Configuration of SynergyNet; the same fields are the recipe's ``model`` section and config.json."""

from __future__ import annotations

from dataclasses import dataclass, field

from facezoo.checks import BLOCKS, POOLINGS, check_least, check_lengths, check_names
from facezoo.errors import RecipeError

COMPATS = ("clean", "official")
POSE = 12


@dataclass
class SynergyConfig:
    """What a :class:`~facezoo.models.synergynet.net.SynergyNet` is made of.

    Attributes:
        name: method name, always ``"synergynet"``.
        head: the 3DMM: any head with 68 landmarks.
        points: vertex subset that the data carries and that the dense error is measured on.
        shape_rank: shape codes; the paper has 40.
        expression_rank: expression codes; the paper has 10, which can neither close an eye nor a lip.
        jaw: the head's jaw joint is part of the expression (off for heads without one).
        whitening: file of ``python -m facezoo.models.synergynet whiten``; empty computes the same when training starts.
        backbone: ``"mobilenetv2"`` (the paper's), ``"nano"`` or any timm model name.
        pretrained: start a timm backbone from its published weights (training only, the one option that downloads).
        widths, depths, block: of ``nano``, see :class:`~facezoo.backbones.nano.NanoBackbone`.
        pooling: ``"avg"``, or ``"flatten"`` (1×1 convolution to ``neck_channels``, then all positions).
        neck_channels: channels kept by ``"flatten"``.
        features_from: a dense model (zoo name or folder) of the same backbone, whose features a training begins with.
        point_channels: width of the global feature of the two landmark networks.
        merge_channels: widths of the layers in which the refinement joins all its features.
        refinement, reverse, contour: whether the network refines its landmarks, reads parameters back from them, and
            marks the visible contour besides; a training sets all three by its loss.
        dropout: before the three linear layers.
        compat: ``"official"`` computes what the released code computes: channels in BGR order, y mirrored at 121 - y,
            batch norm and ReLU after the last layers of the two landmark networks. ``"clean"`` does not.
        border: pixels at the crop's border set to black (the released benchmark blanks 5).
        n_identity, n_expression: components of the head.
        crop_size: side of the input in pixels.
        crop_scale: side of the crop over the geometric mean of the tight box's sides.
        looks: crops that a face is read from: the second is cut around the landmarks of the first, so that a box
            need not be exact; a crop that would hardly move is not cut again.
        crop_padding: ``"zeros"`` or ``"edge"`` outside the photo.
        mean, std: input normalisation per channel; the default is the paper's (x - 127.5) / 128.
    """

    name: str = "synergynet"
    head: str = "open-v1"
    points: int = 1609
    shape_rank: int = 40
    expression_rank: int = 10
    jaw: bool = True
    whitening: str = ""
    backbone: str = "mobilenetv2"
    pretrained: bool = False
    widths: list[int] = field(default_factory=lambda: [32, 64, 128, 256])
    depths: list[int] = field(default_factory=lambda: [1, 2, 3, 2])
    block: str = "fused"
    pooling: str = "avg"
    neck_channels: int = 64
    features_from: str = ""
    point_channels: int = 1024
    merge_channels: list[int] = field(default_factory=lambda: [512, 256, 128])
    refinement: bool = True
    reverse: bool = True
    contour: bool = False
    dropout: float = 0.2
    compat: str = "clean"
    border: int = 0
    n_identity: int = 100
    n_expression: int = 49
    crop_size: int = 120
    crop_scale: float = 1.45
    looks: int = 1
    crop_padding: str = "edge"
    mean: list[float] = field(default_factory=lambda: [0.5, 0.5, 0.5])
    std: list[float] = field(default_factory=lambda: [128 / 255, 128 / 255, 128 / 255])

    def __post_init__(self) -> None:
        check_names("model", self, compat=COMPATS, block=BLOCKS, pooling=POOLINGS)
        check_least("model", self, shape_rank=1, expression_rank=1, looks=1)
        if not 0 <= self.border < self.crop_size / 2:
            raise RecipeError(
                f"model.border={self.border} leaves nothing of a crop of {self.crop_size} pixels"
            )
        if self.official and (self.contour or not self.refinement or not self.reverse):
            raise RecipeError("model.compat=official has refinement and reverse path, and no contour")
        check_lengths("model", self, "stage", "widths", "depths")

    @property
    def official(self) -> bool:
        """True if the released code's quirks are wanted."""
        return self.compat == "official"

    @property
    def sizes(self) -> list[int]:
        """Parameters of pose, shape and expression."""
        return [POSE, self.shape_rank, self.expression_rank]


@dataclass
class SynergyLossConfig:
    """Weights of the five losses; the recipe's ``loss`` section. The paper's are the defaults.

    Attributes:
        name: always ``"synergy"``.
        compat: the released code's index slip: reverse parameters 0-49 are compared with targets 12-61.
        landmarks: Wing loss of the landmarks of the predicted parameters.
        refined: Wing loss of the refined landmarks; 0 trains without the refinement.
        params: predicted against true parameters.
        reverse: shape and expression read back from the refined landmarks.
        consistency: read back against predicted parameters; with ``reverse`` 0 as well, there is no reverse path.
        contour: Wing loss of the 68 points in the markup of 2D datasets, which the refinement marks as well.
        dense: Wing loss of ``model.points`` projected vertices.
    """

    name: str = "synergy"
    compat: bool = False
    landmarks: float = 0.05
    refined: float = 0.05
    params: float = 0.02
    reverse: float = 0.02
    consistency: float = 0.001
    contour: float = 0.0
    dense: float = 0.0

    def __post_init__(self) -> None:
        check_names("loss", self, name=("synergy",))

    def adjust(self, model: SynergyConfig) -> None:
        """Leave out of the model what no loss trains."""
        model.refinement = bool(self.refined or self.contour)
        model.contour = bool(self.contour)
        model.reverse = bool(self.reverse or self.consistency)
