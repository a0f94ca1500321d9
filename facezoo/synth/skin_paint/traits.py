"""Who it is: a person's skin, hair and make-up as a few numbers, and how they are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from facezoo.errors import unknown_name
from facezoo.synth.skin_paint.hair_colour import dye_hair, sample_hair_colour

BEARDS = ("none", "shadow", "stubble", "full", "goatee", "circle", "moustache", "pencil", "handlebar", "soul_patch",
          "curtain", "chops", "patchy", "neck")  # fmt: skip
BROWS = ("natural", "thin", "bushy", "drawn", "sparse", "none", "joined")


@dataclass(frozen=True)
class SkinTraits:
    """A person's skin as a few numbers; everything finer is drawn while painting.

    Attributes:
        melanin: 0 very light to 1 very dark.
        redness: 0 pale to 1 flushed.
        age: years.
        masculine: 0 to 1; thickens brows, allows beards, discourages make-up.
        hair: linear RGB of the scalp's hair.
        body_hair: linear RGB of brows, lashes and beard.
        brow: one of ``BROWS``.
        beard: one of ``BEARDS``.
        beard_density: 0 to 1.
        scalp: how much the scalp's own hair or stubble hides the skin, 0 bald to 1.
        receding: how far the hairline has moved up, metres.
        freckles, blemishes, makeup: 0 none to 1 strong.
        paint: carnival or war paint.
    """

    melanin: float
    redness: float
    age: float
    masculine: float
    hair: tuple[float, float, float]
    body_hair: tuple[float, float, float]
    brow: str = "natural"
    beard: str = "none"
    beard_density: float = 0.0
    scalp: float = 0.9
    receding: float = 0.0
    freckles: float = 0.0
    blemishes: float = 0.0
    makeup: float = 0.0
    paint: bool = False


def sample_traits(rng: np.random.Generator, **given: Any) -> SkinTraits:
    """Draw a person; what is given is kept and what depends on it follows.

    Args:
        rng: the only source of randomness.
        **given: any field of :class:`SkinTraits`, e.g. ``age=8`` or ``beard="full"``.

    Returns:
        Traits. Tones cover the whole human range, nearly evenly; ages 3–90; half the people are masculine.

    Raises:
        InputError: a given name is not a trait.
        UnknownNameError: a given beard or brow is unknown.
    """
    fields = set(SkinTraits.__dataclass_fields__)
    if not set(given) <= fields:
        raise unknown_name("skin trait", sorted(set(given) - fields)[0], fields)

    # Drawn even when given, so that one override does not reshuffle the rest.
    drawn = (
        rng.random() ** 1.25,
        np.clip(rng.gamma(4.5, 8.5), 3, 90),
        rng.integers(2) * 0.76 + rng.normal(0.12, 0.12),
    )
    melanin, age = float(given.get("melanin", drawn[0])), float(given.get("age", drawn[1]))
    masculine = float(given.get("masculine", np.clip(drawn[2], 0, 1)))
    man = masculine > 0.5 and age > 16
    natural = sample_hair_colour(rng, melanin, age)
    dyed = dye_hair(rng, natural)
    styles = np.array([3.2, 1.5, 1.8, 2.4, 0.7, 0.8, 0.9, 0.3, 0.25, 0.25, 0.3, 0.2, 0.35, 0.2])
    beard = str(rng.choice(BEARDS, p=styles / styles.sum()))
    brow = str(rng.choice(BROWS, p=[0.66, 0.09, 0.08, 0.05, 0.07, 0.03, 0.02]))
    recede = max(0.0, rng.normal(-0.008 + 0.0003 * age, 0.009))
    values: dict[str, Any] = {
        "melanin": melanin, "age": age, "masculine": masculine,
        "redness": float(rng.beta(2, 3)), "hair": dyed,
        "body_hair": given.get("hair", natural),
        "brow": brow, "beard": beard if man else "none", "beard_density": float(rng.beta(3, 1.6)),
        "scalp": float(np.clip(rng.normal(0.85, 0.2), 0, 1)) if rng.random() < 0.85 else float(rng.random() * 0.4),
        "receding": float(recede if man else recede * 0.2),
        "freckles": float(rng.random() ** 4 * (1.3 - melanin)) if rng.random() < 0.5 else 0.0,
        "blemishes": float(rng.random() ** 3),
        "makeup": float(rng.random()) if rng.random() < (0.04 if masculine > 0.5 or age < 13 else 0.6) else 0.0,
        "paint": bool(rng.random() < 0.015),
    }  # fmt: skip
    values |= given
    if values["beard"] not in BEARDS:
        raise unknown_name("beard", str(values["beard"]), BEARDS)
    if values["brow"] not in BROWS:
        raise unknown_name("brow", str(values["brow"]), BROWS)
    return SkinTraits(**values)
