"""What looks like people and is no face: crowds of blobs, skin-coloured shapes."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from facezoo.synth.background.buildings import paint_room
from facezoo.synth.background.colours import pick, random_colour, shaded, skin_colour
from facezoo.synth.background.fields import Size, random_axis, through_ramp
from facezoo.synth.background.outdoors import paint_foliage, paint_outdoor
from facezoo.synth.background.surfaces import paint_gradient, paint_leaves, paint_studio, paint_texture


def paint_crowd(rng: np.random.Generator, size: Size) -> Image.Image:
    """Rows of blob people: heads with hair, shoulders, never a face."""
    w, h = size
    image = pick(rng, [paint_gradient, paint_room, paint_outdoor, paint_studio])(rng, size)
    draw = ImageDraw.Draw(image)
    for row in range(int(rng.integers(1, 4))):
        radius = h * rng.uniform(0.04, 0.16) * (1 + 0.3 * row)
        y = h * rng.uniform(0.1, 0.9)
        x = rng.uniform(-2, 1) * radius
        while x < w:
            top, skin, hair = (
                y + rng.normal(0, 0.5) * radius,
                skin_colour(rng),
                shaded(random_colour(rng, (0.02, 0.7), 0), 0.8),
            )
            cloth = random_colour(rng, vivid=0.35)
            draw.rounded_rectangle(
                (x - 1.9 * radius, top + 1.2 * radius, x + 1.9 * radius, h + 9 * radius), radius, fill=cloth
            )
            draw.rectangle(
                (x - 0.4 * radius, top, x + 0.4 * radius, top + 1.4 * radius), fill=shaded(skin, 0.8)
            )
            draw.ellipse(
                (x - 0.85 * radius, top - 1.2 * radius, x + 0.85 * radius, top + 1.0 * radius), fill=hair
            )
            shift = rng.uniform(-0.2, 0.2) * radius
            if rng.random() < 0.8:
                draw.ellipse(
                    (
                        x - 0.7 * radius + shift,
                        top - 0.75 * radius,
                        x + 0.7 * radius + shift,
                        top + 1.1 * radius,
                    ),
                    fill=skin,
                )
            x += radius * rng.uniform(1.5, 6)
    return image


def paint_skin_shapes(rng: np.random.Generator, size: Size) -> Image.Image:
    """Skin-coloured shapes that are no faces: limbs, bald blobs, smooth skin-toned surfaces."""
    w, h = size
    image = pick(rng, [paint_studio, paint_texture, paint_room, paint_leaves, paint_foliage])(rng, size)
    for _ in range(int(rng.integers(1, 5))):
        tone = np.array(skin_colour(rng))
        mask = Image.new("L", size)
        draw = ImageDraw.Draw(mask)
        (x, y), r = rng.random(2) * (w, h), max(size) * rng.uniform(0.04, 0.25)
        if rng.random() < 0.5:
            joints = [(x, y)]
            for _ in range(int(rng.integers(1, 4))):
                x, y = x + rng.normal(0, 0.3) * w, y + rng.normal(0, 0.3) * h
                joints.append((x, y))
            draw.line(joints, fill=255, width=int(r), joint="curve")
            for jx, jy in joints:
                draw.ellipse((jx - r / 2, jy - r / 2, jx + r / 2, jy + r / 2), fill=255)
        else:
            draw.ellipse((x - r, y - r * rng.uniform(0.7, 1.5), x + r, y + r), fill=255)
        field = np.clip(0.5 + 0.5 * random_axis(rng, size), 0, 1)
        ramp = np.clip(tone * np.linspace(rng.uniform(0.3, 0.9), 1.1, 256)[:, None], 0, 255).astype(np.uint8)
        image.paste(through_ramp(field, ramp), (0, 0), mask)
    return image
