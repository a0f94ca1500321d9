"""Configuration of FlowFace; the same fields are the recipe's ``model`` section and config.json."""

from __future__ import annotations

from dataclasses import dataclass, field

from facezoo.checks import BLOCKS, check_least, check_lengths, check_names
from facezoo.errors import RecipeError

CONTEXTS = ("flatten", "average", "none")
GUESSES = ("low-rank", "mean")


@dataclass
class FlowFaceConfig:
    """What a :class:`~facezoo.models.flowface.net.FlowFaceNet` is made of.

    The defaults are this project's. The paper's (as far as it is known): ``backbone=segformer:b5``, ``crop_size=512``,
    ``features=128``, ``iterations=3``, and neither of our additions: ``image_context=none``, ``first_guess=mean``.

    Attributes:
        name: method name, always ``"flowface"``.
        head: head whose vertices are found.
        points: vertex subset that the data carries; the network finds all vertices.
        backbone: ``"nano"``, ``"segformer:b0"`` ... ``"segformer:b5"`` (needs the extra ``segformer``), or any timm
            model with a feature pyramid.
        pretrained: start a timm or SegFormer backbone from its published weights (training only, it downloads).
        widths, depths, block: of ``nano``, see :class:`~facezoo.backbones.nano.NanoBackbone`.
        features_from: a dense model (zoo name or folder) of the same ``nano``, whose backbone a training begins with,
            and whose ``neck``, if there is one here.
        fusion: channels each pyramid level is brought to before they are joined.
        stride: pixels a side of a feature, 4 (the paper), 8 (RAFT) or 16.
        features: channels that UV and image features are compared in.
        uv_size: side of the UV grid that is iterated on.
        uv_factor: convex upsampling of the result.
        uv_levels: resolutions of the UV embedding, halving from ``uv_size``, summed.
        levels, radius: correlation pyramid and half its window.
        hidden: channels of the recurrent unit's state and of its context.
        motion: channels of the motion features.
        iterations: updates.
        image_context: what the recurrent unit knows of the whole picture beside the UV embedding: ``"none"`` (the
            paper), ``"average"`` (of the last feature map) or ``"flatten"`` (all its cells, so where things are too).
        first_guess: where the updates start: ``"mean"``, the mean map (the paper), or ``"low-rank"``, a
            combination of the population's principal directions that is read off the last feature map.
        rank: directions of the guess.
        neck_channels: channels that the last feature map is reduced to before it is flattened.
        neck: size of the vector that the flattened map becomes.
        local_features: show the recurrent unit the picture's features where the map points, and where the correlations
            of the whole picture lie on average; add what each texel reads from the features itself, see
            :class:`~facezoo.models.flowface.texel_reader.TexelReader` (the paper has correlations alone).
        normalize: normalise context and motion features in front of the recurrent unit (RAFT does not).
        depth: also find each vertex's depth, so that a mesh comes out without fitting.
        sigma_scale: factor that calibrates predicted scales on validation data; 1 means as trained.
        n_identity, n_expression: components of the head; they follow the data.
        crop_size: side of the input in pixels.
        crop_scale: side of the crop over the geometric mean of the tight box's sides. At 1.5 the whole face is inside
            and a tenth of the head is not, mostly neck and scalp; their places are found all the same.
        crop_padding: ``"zeros"`` or ``"edge"`` outside the photo.
        mean, std: input normalisation per channel.
    """

    name: str = "flowface"
    head: str = "open-v1"
    points: int = 1609
    backbone: str = "nano"
    pretrained: bool = False
    widths: list[int] = field(default_factory=lambda: [32, 64, 128, 256])
    depths: list[int] = field(default_factory=lambda: [1, 2, 3, 2])
    block: str = "fused"
    features_from: str = ""
    fusion: int = 64
    stride: int = 8
    features: int = 64
    uv_size: int = 16
    uv_factor: int = 2
    uv_levels: int = 3
    levels: int = 3
    radius: int = 3
    hidden: int = 32
    motion: int = 32
    iterations: int = 2
    image_context: str = "flatten"
    first_guess: str = "low-rank"
    rank: int = 128
    neck_channels: int = 64
    neck: int = 512
    local_features: bool = True
    normalize: bool = True
    depth: bool = True
    sigma_scale: float = 1.0
    n_identity: int = 100
    n_expression: int = 49
    crop_size: int = 128
    crop_scale: float = 1.5
    crop_padding: str = "edge"
    mean: list[float] = field(default_factory=lambda: [0.485, 0.456, 0.406])
    std: list[float] = field(default_factory=lambda: [0.229, 0.224, 0.225])

    def __post_init__(self) -> None:
        check_names("model", self, block=BLOCKS, image_context=CONTEXTS, first_guess=GUESSES)
        check_least("model", self, rank=1, neck_channels=1, neck=1, iterations=1, features=1, hidden=1)
        check_least("model", self, levels=1, radius=1, uv_levels=1, uv_factor=1)
        if self.stride not in (4, 8, 16):
            raise RecipeError(f"model.stride={self.stride}; expected 4, 8 or 16")
        if self.uv_size % 2 ** (self.uv_levels - 1):
            raise RecipeError(
                f"model.uv_size={self.uv_size} cannot be halved {self.uv_levels - 1} times (model.uv_levels)"
            )
        if self.crop_size % 32 or self.crop_size // self.stride < 2**self.levels:
            least = self.stride * 2**self.levels
            raise RecipeError(
                f"model.crop_size={self.crop_size} must be a multiple of 32 and at least {least} for "
                f"model.levels={self.levels}"
            )
        check_lengths("model", self, "stage", "widths", "depths")
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
        vertices: Gaussian likelihood of the vertices, see ``face`` for their weights.
        uv_map: the same for the texels of the dense map.
        direct: plain mean distance of the vertices in percent of the crop, which large scales cannot excuse.
        depth: mean absolute error of depth in percent of the crop.
        face: share of the vertices' weight that goes evenly to the face's subset; the rest goes by surface, as in the
            paper, where the scalp's few large triangles count more than all lips and eyes.
        guess: mean distance of the first guess in percent of the crop, depth included.
        match: cross entropy of the correlations, read as a distribution over the picture, with each texel's true place.
    """

    name: str = "gaussian"
    decay: float = 0.8
    vertices: float = 1.0
    uv_map: float = 0.3
    direct: float = 0.3
    depth: float = 0.1
    face: float = 0.5
    guess: float = 1.0
    match: float = 1.0

    def __post_init__(self) -> None:
        check_names("loss", self, name=("gaussian",))
        if not 0 < self.decay <= 1:
            raise RecipeError(f"loss.decay={self.decay:g}; expected more than 0 and at most 1")
        if not 0 <= self.face < 1:
            raise RecipeError(f"loss.face={self.face:g}; expected at least 0 and less than 1")

    def adjust(self, model: FlowFaceConfig) -> None:
        """Leave the model as it is: no loss changes its outputs."""
