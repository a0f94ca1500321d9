"""What a head's codes mean: principal directions of its own population, measured where they move vertices.

Coefficients of a head have no common unit (a blink is a weight, the jaw an angle), so directions are compared by how
far they move the surface: with population covariance C and the mean square displacement G per coefficient product,
they are the eigenvectors of C½ G C½. The first codes then move the face most, and every code has unit variance.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from facezoo.errors import AssetError, InputError
from facezoo.heads import HeadModel, HeadParams, load_head
from facezoo.heads.file import read_arrays, write_arrays
from facezoo.models.synergynet.space import JAW, LANDMARKS, Modes

PEOPLE = 1000
_LEAST = 1e-6  # share of the largest eigenvalue below which a direction is rounding
_STEP = 1e-2  # radians, for the displacement by the jaw


def population(head: HeadModel, count: int = PEOPLE, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw people of a head: the calibrated sampler of the open head, the prior of any other.

    Returns:
        identity (count, n_id), and expression with jaw (count, n_exp + 3).
    """
    if "sex_chol" in head.extra:
        from facezoo.synth.people import (
            sample_person,  # the renderer's room, which loading a model does without
        )

        rng = np.random.default_rng([seed, 11])
        people = [sample_person(rng, head, ("male", "female")[i % 2]) for i in range(count)]
        identity = np.stack([p.identity for p in people])
        moves = np.stack([np.concatenate([p.expression, p.jaw]) for p in people])
        return torch.from_numpy(identity).double(), torch.from_numpy(moves).double()
    draw = torch.Generator().manual_seed(seed)

    def normal(role: str) -> Tensor:
        spec = head.params[role]
        values = torch.randn(count, spec.size, generator=draw, dtype=torch.float64)
        if spec.bounds is not None:
            low, high = spec.bounds.double().unbind(1)
            return torch.rand(values.shape, generator=draw, dtype=torch.float64) * (high - low) + low
        return values * spec.sigma.double()

    return normal("identity"), torch.cat([normal("expression"), normal("jaw")], 1)


def population_modes(
    head: HeadModel, *, jaw: bool = True, count: int = PEOPLE, seed: int = 0
) -> tuple[Modes, Modes]:
    """Return all directions of shape and of expression, those that move the face most first.

    Args:
        head: any head.
        jaw: the jaw joint belongs to the expression.
        count: people drawn.
        seed: of the draw.
    """
    identity, moves = population(head, count, seed)
    if not jaw:
        moves[:, -JAW:] = 0
    region = _region(head)
    directions = head.shapedirs[region].double()
    shape, expression = directions.split([head.n_identity, head.n_expression], 2)
    moving = torch.cat([expression, _jaw_motion(head, region)], 2)
    return _modes(identity, shape), _modes(moves, moving)


def save_modes(path: str | Path, head: HeadModel, shape: Modes, expression: Modes) -> None:
    """Write directions as safetensors."""
    arrays = {
        f"{name}.{part}": value.float().numpy()
        for name, modes in (("shape", shape), ("expression", expression))
        for part, value in modes._asdict().items()
    }
    write_arrays(path, arrays, {"kind": "synergynet-whitening", "head_id": head.head_id})


def load_modes(path: str | Path, head: HeadModel) -> tuple[Modes, Modes]:
    """Read what :func:`save_modes` wrote.

    Raises:
        AssetError: missing, damaged, or of another head.
    """
    arrays, meta = read_arrays(path)
    if meta.get("kind") != "synergynet-whitening" or meta.get("head_id") != head.head_id:
        raise AssetError(
            f"{path} is no whitening of head {head.head_id!r} but {meta.get('kind')!r} of {meta.get('head_id')!r}; "
            f"write one with python -m facezoo.models.synergynet whiten head={head.head_id} out={path}"
        )
    try:
        shape, expression = (
            Modes(*(torch.from_numpy(np.array(arrays[f"{name}.{part}"])).float() for part in Modes._fields))
            for name in ("shape", "expression")
        )
    except KeyError as error:
        raise AssetError(f"{path} lacks {error}; write it again") from error
    return shape, expression


def modes_for(head_name: str, path: str = "", *, jaw: bool = True) -> tuple[Modes, Modes]:
    """Return the directions in ``path``, or measure them if it is empty."""
    head = load_head(head_name)
    return load_modes(path, head) if path else population_modes(head, jaw=jaw)


def explained(modes: Modes, head: HeadModel, ranks: list[int], *, shape: bool) -> dict[int, float]:
    """Return rank -> root mean square distance, mm, that the directions behind it would have moved the face."""
    region = _region(head)
    directions = head.shapedirs[region].double()
    part = directions[..., : head.n_identity] if shape else directions[..., head.n_identity :]
    if not shape:
        part = torch.cat([part, _jaw_motion(head, region)], 2)
    moved = torch.einsum("vcn,nk->vck", part, modes.decode.double())
    energy = moved.square().sum(1).mean(0)  # per code, unit variance
    return {rank: 1000 * float(energy[rank:].sum().sqrt()) for rank in ranks}


def _region(head: HeadModel) -> Tensor:
    """Return the vertices that count: the face subset of the open head and FLAME, else whatever the landmarks touch."""
    faces = [n for n in head.topology.subsets if n < head.n_vertices // 2]
    if faces:
        return head.topology.subset(max(faces))
    return head.topology.landmark_vertices(LANDMARKS)[0]


def _jaw_motion(head: HeadModel, region: Tensor) -> Tensor:
    """Return the displacement (V', 3, 3) per radian about each axis of the jaw."""
    step = _STEP * torch.eye(3)
    moved = head(HeadParams(jaw=torch.cat([step, -step])), vertices=region).vertices.double()
    return ((moved[:3] - moved[3:]) / (2 * _STEP)).permute(1, 2, 0)


def _modes(values: Tensor, directions: Tensor) -> Modes:
    """Find directions of values (N, n) that move points by ``directions`` (V, 3, n)."""
    if len(values) < 2:
        raise InputError(f"a population of {len(values)} people has no spread; draw at least 2")
    mean = values.mean(0)
    size = values.shape[1]
    if size == 0:
        return Modes(mean.float(), torch.zeros(0, 0), torch.zeros(0, 0))
    root, inverse = _root((values - mean).mT @ (values - mean) / (len(values) - 1))
    flat = directions.flatten(0, 1)
    energy, turn = torch.linalg.eigh(root @ (flat.mT @ flat) @ root)
    keep = energy.flip(0) > _LEAST * energy[-1].clamp_min(1e-30)
    turn = turn.flip(1)[:, keep]
    turn = turn * torch.where(
        turn.abs().amax(0) == turn.amax(0), 1.0, -1.0
    )  # a sign that every machine agrees on
    return Modes(mean.float(), (root @ turn).float(), (turn.mT @ inverse).float())


def _root(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Return the symmetric square root and its pseudo-inverse; coefficients that never move stay out of both."""
    values, vectors = torch.linalg.eigh(covariance)
    good = values > _LEAST * values[-1].clamp_min(1e-30)
    root = torch.where(good, values.clamp_min(0).sqrt(), 0.0)
    inverse = torch.where(good, 1 / root.clamp_min(1e-12), 0.0)
    return (vectors * root) @ vectors.mT, (vectors * inverse) @ vectors.mT
