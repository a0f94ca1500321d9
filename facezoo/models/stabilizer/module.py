"""The stabilizer as a model of the zoo: network, mask and template of its head, loss, metrics, training data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from facezoo.errors import InputError
from facezoo.heads import HeadModel, load_head
from facezoo.mesh.spirals import spiral_indices
from facezoo.models.base import ZooModel
from facezoo.models.signature import NUMBER, Input, Signature
from facezoo.models.stabilizer.align import align_pair
from facezoo.models.stabilizer.config import PairConfig, StabilizerConfig, StabilizerLossConfig
from facezoo.models.stabilizer.criterion import PairCriterion, distances
from facezoo.models.stabilizer.data import PairData, PairMaker, check_pictures
from facezoo.models.stabilizer.net import UNIT, StabilizerNet, StabilizerOutput
from facezoo.models.stabilizer.pairs import AlignedBatch, PairSampler
from facezoo.models.stabilizer.regions import choose_mesh, choose_patches, choose_points, regions, trust
from facezoo.models.stabilizer.rigid import RigidTransform

if TYPE_CHECKING:
    from torchmetrics import Metric


class StabilizerModel(ZooModel):
    """Rigid transforms between the skulls of registered meshes (Bednarik et al. 2024).

    The checkpoint carries which vertices the network sees, and nothing of the head itself.

    Attributes:
        ids: (n,) vertices around which the points lie that the network sees.
        patches: (n, k) the vertices whose mean each point is.
        columns: (3, k, n) where their coordinates lie in a mesh of 3 V numbers.
        template: (n, 3) where the points lie in the mean head, metres.
        trust: (n,) their weights in the alignment.
        middle: (3,) the point that motions turn about.
    """

    config_class: ClassVar[type] = StabilizerConfig
    loss_class: ClassVar[type] = StabilizerLossConfig
    method: ClassVar[str] = "stabilizer"
    body: ClassVar[frozenset[str]] = frozenset({"head", "points", "region", "extractor"})
    units: ClassVar[Mapping[str, str]] = {"R": NUMBER, "t": "metres", "back_R": NUMBER, "back_t": "metres"}
    config: StabilizerConfig
    ids: Tensor
    patches: Tensor
    columns: Tensor
    template: Tensor
    trust: Tensor
    middle: Tensor

    def __init__(self, config: StabilizerConfig) -> None:
        """Build the untrained model of a head; its points come with the weights."""
        super().__init__(config)
        self.net = StabilizerNet(config)
        self.register_buffer("ids", torch.zeros(config.points, dtype=torch.long))
        for name, value in _tables(self.head, self.ids, config).items():
            self.register_buffer(name, value, persistent=False)
        self.register_load_state_dict_post_hook(_take_points)

    @property
    def head(self) -> HeadModel:
        """The head whose topology the meshes have, on the CPU; read once a process."""
        return load_head(self.config.head)

    @classmethod
    def for_training(cls, config: StabilizerConfig) -> StabilizerModel:
        """Build the untrained model and choose its points."""
        model = cls(config)
        if config.extractor == "spiral":
            ids, faces = choose_mesh(model.head, config.region, config.points)
            spirals = spiral_indices(model.head.v_template[ids].numpy(), faces, config.spiral_length)
            model.net.features.spirals.copy_(torch.from_numpy(spirals))
        else:
            ids = choose_points(model.head, config.region, config.points)
        model.ids.copy_(ids)
        _take_points(model)
        return model

    def signature(self) -> Signature:
        """Say that the network reads two aligned meshes, and of which vertices each point is the mean."""
        values = f"offsets of the aligned mesh from the head's mean, in {UNIT} metres"
        mesh = Input((self.config.points, 3), values)
        preprocessing = {
            "head": self.config.head,
            "vertices": self.patches.tolist(),
            "procrustes": self.config.procrustes,
        }
        return Signature({"target": mesh, "source": mesh}, self.units, preprocessing)

    def forward(self, target: Tensor, source: Tensor) -> StabilizerOutput:  # type: ignore[override]
        """Estimate the motions of aligned pairs, (B, n, 3) offsets from the template in :data:`~.net.UNIT`."""
        return self.net(target, source)

    def points(self, vertices: Tensor) -> Tensor:
        """Return the points (..., n, 3) that the network sees of whole meshes (..., V, 3); in memory (..., 3, n)."""
        near = vertices.flatten(-2).index_select(-1, self.columns.flatten().to(vertices.device))
        return near.unflatten(-1, self.columns.shape).mean(-2).to(self.template).mT

    @torch.no_grad()
    def between(self, source: Tensor, target: Tensor) -> RigidTransform:
        """Return the transforms (B) that bring the skulls of sources onto those of targets.

        Args:
            source: (B, n, 3) the :meth:`points` of registered meshes, metres.
            target: (B, n, 3) of the same person in other expressions.
        """
        config = self.config
        pair = align_pair(
            target,
            source,
            self.template,
            self.trust,
            procrustes=config.procrustes,
            symmetric=config.symmetric,
        )
        output = self(pair.target, pair.source)
        return pair.back(output.motion(self.middle, config.symmetric).to(torch.float64)).to(source.dtype)

    # -- training ----------------------------------------------------------------------------------------------------

    @classmethod
    def data_module(cls, recipe: Any, *, processes: int, planned: int) -> PairData:
        """Make pairs from the recipe's head."""
        check_pictures(recipe.trainer.image_every)
        return PairData(recipe.data, load_head(recipe.model.head))

    def augmentation(self, recipe: Any, *, training: bool = True) -> PairMaker:
        """Return what makes pairs of step numbers; validation differs by its steps alone."""
        return PairMaker(self.sampler(recipe.data, recipe.seed), self.template, self.trust, self.config)

    def sampler(self, config: PairConfig, seed: int) -> PairSampler:
        """Return a sampler of pairs of the points that the network sees."""
        return PairSampler(self.head, self.patches.cpu(), config, seed)

    def inputs(self, batch: AlignedBatch) -> tuple[Tensor, ...]:  # type: ignore[override]
        """Return both meshes of the pairs."""
        return batch.target, batch.source

    def criterion(self, weights: StabilizerLossConfig) -> PairCriterion:
        """Build the training loss."""
        return PairCriterion(weights, self.template, self.middle, self.config.symmetric)

    def metrics(self) -> dict[str, Metric]:
        """Return md, the mean distance in mm, on the upper face and on all points of the template."""
        from facezoo.metrics.distance import MeanDistance  # see base.py: predicting does without

        return {"md_upper_face": MeanDistance(), "md": MeanDistance()}

    def update_metrics(self, metrics: dict[str, Any], output: StabilizerOutput, batch: AlignedBatch) -> None:  # type: ignore[override]
        """Add a batch of held-out pairs."""
        motion = output.motion(self.middle, self.config.symmetric)
        apart = distances(motion, RigidTransform(batch.R, batch.t), self.template)
        upper = torch.isin(self.ids, regions(self.head).upper_face.to(self.ids.device))
        metrics["md_upper_face"].update(apart[:, upper])
        metrics["md"].update(apart)


def _tables(head: HeadModel, ids: Tensor, config: StabilizerConfig) -> dict[str, Tensor]:
    """Return what the head says about some of its vertices."""
    patches = choose_patches(head, config.region, ids, config.patch)
    template, weights = head.v_template[patches].mean(1), trust(head)[ids]
    return {
        "patches": patches,
        # Coordinates first, as the alignment and the network read them: three times as fast as rows of three.
        "columns": 3 * patches.mT + torch.arange(3)[:, None, None],
        "template": template,
        "trust": weights,
        "middle": (weights[:, None] * template).sum(0) / weights.sum(),
    }


def _take_points(model: nn.Module, *_: Any) -> None:
    """Gather the tables of the points that a model has been given."""
    assert isinstance(model, StabilizerModel)
    ids = model.ids.cpu()
    if int(ids.max()) >= model.head.n_vertices:
        raise InputError(
            f"the weights see vertex {int(ids.max())}, but head {model.config.head!r} has {model.head.n_vertices}"
        )
    for name, value in _tables(model.head, ids, model.config).items():
        setattr(model, name, value.to(model.ids.device))
