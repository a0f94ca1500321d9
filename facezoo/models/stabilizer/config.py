"""Configuration of the stabilizer: the recipe's ``model``, ``loss`` and ``data`` sections."""

from __future__ import annotations

from dataclasses import dataclass, field

from facezoo.checks import check_least, check_lengths, check_names
from facezoo.errors import RecipeError

EXTRACTORS = ("mlp", "spiral")
REGIONS = ("full_head", "face", "upper_face", "all")


@dataclass
class StabilizerConfig:
    """What a :class:`~facezoo.models.stabilizer.module.StabilizerModel` is made of.

    Attributes:
        name: method name, always ``"stabilizer"``.
        head: head whose topology the meshes have; mask, template and vertex count come from it.
        points: vertices of the mask that the network sees.
        patch: vertices that each of these points is the mean of, the nearest in the template: noise averages out.
        region: where the points lie: ``"full_head"`` (the mask: face, cranium, ears), ``"face"``, ``"upper_face"`` or
            ``"all"`` (no mask: neck, eyeballs and the inside of the mouth as well).
        procrustes: align the target to the template and the source to the target before the network sees them.
        extractor: ``"mlp"`` on flattened points or ``"spiral"``, a spiral graph network on the decimated mesh.
        linear: features of each mesh that are linear in its points; 0 for none.
        widths: widths of the shared feature extractor's layers.
        hidden: widths of the regressor's layers.
        spiral_channels: channels of the spiral layers, before the extractor's last width.
        spiral_length: neighbours of a spiral, the vertex included.
        symmetric: predict the midpoint of the transform and the inverse of the reverse one.
    """

    name: str = "stabilizer"
    head: str = "open-v1"
    points: int = 720
    patch: int = 4
    region: str = "full_head"
    procrustes: bool = True
    extractor: str = "mlp"
    linear: int = 32
    widths: list[int] = field(default_factory=lambda: [96, 64])
    hidden: list[int] = field(default_factory=lambda: [64, 32])
    spiral_channels: list[int] = field(default_factory=lambda: [16, 16])
    spiral_length: int = 9
    symmetric: bool = True

    def __post_init__(self) -> None:
        check_names("model", self, extractor=EXTRACTORS, region=REGIONS)
        check_least("model", self, points=16, patch=1)
        if not self.widths or not self.hidden:
            raise RecipeError("model.widths and model.hidden need at least one entry each")


@dataclass
class StabilizerLossConfig:
    """Weights of the loss terms; the recipe's ``loss`` section.

    Attributes:
        name: always ``"distance"``.
        distance: weight of the mean distance of the points, mm.
        angle: weight of the angle between the rotations, degrees.
    """

    name: str = "distance"
    distance: float = 1.0
    angle: float = 0.1

    def __post_init__(self) -> None:
        check_names("loss", self, name=("distance",))

    def adjust(self, model: StabilizerConfig) -> None:
        """Change nothing: no part of the model depends on the loss."""


@dataclass
class PairConfig:
    """The recipe's ``data`` section: pairs of meshes made on the fly.

    Attributes:
        source: always ``"pairs"``.
        batch_size: pairs a step.
        limit: distinct pairs; 0 makes new ones in every step.
        validation: held-out pairs, of people who are in no training batch.
        start: pairs that the linear part is fitted to before the first step; 0 leaves it out.
        pool: expressions drawn from the head's own statistics, which the samplers combine.
        usual, asymmetric, sparse, extreme: shares of the kinds of expressions.
        neck: largest turns of the neck about x, y and z, degrees.
        noise: root mean square of the smooth noise at each width, mm.
        widths: widths of the smooth noise, mm.
        layouts: layouts of the smooth noise, of which every mesh batch has one; tests have one that no training has.
        white: root mean square of the noise of single vertices, mm.
        hair: factor of the noise on scalp and cranium, which hair hides from scanners; ears get half as much more.
        drift: standard deviation of the scale.
        mirror, swap: probabilities that a pair is mirrored, that source and target change places.
    """

    source: str = "pairs"
    batch_size: int = 256
    limit: int = 0
    validation: int = 1024
    start: int = 40960
    pool: int = 2048
    usual: float = 0.45
    asymmetric: float = 0.25
    sparse: float = 0.15
    extreme: float = 0.15
    neck: list[float] = field(default_factory=lambda: [20.0, 30.0, 15.0])
    noise: list[float] = field(default_factory=lambda: [0.3, 0.3, 0.2])
    widths: list[float] = field(default_factory=lambda: [50.0, 25.0, 12.0])
    layouts: int = 1
    white: float = 0.1
    hair: float = 3.0
    drift: float = 0.003
    mirror: float = 0.5
    swap: float = 0.5

    def __post_init__(self) -> None:
        check_names("data", self, source=("pairs",))
        check_least("data", self, batch_size=1, limit=0, validation=1, start=0, layouts=1, pool=2)
        if self.limit and self.limit < self.batch_size:
            raise RecipeError(
                f"data.limit={self.limit} is less than one batch of data.batch_size={self.batch_size}"
            )
        check_lengths("data", self, "scale", "noise", "widths")
        if len(self.neck) != 3:
            raise RecipeError(f"data.neck={self.neck}; expected three angles in degrees")
        if min(self.shares) < 0 or sum(self.shares) <= 0:
            raise RecipeError("data.usual, asymmetric, sparse and extreme must be shares, not all zero")

    @property
    def shares(self) -> tuple[float, ...]:
        """Weights of the kinds, in the order of :data:`facezoo.models.stabilizer.people.KINDS`."""
        return (self.usual, self.asymmetric, self.sparse, self.extreme)
