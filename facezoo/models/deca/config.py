"""Configuration of DECA; the same fields are the recipe's ``model`` and ``loss`` sections and config.json."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from facezoo.checks import BLOCKS, POOLINGS, check_least, check_names
from facezoo.errors import RecipeError

COMPATS = ("clean", "official")
POSE, CAMERA, LIGHT = 6, 3, 27


@dataclass
class DecaConfig:
    """What a :class:`~facezoo.models.deca.net.DecaNet` is made of; the defaults are the paper's on the open head.

    Attributes:
        name: method name, always ``"deca"``.
        head: any head with 68 landmarks; ``"flame2020"`` for the released weights.
        texture: albedo space of :func:`facezoo.heads.texture.load_texture`, in the head's texture layout.
        points: vertex subset that the data carries and that the point loss and the dense error are measured on.
        n_identity, n_albedo, n_expression: codes of shape, albedo and expression; the paper has 100, 50 and FLAME's 50.
        backbone: of both encoders: ``"resnet50"`` (the paper's), ``"nano"`` or any timm model name.
        pretrained: start a timm backbone from its published weights (training only, the one option that downloads).
        widths, depths, block: of ``nano``, see :class:`~facezoo.backbones.nano.NanoBackbone`.
        pooling: ``"avg"``, or ``"flatten"`` (1×1 convolution to ``neck_channels``, then all positions).
        neck_channels: channels kept by ``"flatten"``.
        features_from: a dense model (zoo name or folder) of the same backbone, whose features a training begins with.
        hidden: width of the layer between pooled features and codes.
        detail: length of the detail code; 0 builds the coarse model only.
        detail_widths, detail_depths: of the detail encoder, which may have fewer stages; empty for the same.
        detail_neck: its ``neck_channels``; 0 for the same.
        detail_features_from: like ``features_from``, for the detail encoder's stages; it holds with ``init=NAME`` as
            well.
        detail_channels: channels of the detail decoder from its 8×8 start; each entry after the first doubles the side.
        detail_rank: principal reliefs of :class:`~facezoo.models.deca.relief_model.ReliefModel`, which needs data with
            true relief; 0 is the paper's decoder.
        max_displacement: largest displacement along the normal, metres.
        compat: ``"official"`` computes what the released code computes, slips included (see ``docs/deca.md``).
        crop_size: side of the input in pixels.
        crop_scale: side of the crop over the geometric mean of the tight box's sides.
        crop_padding: ``"zeros"`` or ``"edge"`` outside the photo.
        mean, std: input normalisation per channel; the paper has none.
    """

    name: str = "deca"
    head: str = "open-v1"
    texture: str = "open-v1"
    points: int = 1609
    n_identity: int = 100
    n_albedo: int = 50
    n_expression: int = 49
    backbone: str = "resnet50"
    pretrained: bool = False
    widths: list[int] = field(default_factory=lambda: [32, 64, 128, 256])
    depths: list[int] = field(default_factory=lambda: [1, 2, 3, 2])
    block: str = "fused"
    pooling: str = "avg"
    neck_channels: int = 64
    features_from: str = ""
    hidden: int = 1024
    detail: int = 128
    detail_widths: list[int] = field(default_factory=list)
    detail_depths: list[int] = field(default_factory=list)
    detail_neck: int = 0
    detail_features_from: str = ""
    detail_channels: list[int] = field(default_factory=lambda: [128, 128, 64, 64, 32, 16])
    detail_rank: int = 0
    max_displacement: float = 0.01
    compat: str = "clean"
    crop_size: int = 224
    crop_scale: float = 1.375
    crop_padding: str = "zeros"
    mean: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    std: list[float] = field(default_factory=lambda: [1.0, 1.0, 1.0])

    def __post_init__(self) -> None:
        check_names("model", self, compat=COMPATS, block=BLOCKS, pooling=POOLINGS)
        if self.detail < 0 or self.max_displacement <= 0:
            raise RecipeError(
                f"model.detail={self.detail} must be 0 or more, model.max_displacement="
                f"{self.max_displacement:g} positive"
            )
        if len(self.detail_channels) < 2:
            raise RecipeError(f"model.detail_channels={self.detail_channels} needs at least two entries")
        check_least("model", self, detail_rank=0)
        for which in ("", "detail_"):
            widths = getattr(self, f"{which}widths") or self.widths
            depths = getattr(self, f"{which}depths") or self.depths
            if len(widths) != len(depths):
                raise RecipeError(
                    f"model.{which}widths={widths} and model.{which}depths={depths} need one entry a stage each"
                )

    @property
    def official(self) -> bool:
        """True if the released code's slips are wanted."""
        return self.compat == "official"

    @property
    def sizes(self) -> list[int]:
        """Lengths of the codes in the order of :class:`~facezoo.models.deca.codes.DecaCodes`."""
        return [self.n_identity, self.n_albedo, self.n_expression, POSE, CAMERA, LIGHT]

    @property
    def of_detail(self) -> DecaConfig:
        """The configuration that the detail encoder is built from."""
        return replace(
            self,
            widths=self.detail_widths or self.widths,
            depths=self.detail_depths or self.depths,
            neck_channels=self.detail_neck or self.neck_channels,
            detail=0,
        )

    @property
    def detail_size(self) -> int:
        """Side of the displacement map in texels."""
        return 8 * 2 ** (len(self.detail_channels) - 1)

    @property
    def rank(self) -> int:
        """Principal components that a training starts from: of the relief; codes need none."""
        return self.detail_rank


LOSSES = ("coarse", "detail")


@dataclass
class DecaLossConfig:
    """Weights of all terms; the recipe's ``loss`` section. A term of weight 0 is not computed.

    Attributes:
        name: ``"coarse"`` trains the coarse encoder, ``"detail"`` the detail networks (freeze ``coarse`` then).
        label_shape, label_expression, label_jaw, label_rotation: codes against labels; synthetic people have them.
        points: dense points of the data.
        landmarks, eyes, lips: 68 points, opening of lids, opening of lips.
        pixels: colours on the visible skin.
        identity: features of a recognition network, which ``judge`` names and ``judge_weights`` holds.
        size_shape, size_expression, size_albedo: squared codes.
        light: colour of the light.
        label_displacement, label_slopes: displacement in millimetres and its slopes against the true relief, where the
            data has it.
        detail_pixels, detail_style, detail_symmetry, detail_size, detail_smooth: colours in texture space, ID-MRF
            (with ``style_weights``), symmetry of unseen skin, size in units of the largest displacement, smoothness of
            shading.
        pictures: pictures of one person side by side in a batch (``data.pictures``); 2 or more exchange their shape or
            detail codes.
        picture_size: side of painted pictures in pixels; 0 is the crop's.
        painted: samples of a batch that are painted, in the detail stage in texture space; 0 for all.
        judge: timm name of the recognition network.
        judge_weights, style_weights: ``"pretrained"`` (downloads), a safetensors file, or empty where the term is 0.
    """

    name: str = "coarse"
    label_shape: float = 0.0
    label_expression: float = 0.0
    label_jaw: float = 0.0
    label_rotation: float = 0.0
    points: float = 0.0
    landmarks: float = 1.0
    eyes: float = 1.0
    lips: float = 0.5
    pixels: float = 2.0
    identity: float = 0.0
    size_shape: float = 1e-4
    size_expression: float = 1e-4
    size_albedo: float = 1e-4
    light: float = 1.0
    label_displacement: float = 0.0
    label_slopes: float = 0.0
    detail_pixels: float = 2.0
    detail_style: float = 0.0
    detail_symmetry: float = 0.005
    detail_size: float = 0.005
    detail_smooth: float = 0.005
    pictures: int = 1
    picture_size: int = 0
    painted: int = 0
    judge: str = "resnet50"
    judge_weights: str = ""
    style_weights: str = ""

    def __post_init__(self) -> None:
        check_names("loss", self, name=LOSSES)
        for term, weight, file, path in (
            ("identity", self.identity, "judge_weights", self.judge_weights),
            ("detail_style", self.detail_style, "style_weights", self.style_weights),
        ):
            if weight and not path:
                raise RecipeError(
                    f"loss.{term}={weight:g} needs loss.{file}=FILE (or =pretrained to download); "
                    f"loss.{term}=0 does without"
                )
        check_least("loss", self, pictures=1, picture_size=0, painted=0)

    def adjust(self, model: DecaConfig) -> None:
        """Refuse the detail stage of a model without detail networks.

        Raises:
            RecipeError: it has none.
        """
        if self.name == "detail" and not model.detail:
            raise RecipeError("loss=detail needs model.detail above 0, e.g. model.detail=128")
