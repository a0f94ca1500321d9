"""What goes into a fit of many frames and views, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from facezoo.errors import InputError
from facezoo.geometry.camera import Camera
from facezoo.heads.model import HeadModel
from facezoo.heads.params import HeadParams


class SequenceState(NamedTuple):
    """All unknowns of T frames and C cameras; N points, n_id and n_e coefficients.

    Attributes:
        identity: (n_id,), one for all frames.
        moves: (T, n_e + 3) expression and jaw (axis-angle), or (T, n_e + 9) with the left and the right eye's.
        R, t: (T, 3, 3) and (T, 3), head to world; without extrinsics the world is the first camera.
        log_focal: (C,) logarithm of the factor on each camera's focal length.
        camera_R, camera_t: (C, 3, 3) and (C, 3), world to camera.
        offsets: (N, 3) metres, displacement of each observed vertex of the neutral head.
    """

    identity: Tensor
    moves: Tensor
    R: Tensor
    t: Tensor
    log_focal: Tensor
    camera_R: Tensor
    camera_t: Tensor
    offsets: Tensor


@dataclass(frozen=True)
class Motion:
    """Temporal term: accelerations of vertices are Gaussian.

    cost = ½ weight Σ_t mean_v |fps² (v_{t-1} - 2 v_t + v_{t+1})|² / sigma², over frames of one segment.

    Attributes:
        sigma: standard deviation of an acceleration, m/s². Lips in speech and blinks reach a few m/s².
        weight: how many independent points a face counts for.
        fps: frames a second.
        points: vertices it is measured on.
        gaze_sigma: standard deviation of an eye's angular acceleration where gaze is fitted, rad/s². A glance of 10° in
            50 ms reaches 300.
    """

    sigma: float = 2.0
    weight: float = 100.0
    fps: float = 30.0
    points: int = 100
    gaze_sigma: float = 150.0

    def __post_init__(self) -> None:
        if not (
            self.sigma > 0 and self.weight >= 0 and self.fps > 0 and self.points >= 3 and self.gaze_sigma > 0
        ):
            raise InputError(
                f"Motion needs sigma, gaze_sigma, fps > 0, weight >= 0 and points >= 3, got {self}."
            )


@dataclass(frozen=True)
class Deformation:
    """Static displacement of every observed vertex on top of the head's identity.

    cost = ½ Σ |d|² / sigma² + ½ Σ |d - mean of neighbours|² / smooth²

    Attributes:
        sigma: standard deviation of a displacement, metres.
        smooth: standard deviation of its difference from its neighbours' mean, metres.
    """

    sigma: float = 3e-3
    smooth: float = 3e-4

    def __post_init__(self) -> None:
        if not (self.sigma > 0 and self.smooth > 0):
            raise InputError(f"Deformation needs positive widths in metres, got {self}.")


@dataclass(frozen=True)
class NeutralPrior:
    """Prior of the neutral shape from an identity regressor (MICA's role, Zielonka et al. 2022).

    cost = ½ weight mean_v |neutral vertex - given|² / sigma²

    Attributes:
        vertices: (N, 3) metres, head frame, in the order of the observed vertices.
        sigma: standard deviation of a vertex, metres.
        weight: how many independent points the regressor's shape counts for.
    """

    vertices: Tensor
    sigma: float = 2e-3
    weight: float = 50.0

    @classmethod
    def from_identity(
        cls,
        head: HeadModel,
        identity: Tensor,
        vertex_ids: Tensor,
        *,
        confidence: Tensor | None = None,
        sigma: float = 2e-3,
        weight: float = 50.0,
    ) -> NeutralPrior:
        """Build the prior from identity coefficients, e.g. those that a network predicted on the sharpest frames.

        Args:
            head: whose coefficients they are. It may have another basis than the fitted head, but needs its vertices.
            identity: (n,) coefficients, or (k, n) of several pictures of the person, which are averaged.
            vertex_ids: (N,) observed vertices.
            confidence: (k,) how much each picture counts; default all the same.
            sigma: standard deviation of a vertex, metres.
            weight: how many independent points the shape counts for.

        Raises:
            InputError: shapes or numbers make no sense.
        """
        rows = identity.detach().double().reshape(-1, identity.shape[-1])
        trust = torch.ones(len(rows)).double() if confidence is None else confidence.detach().double()
        if (
            identity.dim() not in (1, 2)
            or trust.shape != (len(rows),)
            or not bool(torch.isfinite(rows).all())
        ):
            raise InputError(
                f"identity must be finite, (n,) or (k, n), and confidence (k,); got {tuple(identity.shape)} and "
                f"{tuple(trust.shape)}."
            )
        if bool((trust < 0).any()) or not float(trust.sum()) > 0:
            raise InputError("confidence must not be negative, and one of its numbers positive.")
        mean = (trust[:, None].to(rows) * rows).sum(0) / trust.sum()
        params = HeadParams(identity=mean[None].to(head.v_template))
        return cls(head(params, vertex_ids.to(head.v_template.device)).vertices[0].detach(), sigma, weight)


class SharedPrior(NamedTuple):
    """Gaussian knowledge of the shared unknowns from frames that are not in the fit.

    Attributes:
        mean: (S,) identity, then log focal lengths where they are estimated.
        precision: (S, S).
    """

    mean: Tensor
    precision: Tensor


@dataclass(frozen=True)
class SequenceFit:
    """A fitted sequence of T frames seen by C cameras.

    Attributes:
        params: identity (1, n_id), expression (T, n_e), jaw (T, 3); with gaze also left_eye and right_eye (T, 3).
        R, t: (T, 3, 3) and (T, 3) head to world.
        K: (C, 3, 3) with estimated focal lengths.
        extrinsics: (C, 4, 4) world to camera.
        offsets: (N, 3) metres of ``vertex_ids``, zero without a deformation.
        vertex_ids: (N,) observed vertices of the head.
        cost: ½ (Σ ρ + priors), dimensionless.
        rms: (C, T) pixels, NaN where a camera saw nothing.
        iterations: steps tried. converged: it stopped because nothing changed any more.
        shared_precision: (S, S) information about identity and focal lengths, frames eliminated.
        state: start for another fit.
    """

    params: HeadParams
    R: Tensor
    t: Tensor
    K: Tensor
    extrinsics: Tensor
    offsets: Tensor
    vertex_ids: Tensor
    cost: float
    rms: Tensor
    iterations: int
    converged: bool
    shared_precision: Tensor
    state: SequenceState

    def __len__(self) -> int:
        return len(self.R)

    def camera(self, view: int, image_size: tuple[int, int]) -> Camera:
        """Return the T cameras of one view for images of (height, width)."""
        rotation, shift = self.extrinsics[view, :3, :3], self.extrinsics[view, :3, 3]
        return Camera(
            self.K[view].expand(len(self), 3, 3), rotation @ self.R, self.t @ rotation.mT + shift, image_size
        )

    def personal_head(self, head: HeadModel) -> HeadModel:
        """Return the head with the static displacements of ``vertex_ids`` in its template; joints stay."""
        twin = head.shared_copy()
        template = head.v_template.clone()
        template[self.vertex_ids.to(template.device)] += self.offsets.to(template)
        twin._buffers["v_template"] = template
        return twin

    @torch.no_grad()
    def vertices(self, head: HeadModel, frames: slice = slice(None)) -> Tensor:
        """Return all vertices (T', V, 3) of some frames, metres, head frame."""
        given = {name: value if name == "identity" else value[frames] for name, value in self.params.items()}
        return self.personal_head(head)(HeadParams(**given).to(head.v_template)).vertices
