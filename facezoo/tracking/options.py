"""How a head is fitted to a person's landmarks, and what one stretch of frames tells the next."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from facezoo.errors import InputError
from facezoo.fitting import Motion, Prior, SequenceFit, SharedPrior
from facezoo.geometry.camera import Camera
from facezoo.heads.model import HeadModel


@dataclass(frozen=True)
class SolveOptions:
    """How the head is fitted to a person's landmarks.

    Attributes:
        mode: ``"offline"`` sees all frames at once; ``"online"`` only the past, a few steps a frame.
        subset: fit this named subset of the landmarks: faster, hardly worse.
        focal: ``"estimate"`` the focal length, or keep the assumed one (or ``K``) ``"fixed"``.
        motion: temporal term; its ``fps`` is set to the video's. None leaves it out.
        prior_weight: the landmarks' errors at neighbouring points move together: so many tell as much as one.
        joint: frames solved together at most; what one stretch told of the shape is passed on to the next.
        window, steps: online: frames kept open, and steps a frame.
        budget: online: seconds a frame may take; steps and searches for new people are dropped, frames are not. The
            result then depends on the machine's speed.
    """

    mode: Literal["offline", "online"] = "offline"
    subset: int = 403
    focal: Literal["fixed", "estimate"] = "estimate"
    motion: Motion | None = field(default_factory=Motion)
    prior_weight: float = 20.0
    joint: int = 1000
    window: int = 4
    steps: int = 3
    budget: float | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("offline", "online") or self.focal not in ("fixed", "estimate"):
            raise InputError(f"mode is 'offline' or 'online' and focal 'fixed' or 'estimate', got {self}.")
        if self.joint < 3 or self.window < 1 or self.steps < 1:
            raise InputError("joint must be at least 3, window and steps at least 1.")
        if self.budget is not None and not (self.budget > 0 and self.mode == "online"):
            raise InputError(
                f"a budget is positive seconds a frame of online mode, got {self.budget!r} in {self.mode}."
            )

    def motion_at(self, fps: float) -> Motion | None:
        """Return the temporal term for a video's rate."""
        return None if self.motion is None else replace(self.motion, fps=fps)


def intrinsics(given: Tensor | float | None, image_size: tuple[int, int]) -> Tensor:
    """Return (3, 3) intrinsics: those given, or of a focal length in pixels; by default the picture's diagonal."""
    if isinstance(given, Tensor):
        return given.float()
    return Camera.default_K(*image_size, focal=given)


def knowledge(
    fit: SequenceFit, head: HeadModel, options: SolveOptions, before: SharedPrior | None, share: float = 1.0
) -> SharedPrior:
    """Return what all frames so far told of identity and focal lengths, centred on the estimate they gave.

    The Schur complement holds the priors as well; they are taken out, as the next fit brings them again.
    """
    assert fit.params.identity is not None
    identity = fit.params.identity[0].double()
    own = options.prior_weight / head.params["identity"].sigma[: len(identity)].double().square()
    mean = identity
    if options.focal == "estimate":
        focal = fit.state.log_focal.double()
        own = torch.cat((own, own.new_full((len(focal),), options.prior_weight / Prior().focal_sigma ** 2)))
        mean = torch.cat((identity, focal))
    fresh = fit.shared_precision.double() - torch.diag(own)
    old = torch.zeros_like(fresh)
    if before is not None:
        old = before.precision
        fresh = fresh - old
    values, vectors = torch.linalg.eigh(fresh)
    fresh = (vectors * values.clamp(min=0)) @ vectors.mT
    return SharedPrior(mean, old + share * fresh)
