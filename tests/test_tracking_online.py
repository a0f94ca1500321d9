"""Frame by frame: live sources, the budget of a frame, and the same result however it was reached."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tracking_fakes import SIZE, ScriptedModel, WholeFrame, actor, frame, one_thread

from facezoo.data.video import Frame, PictureFrames
from facezoo.errors import InputError
from facezoo.tracking import SolveOptions, track
from facezoo.tracking.budget import Budget
from facezoo.tracking.solve import solve_person
from facezoo.types import Face

__all__ = ["one_thread"]
ONLINE = SolveOptions(mode="online", subset=101, focal="fixed", steps=2, window=3)


class Camera(PictureFrames):
    """A live source that is too fast: some frames are missed; then somebody presses Ctrl-C."""

    live = True

    def __init__(self, count: int, missed: tuple[int, ...] = ()) -> None:
        super().__init__([frame(i) for i in range(count)], "camera")
        self.length, self.missed = None, missed

    def frames(self, start: int = 0) -> Iterator[Frame]:
        for got in super().frames(start):
            if got.number not in self.missed:
                yield got
        raise KeyboardInterrupt


def test_a_live_source_is_answered_frame_by_frame_and_ended_by_ctrl_c(tmp_path: Path) -> None:
    there = [i not in (4, 5) for i in range(10)]
    shown: list[tuple[int, list[Face]]] = []
    totals = set()
    found = track(
        ScriptedModel([actor(10, there=there)]), Camera(10, missed=(7,)), detector=WholeFrame(), solve=ONLINE,
        out=tmp_path, each=lambda f, faces: shown.append((f.number, faces)),
        progress=lambda stage, done, of: totals.add((stage, of)),
    )  # fmt: skip
    assert found.mode == "online" and found.frames == 10 and totals == {("look", 0)}
    person = found[0]
    assert person.frames.tolist() == list(range(10))
    assert np.flatnonzero(~person.seen).tolist() == [4, 5, 7]  # hidden, hidden, missed by us
    assert [index for index, _ in shown] == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    for index, faces in shown:  # what was shown then is what stands in the track now
        assert len(faces) == 1 and faces[0].track_id == 0 and faces[0].score == float(person.seen[index])
        assert torch.equal(faces[0].vertices, found.faces(index)[0].vertices)
        assert torch.equal(faces[0].landmarks["ibug68"], found.faces(index)[0].landmarks["ibug68"])
    assert bool(person.rms[~person.seen].isnan().all())
    # a pass over what was stored gives the same
    again = solve_person(person.observations, person.head, SIZE, 30.0, ONLINE)
    assert torch.equal(again.R, person.R) and torch.equal(again.vertices(), person.vertices())


def test_a_live_source_is_tracked_online_unless_told_otherwise() -> None:
    live = track(ScriptedModel([actor(4)], points=101), Camera(4), detector=WholeFrame(), shortest=9)
    assert live.mode == "online" and len(live) == 0
    with pytest.raises(InputError, match="only in online mode"):
        track(ScriptedModel([actor(4)]), [frame(0)], detector=WholeFrame(), each=lambda f, faces: None)
    with pytest.raises(InputError, match="positive seconds a frame of online mode"):
        SolveOptions(budget=0.1)


# -- the budget -------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_budget_drops_steps_but_never_the_last_one() -> None:
    clock = Clock()
    budget = Budget(0.10, clock)
    assert budget.steps(5, people=1) == 5  # nothing is known yet
    budget.steps_took(0.04, 2)  # 20 ms each
    budget.begin()
    clock.now += 0.03  # the network
    assert budget.steps(5, people=1) == 3 and budget.steps(2, people=1) == 2
    assert budget.steps(5, people=2) == 1  # everybody gets a share
    clock.now += 0.5
    assert budget.steps(5, people=1) == 1


def test_searches_are_paid_from_what_frames_saved() -> None:
    clock = Clock()
    budget = Budget(0.10, clock)
    assert budget.affords_search()
    budget.search_took(0.3)
    waited = 0
    while True:
        budget.begin()
        clock.now += 0.05
        if budget.affords_search():
            break
        budget.end()
        waited += 1
    assert waited == 5  # 50 ms saved a frame, and the 50 ms left of this one
    for _ in range(100):  # neither riches nor debts are without bounds
        budget.begin()
        clock.now += 9.0
        budget.end()
    assert budget.saved == -1.0


def test_a_tight_budget_drops_work_and_no_frame(tmp_path: Path) -> None:
    n = 14
    someone, late = actor(n, x=-0.12), actor(n, 1, x=0.12, there=[i >= 4 for i in range(n)])
    frames = [frame(i) for i in range(n)]

    def run(
        budget: float | None, out: Path | None = None, count: int | None = None
    ) -> tuple[object, ScriptedModel]:
        model = ScriptedModel([someone, late])
        options = SolveOptions(mode="online", subset=101, focal="fixed", steps=2, window=2, budget=budget)
        return track(
            model, frames, detector=WholeFrame(), solve=options, search_every=2, out=out, count=count
        ), model

    free, eager = run(None)
    tight, careful = run(1e-4, tmp_path)
    assert [len(p) for p in free] == [n, n - 4]  # type: ignore[attr-defined]
    assert careful.read < eager.read / 2  # searches
    first = tight[0]  # type: ignore[index]
    assert len(first) == n and first.seen.all()
    assert first.observations.steps.tolist()[1:] == [1] * (n - 1)  # and steps of the fit
    assert len(tight) == 2 and tight[1].frames[0] > 4  # type: ignore[arg-type, index]  # found, though later
    # what was granted is stored: the same comes out again, without a clock
    again, _ = run(1e-4, tmp_path)
    assert torch.equal(again[0].R, first.R) and torch.equal(again[0].vertices(), first.vertices())  # type: ignore[index]
    with pytest.raises(InputError, match="budget"):
        run(2e-4, tmp_path)
