"""Objects held in front of a face: cups, microphones, phones, paper."""

from __future__ import annotations

import numpy as np
from PIL import ImageDraw

from facezoo.synth.occluders.canvas import Canvas, Layer, over
from facezoo.synth.occluders.limbs import shade_capsules
from facezoo.synth.occluders.sprites import clear_sprite, decorate_sprite, place_sprite, round_sprite


def draw_cup(canvas: Canvas) -> Layer:
    """A mug, glass, paper cup or bottle at the mouth, with fingers around it."""
    rng, tone = canvas.rng, canvas.colour()
    w, h = 64, int(rng.uniform(64, 120))
    sprite, draw = clear_sprite(rng, (w + 32, h + 16), tone)
    taper = rng.uniform(-4, 12)
    opaque = 255 if rng.random() < 0.8 else int(rng.uniform(90, 190))
    draw.polygon([(8, 12), (w, 12), (w - taper, h), (8 + taper, h)], fill=(*tone, opaque))
    if rng.random() < 0.5:
        draw.arc((w - 12, 24, w + 20, h * 0.75), -90, 90, fill=(*tone, 255), width=8)
    if rng.random() < 0.6:
        decorate_sprite(rng, sprite, (14, int(h * 0.35), w - 6, int(h * 0.75)))
    sprite = round_sprite(canvas, sprite, 0.6)
    ImageDraw.Draw(sprite).ellipse(
        (8, 4, w, 20), fill=(*canvas.colour(), opaque), outline=(*tone, 255), width=2
    )
    scale = canvas.face * rng.uniform(0.35, 0.65) / 64
    middle = canvas.on_face(0.5, 0.95, 0.08) + np.array([0, 20 * scale])
    alpha, colour = place_sprite(canvas, sprite, middle, rng.normal(0, 0.3), scale)
    if rng.random() < 0.6:
        sign = 1 if rng.random() < 0.5 else -1
        thick = canvas.face * 0.06
        fingers = []
        for i in range(4):
            at = middle + np.array([sign * 24, -14 + i * 13.0]) * scale
            fingers.append((at, at - np.array([sign * 34 * scale, 0]), thick, thick * 0.9, float(i)))
        root = middle + np.array([sign * 36, 8]) * scale
        fingers.append((root, root + np.array([sign * 60, 90]) * scale, thick * 3, thick * 3.5, 0.0))
        return over(shade_capsules(canvas, fingers, canvas.skin), (alpha, colour))
    return alpha, colour


def draw_microphone(canvas: Canvas) -> Layer:
    """A microphone below the mouth: a ball of foam or wire on a handle."""
    rng, tone = canvas.rng, canvas.colour(0.0, 0.5)
    head = canvas.face * rng.uniform(0.08, 0.19)
    tip = canvas.on_face(rng.uniform(0.2, 0.8), 0.95, 0.08)
    angle = rng.normal(np.pi / 2, 0.6)
    end = tip + np.array([np.cos(angle), np.sin(angle)]) * canvas.face * 1.8
    body = shade_capsules(canvas, [(tip, end, head * 0.55, head * 0.4, 0)], tone)
    foam = canvas.colour(0.0, 0.9)
    ball = shade_capsules(canvas, [(tip, tip + (end - tip) * 0.06, head, head, 0)], foam)
    if rng.random() < 0.6:  # wire mesh
        x, y = (
            np.arange(canvas.width, dtype=np.float32)[None],
            np.arange(canvas.height, dtype=np.float32)[:, None],
        )
        pitch = np.float32(max(2.2, head * 0.25))
        wire = ((x + y) % pitch < 1) | ((x - y) % pitch < 1)
        ball = (ball[0], ball[1] * np.where(wire, 1.3, 0.7).astype(np.float32)[..., None])
    return over((ball[0], np.minimum(ball[1], 1)), body)


def draw_phone(canvas: Canvas) -> Layer:
    """A telephone at the ear, or held in front of the face to take a picture."""
    rng, tone = canvas.rng, canvas.colour(0.0, 0.95)
    sprite, draw = clear_sprite(rng, (76, 140), tone)
    draw.rounded_rectangle((6, 6, 70, 134), rng.uniform(2, 14), fill=(*tone, 255))
    if rng.random() < 0.5:
        decorate_sprite(rng, sprite, (12, 16, 64, 122))
    for i in range(int(rng.integers(0, 4))):
        draw.ellipse((14, 14 + 14 * i, 24, 24 + 14 * i), fill=(10, 10, 14, 255), outline=(90, 90, 95, 255))
    scale = canvas.face * rng.uniform(0.4, 0.6) / 64
    side = -1 if rng.random() < 0.5 else 1
    if rng.random() < 0.6:
        middle, angle = canvas.on_face(0.5 + 0.55 * side, 0.55, 0.07), side * rng.normal(-0.2, 0.25)
    else:
        middle, angle = (
            canvas.on_face(rng.random(), rng.uniform(0.2, 1.1)),
            rng.choice([0, np.pi / 2]) + rng.normal(0, 0.15),
        )
    back = place_sprite(canvas, sprite, middle, float(angle), scale * rng.uniform(0.6, 1))
    if rng.random() < 0.5:
        return back
    thick = canvas.face * 0.06
    fingers = []
    for i in range(4):
        at = middle + np.array([side * 34, -20 + i * 15.0]) * scale
        fingers.append(
            (
                at,
                at - np.array([side * rng.uniform(25, 45) * scale, rng.normal(0, 5) * scale]),
                thick,
                thick * 0.85,
                float(i),
            )
        )
    wrist = middle + np.array([side * 40, 30]) * scale
    fingers.append((wrist, wrist + np.array([side * 40, 120]) * scale, thick * 3, thick * 4, 0.0))
    return over(shade_capsules(canvas, fingers, canvas.skin), back)


def draw_paper(canvas: Canvas) -> Layer:
    """A book, card, placard or box with a picture on it."""
    rng, tone = canvas.rng, canvas.colour(0.5, 1)
    w, h = int(rng.uniform(40, 128)), int(rng.uniform(30, 110))
    sprite, draw = clear_sprite(rng, (w + 8, h + 8), tone)
    draw.rectangle((4, 4, w + 3, h + 3), fill=(*tone, 255))
    edge = int(rng.uniform(0, 8))
    if rng.random() < 0.75:
        decorate_sprite(rng, sprite, (4 + edge, 4 + edge, w + 4 - edge, h + 4 - edge))
    spots = [(0.5, 1.05), (0.0, 0.5), (1.0, 0.5), (0.5, 0.0), (0.5, 0.85), (0.1, 0.9), (0.9, 0.9)]
    middle = canvas.on_face(*spots[int(rng.random() * len(spots))], 0.12)
    return place_sprite(canvas, sprite, middle, rng.normal(0, 0.4), canvas.face * rng.uniform(0.3, 0.75) / 80)
