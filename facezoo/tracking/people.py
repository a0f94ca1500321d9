"""Who is where: boxes followed from frame to frame, faces that come, go and come back, and cuts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facezoo.data.images import ImageArray, LoadedImage
from facezoo.detect import Detector
from facezoo.detect.suppress import overlaps
from facezoo.models.predict import FaceModel
from facezoo.tracking.budget import Budget
from facezoo.types import Face

_SAME = 0.3  # intersection over union from which two boxes are one face
_GROWTH = 1.6  # a box whose side changes by more from one frame to the next is a network that lost its face
_JUMP = 0.6  # so is one whose centre moves by more of its side
_TWICE = 0.6  # intersection over union from which two people have been led to one face
_STEADY = 0.3  # share of a new move in a person's speed
_BLIND = 5  # frames without anybody in sight after which a search is worth being late
_THUMB = 16
_CUT, _CUT_RATIO, _MEMORY = 0.10, 4.0, 15  # mean difference of thumbnails; over the median of the last frames


@dataclass
class Person:
    """A face that is followed.

    Attributes:
        number: of the person in the whole video.
        box: (4,) where the next frame is searched.
        missed: frames since it was seen.
        speed: (2,) pixels a frame of the box's centre, smoothed.
    """

    number: int
    box: list[float]
    missed: int = 0
    speed: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def expected(self) -> Tensor:
        """Return the place of the centre in the next frame (2,), if it goes on as it went; at most a face away."""
        x0, y0, x1, y1 = self.box
        shift = torch.tensor(self.speed) * (self.missed + 1)
        most = max(((x1 - x0) * (y1 - y0)) ** 0.5, 1e-6)
        shift = shift * min(1.0, most / max(float(shift.norm()), 1e-6))
        return torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2]) + shift

    def seen_at(self, box: list[float]) -> None:
        """Take note of where it is now."""
        if self.box:
            old, new = (torch.tensor([(b[0] + b[2]) / 2, (b[1] + b[3]) / 2]) for b in (self.box, box))
            move = (new - old) / (self.missed + 1)
            self.speed = (torch.tensor(self.speed) * (1 - _STEADY) + move * _STEADY).tolist()
        self.box, self.missed = box, 0


@dataclass
class FollowerState:
    """All that :class:`Follower` remembers between frames; plain values, so that it can be stored."""

    people: list[Person] = field(default_factory=list)
    next_number: int = 0
    segment: int = 0
    since_search: int = 0
    thumb: list[float] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; :meth:`from_dict` reads them back exactly."""
        return {**self.__dict__, "people": [dict(p.__dict__) for p in self.people]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FollowerState:
        """Build from :meth:`to_dict`."""
        return cls(**{**values, "people": [Person(**p) for p in values["people"]]})


class Follower:
    """Follow the faces of a video.

    A face is looked for where its landmarks were in the frame before, which is faster than a detector and steadier. The
    detector looks when nobody is followed, when somebody was lost, and every ``search_every`` frames for new people.

    Args:
        model: reads the faces; its own doubt tells that one was lost.
        detector: finds them.
        most: people followed at once, the best first.
        search_every: frames between searches for new people.
        patience: frames that a lost face is waited for before its track ends.
        budget: of time; with one, searches wait until they can be afforded, though not for ever.
    """

    def __init__(
        self,
        model: FaceModel,
        detector: Detector,
        *,
        most: int,
        search_every: int,
        patience: int,
        budget: Budget | None = None,
    ) -> None:
        self.model, self.detector, self.budget = model, detector, budget
        self.most, self.search_every, self.patience = most, search_every, patience
        self.state = FollowerState()

    def step(self, image: LoadedImage) -> dict[int, Face]:
        """Read the next frame; return its faces by the number of their person."""
        state = self.state
        if self._is_cut(image.pixels):
            state.people, state.segment = [], state.segment + 1
        found = self._follow(image)
        state.since_search += 1
        if self._must_search(found):
            state.since_search, began = 0, time.perf_counter()
            found |= self._search(image, found)
            if self.budget is not None:
                self.budget.search_took(time.perf_counter() - began)
        for person in state.people:
            if person.number in found:
                person.seen_at([float(v) for v in found[person.number].box.tolist()])
            else:
                person.missed += 1
        state.people = [p for p in state.people if p.missed <= self.patience]
        return found

    def _must_search(self, found: dict[int, Face]) -> bool:
        """Tell whether the detector should look at this frame."""
        state = self.state
        lost = any(p.number not in found for p in state.people)
        if not (lost or not state.people or state.since_search >= self.search_every):
            return False
        longest = _BLIND if not found else self.search_every if lost else 4 * self.search_every
        return self.budget is None or state.since_search >= longest or self.budget.affords_search()

    def _follow(self, image: LoadedImage) -> dict[int, Face]:
        """Read everybody where the last frame saw them."""
        people = [p for p in self.state.people if p.missed == 0 and _inside(p.box, image.size)]
        if not people:
            return {}
        faces = list(self.model.predict(image, boxes=[p.box for p in people], fit=False))
        sure = [
            (float((_centre(face.box) - person.expected()).norm()), person, face)
            for person, face in zip(people, faces, strict=True)
            if _continues(person.box, face.box) and self.model.is_face(face)
        ]
        found: dict[int, Face] = {}
        # where somebody passes behind another, both looks end on the face in front: it is whose it was expected to be
        for _, person, face in sorted(sure, key=lambda item: item[0]):
            taken = torch.stack([f.box for f in found.values()]) if found else torch.zeros(0, 4)
            if not bool((overlaps(face.box[None], taken)[0] > _TWICE).any()):
                found[person.number] = face
        return {p.number: found[p.number] for p in people if p.number in found}

    def _search(self, image: LoadedImage, found: dict[int, Face]) -> dict[int, Face]:
        """Detect; give boxes that nobody has to people that were lost, then to new ones."""
        state = self.state
        faces = list(self.model.predict(image, detector=self.detector, fit=False))
        fresh: dict[int, Face] = {}
        waiting = [p for p in state.people if p.number not in found]
        for face in faces:
            if not _inside(face.box.tolist(), image.size):
                continue  # landmarks that fell together are no face
            taken = [f.box for f in (*found.values(), *fresh.values())]
            if taken and bool((overlaps(face.box[None], torch.stack(taken))[0] > _SAME).any()):
                continue
            person = _nearest(face.box, waiting)
            if person is None:
                if len(state.people) >= self.most:
                    continue
                person = Person(state.next_number, [])
                state.next_number += 1
                state.people.append(person)
            else:
                waiting.remove(person)
            fresh[person.number] = face
        return fresh

    def _is_cut(self, pixels: ImageArray) -> bool:
        """Tell whether this frame shows another scene than the one before."""
        state, thumb = self.state, thumbnail(pixels)
        before, state.thumb = state.thumb, [float(v) for v in thumb]
        if not before:
            return False
        change = float(np.abs(thumb - np.asarray(before)).mean())
        usual = float(np.median(state.changes)) if state.changes else 0.0
        cut = change > max(_CUT, _CUT_RATIO * usual)
        state.changes = [] if cut else [*state.changes, change][-_MEMORY:]
        return cut


def thumbnail(pixels: ImageArray) -> NDArray[np.float64]:
    """Return a picture as 16 × 16 mean grey values in [0, 1], flat."""
    height, width = pixels.shape[:2]
    rows = np.linspace(0, height, _THUMB + 1).astype(int)
    columns = np.linspace(0, width, _THUMB + 1).astype(int)
    step = max(1, min(height, width) // 128)
    parts = [
        pixels[a : max(b, a + 1) : step, c : max(d, c + 1) : step].mean()
        for a, b in pairwise(rows)
        for c, d in pairwise(columns)
    ]
    return np.asarray(parts) / 255


def _inside(box: Sequence[float], size: tuple[int, int]) -> bool:
    """Tell whether a box can be looked at: not empty, its centre in the picture."""
    x0, y0, x1, y1 = box
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return x1 - x0 >= 4 and y1 - y0 >= 4 and 0 < x < size[1] and 0 < y < size[0]


def _continues(before: Sequence[float], after: Tensor) -> bool:
    """Tell whether a box can be the same face a frame later."""
    old = torch.tensor(before)
    side = [float((b[2:] - b[:2]).clamp(min=1e-6).prod().sqrt()) for b in (old, after)]
    move = float((_centre(old) - _centre(after)).norm())
    ratio = side[1] / max(side[0], 1e-6)
    return bool(torch.isfinite(after).all()) and 1 / _GROWTH < ratio < _GROWTH and move < _JUMP * side[0]


def _nearest(box: Tensor, people: list[Person]) -> Person | None:
    """Return the lost person who was expected nearest, within a face's width for each missed half second."""
    best, least = None, float("inf")
    side = float((box[2:] - box[:2]).prod().sqrt())
    for person in people:
        old = torch.tensor(person.box)
        move = float((person.expected() - _centre(box)).norm())
        ratio = float((old[2:] - old[:2]).prod().sqrt()) / max(side, 1e-6)
        if move < side * (1 + person.missed / 15) and 0.5 < ratio < 2 and move < least:
            best, least = person, move
    return best


def _centre(box: Tensor) -> Tensor:
    return (box[:2] + box[2:]) / 2
