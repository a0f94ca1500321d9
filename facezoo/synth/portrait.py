"""Portraits to order: a person of the engine pulls a given face in a plain room, with or without relief."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch.nn import functional

from facezoo.geometry.rotations import euler_to_matrix
from facezoo.render.shading import sh_directional
from facezoo.synth import engine
from facezoo.synth.hair import grow_beard
from facezoo.synth.layout import stage
from facezoo.synth.lights import LightRig
from facezoo.synth.people import Person
from facezoo.synth.scene import Photographer, to_srgb

FACES: dict[str, dict[str, float]] = {
    "at rest": {},
    "brows raised": {"browInnerUp": 1.0, "browOuterUp": 1.0, "eyeWide": 0.4},
    "smiling": {"mouthSmile": 1.0, "cheekSquint": 0.8, "mouthUpperUp": 0.3, "eyeSquint": 0.25},
    "squinting": {"eyeSquint": 1.0, "cheekSquint": 0.7, "browDown": 0.9, "noseSneer": 0.6},
}
_FOCAL = 3.0  # picture sides: a lens for portraits
_FILL = 1.15  # share of the side that 0.2 m of the head take


@torch.no_grad()
def portrait(
    number: int, face: Mapping[str, float], size: int = 512, *, relief: bool = True, yaw: float = 0.2
) -> NDArray[np.uint8]:
    """Render a person of :func:`facezoo.synth.engine.render_sample` (with ``relief=True``) as asked.

    Args:
        number: of the person.
        face: blend-shape weights by ARKit name; a name without its side means both.
        size: side in pixels.
        relief: shade the skin's own geometry; False renders the same painted skin on the smooth mesh.
        yaw: radians.

    Returns:
        (size, size, 3) sRGB.
    """
    place = stage()
    head = place.head
    names = head.params["expression"].names
    expression = np.array(
        [face.get(n, face.get(n.removesuffix("Left").removesuffix("Right"), 0.0)) for n in names], np.float32
    )
    traits = engine.relief_traits(number)
    sex = "male" if traits.masculine > 0.5 else "female"
    rest = np.zeros(3, np.float32)
    person = Person(sex, engine.relief_identity(number), expression, rest, rest, rest)
    posed = head(person.params())
    look, own = engine.relief_look(number, expression)
    if not relief:
        look = replace(look, relief=None)
    pieces = grow_beard(own, place, posed.vertices[0], traits)  # no hair: it would hide foreheads
    n = round(size * engine.SUPERSAMPLING)
    distance = _FOCAL * 0.2 / _FILL
    angles = torch.tensor([yaw, 0.0, 0.0], dtype=torch.float64)
    R = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ euler_to_matrix(*angles).float()
    centre = head.landmarks(posed.vertices, "ibug68")[0, 28:31].mean(0)
    t = torch.tensor([0.0, 0.0, distance]) - R @ centre
    K = torch.tensor([[_FOCAL * n, 0, n / 2], [0, _FOCAL * n, n * 0.54], [0, 0, 1.0]])
    artist = Photographer(np.random.default_rng(number), place, _room(), look, K, n)
    placed = [(p, p.vertices @ R.T + t) for p in pieces]
    linear, depth = artist.picture(torch.full((n, n, 3), 0.45), posed.vertices[0] @ R.T + t, placed)
    level = float(linear[depth > 0].mean())
    image = to_srgb(linear * float(np.clip(0.24 / level, 0.5, 3.0))).permute(2, 0, 1)[None]
    image = functional.interpolate(image, size=(size, size), mode="bilinear", antialias=True)[0]
    return (image.permute(1, 2, 0).numpy() * 255 + 0.5).astype(np.uint8)


def relief_sheet(numbers: Sequence[int], size: int = 512) -> Image.Image:
    """Draw people (rows) pulling :data:`FACES`, each without and with relief, side by side."""
    sheet = Image.new("RGB", (2 * len(FACES) * size, len(numbers) * size))
    draw = ImageDraw.Draw(sheet)
    for row, number in enumerate(numbers):
        for column, (name, face) in enumerate(FACES.items()):
            for k, relief in enumerate((False, True)):
                corner = ((2 * column + k) * size, row * size)
                sheet.paste(Image.fromarray(portrait(number, face, size, relief=relief)), corner)
                draw.text(
                    (corner[0] + 6, corner[1] + 4),
                    f"{name}, {'with' if relief else 'without'} relief",
                    fill=(20, 20, 20),
                )
    return sheet


def people_aged(ages: Sequence[float], among: range = range(2000)) -> list[int]:
    """Return for each age the number of the person nearest to it whose skin is not painted over."""

    def distance(number: int, age: float) -> float:
        t = engine.relief_traits(number)
        hidden = (
            t.paint
            or t.makeup > 0.2
            or t.beard not in ("none", "shadow")
            or t.melanin > 0.5
            or t.redness > 0.6
        )
        return abs(t.age - age) + (1000 if hidden else 0)

    return [min(among, key=lambda number, age=age: distance(number, age)) for age in ages]  # type: ignore[misc]


def _room() -> LightRig:
    """A lamp from above and one side, in a room that gives some of the light back."""
    direction = np.array([[0.5, 0.62, 0.72]], np.float32)
    direction /= np.linalg.norm(direction)
    colour = np.array([[0.95, 0.92, 0.88]], np.float32)
    fill = sh_directional(torch.tensor([[-0.5, 0.3, 0.8]]) / 0.99, torch.tensor([[0.22, 0.23, 0.25]]))[
        0
    ].numpy()
    fill[0] += 2 * np.sqrt(np.pi) * np.array([0.22, 0.22, 0.23])
    return LightRig(fill.astype(np.float32), direction, colour, np.array([0.4], np.float32), "studio")
