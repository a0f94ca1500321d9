"""Stabilizers and sequences for tests: small, untrained, of the open head."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch

from facezoo.heads import HeadModel, HeadParams, load_head
from facezoo.mesh.io.sequence import MeshSequence
from facezoo.mesh.mesh import Mesh
from facezoo.models.stabilizer import PairConfig, RigidTransform, StabilizerConfig
from facezoo.models.stabilizer.pairs import PairSampler
from facezoo.models.stabilizer.predict import SkullStabilizer
from facezoo.models.stabilizer.regions import choose_points

SMALL = StabilizerConfig(points=64, linear=16, widths=[32], hidden=[16])
FEW = PairConfig(batch_size=16, pool=32, validation=16)


@functools.cache
def head() -> HeadModel:
    return load_head()


@functools.cache
def sampler() -> PairSampler:
    return PairSampler(head(), choose_points(head(), "full_head", 400), FEW)


def wild_model(config: StabilizerConfig = SMALL, seed: int = 0) -> SkullStabilizer:
    """Return a model with large random weights: what holds for it holds whatever is learned."""
    torch.manual_seed(seed)
    model = SkullStabilizer.for_training(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.08)
    return model.eval()  # type: ignore[return-value]


def moves(count: int, seed: int = 0) -> RigidTransform:
    """Return motions (count) of up to half a radian and 20 cm."""
    rng = np.random.default_rng(seed)
    twist = np.concatenate([rng.uniform(-0.3, 0.3, (count, 3)), rng.uniform(-0.2, 0.2, (count, 3))], 1)
    return RigidTransform.exp(torch.from_numpy(twist).float())


def performance(count: int = 12) -> tuple[MeshSequence, RigidTransform]:
    """Return one person who talks, blinks and sways, and where the skull was in each frame."""
    model, time = head(), torch.linspace(0, 1, count)
    names = model.params["expression"].names
    expression = torch.zeros(count, len(names))
    for name, phase in (
        ("mouthSmileLeft", 0.0),
        ("browInnerUp", 1.0),
        ("eyeBlinkRight", 2.0),
        ("mouthPucker", 3.0),
    ):
        expression[:, names.index(name)] = 0.5 + 0.5 * torch.sin(2 * math.pi * time + phase)
    jaw = torch.stack([0.15 * (1 - torch.cos(4 * math.pi * time)), torch.zeros(count), torch.zeros(count)], 1)
    out = model(HeadParams(expression=expression, jaw=jaw))
    sway = torch.stack(
        [0.1 * torch.sin(2 * math.pi * time), 0.2 * torch.cos(2 * math.pi * time), 0 * time], 1
    )
    motion = RigidTransform.exp(torch.cat([sway, 0.02 * sway], 1))
    vertices = motion.apply(out.vertices).numpy()
    mesh = Mesh(vertices=vertices[0], faces=model.topology.faces.numpy())
    return MeshSequence(tuple(f"frame{i}" for i in range(count)), vertices, mesh), motion
