"""How a model's answers for single frames become a track: alone, smoothed, online, offline.

Every way of one model reads the same landmarks, so that what differs is the following and the fit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from facezoo.data.images import load_image
from facezoo.detect import load_detector
from facezoo.evaluation.tracking_clips import Clip
from facezoo.fitting import Prior, fit
from facezoo.heads.model import HeadModel
from facezoo.metrics.ssme import Surface
from facezoo.models.predict import FaceModel
from facezoo.tracking import SolveOptions, track
from facezoo.tracking.people import Follower
from facezoo.tracking.solve import solve_person
from facezoo.tracking.track import PersonTrack
from facezoo.types import Face

_SMOOTH = 1.5  # frames, of the smoothed single fits; it sees the future
_LEAST = 0.9  # of the frames must show the face


@dataclass(frozen=True)
class Way:
    """One track of a clip.

    Attributes:
        surface: what is measured.
        shape: (T, V, 3) vertices in metres; in camera axes where the camera has perspective, else in the head's frame.
        head: whose vertices they are.
    """

    surface: Surface
    shape: Tensor
    head: HeadModel

    def smoothed(self) -> Way:
        """Return the track with every vertex smoothed over time."""
        surface = replace(self.surface, vertices=_smooth(self.surface.vertices))
        return Way(surface, _smooth(self.shape), self.head)


@torch.no_grad()
def ways_of(model: FaceModel, clip: Clip, options: SolveOptions) -> tuple[dict[str, Way], Tensor] | None:
    """Track a clip in every way that a model can.

    The frames are crops whose principal point lies anywhere, so every fit is told the true camera. Models that fit
    nothing have no online and offline way.

    Args:
        model: reads the faces.
        clip: the video.
        options: of the joint fits.

    Returns:
        Tracks by way, and (T,) bool which frames they follow; None when the face was not followed.
    """
    return _fitted(model, clip, options) if model.doubts else _regressed(model, clip)


def _fitted(model: FaceModel, clip: Clip, options: SolveOptions) -> tuple[dict[str, Way], Tensor] | None:
    images, K = list(clip.images), clip.truth.K
    assert K is not None
    known = replace(options, focal="fixed")
    joint = track(model, images, fps=clip.fps, detector=_detector(clip), people=1, K=K, solve=known)
    if len(joint) != 1 or len(joint[0]) < _LEAST * len(images):
        return None
    person = joint[0]
    causal = solve_person(
        person.observations, person.head, person.image_size, clip.fps, replace(known, mode="online"), K=K
    )
    rows, head = torch.from_numpy(person.frames), person.head
    valid = torch.zeros(len(images), dtype=torch.bool)
    valid[rows] = True

    def way(vertices: Tensor) -> Way:
        whole = vertices[:1].float().repeat(len(images), 1, 1)
        whole[rows] = vertices.float()
        return Way(Surface(whole, head.topology.faces, K), whole, head)

    def camera(found: PersonTrack) -> Tensor:
        return found.cameras.to_camera(found.vertices())

    single = way(_single(person, K, options))
    return {
        "single": single,
        "smoothed": single.smoothed(),
        "online": way(camera(causal)),
        "offline": way(camera(person)),
    }, valid


def _single(person: PersonTrack, K: Tensor, options: SolveOptions) -> Tensor:
    """Fit every frame of a track alone; return vertices (T, V, 3) in camera axes.

    Frames that were not seen repeat the one before.
    """
    seen = person.observations
    result = fit(
        person.head,
        torch.from_numpy(seen.points),
        torch.from_numpy(seen.sigma),
        person.vertex_ids,
        K,
        subset=options.subset if options.subset in person.head.topology.subsets else None,
        prior=Prior(weight=options.prior_weight),
        iterations=20,
    )
    vertices = person.head(result.params).vertices @ result.R.mT + result.t[:, None]
    order = torch.searchsorted(torch.from_numpy(seen.frames), torch.from_numpy(person.frames), right=True) - 1
    return vertices[order]


def _regressed(model: FaceModel, clip: Clip) -> tuple[dict[str, Way], Tensor] | None:
    """Follow the face, and take head and camera as the network says."""
    follower = Follower(model, load_detector(_detector(clip)), most=1, search_every=15, patience=15)
    faces: list[Face | None] = []
    for image in clip.images:
        found = follower.step(load_image(image))
        faces.append(found[min(found)] if found else None)
    valid = torch.tensor([face is not None for face in faces])
    if float(valid.float().mean()) < _LEAST:
        return None
    first = next(face for face in faces if face is not None)
    surfaces, shapes = [], []
    for face in faces:
        first = face or first  # a frame that was not seen repeats the one before
        camera, vertices = first.camera, first.vertices
        assert camera is not None and vertices is not None
        world = camera.to_camera(vertices)
        if camera.kind == "weak":
            surfaces.append(torch.cat((camera.project(vertices), world[:, 2:]), 1))
            shapes.append(vertices)
        else:
            surfaces.append(world)
            shapes.append(world)
    assert first.head is not None and first.camera is not None
    K = None if first.camera.kind == "weak" else first.camera.K
    surface = Surface(torch.stack(surfaces).float(), first.head.topology.faces, K)
    single = Way(surface, torch.stack(shapes).float(), first.head)
    return {"single": single, "smoothed": single.smoothed()}, valid


def _detector(clip: Clip) -> str:
    """A loose synthetic portrait needs no detector."""
    return "whole" if clip.head is not None else "auto"


def _smooth(values: Tensor) -> Tensor:
    return torch.from_numpy(gaussian_filter1d(values.numpy(), _SMOOTH, axis=0, mode="nearest"))
