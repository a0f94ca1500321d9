"""Contact sheets: many synthetic people in one picture, with their landmarks when wanted."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw


def contact_sheet(seeds: Sequence[int], columns: int = 8, size: int = 176, landmarks: bool = False) -> Image.Image:
    """Render ``seeds`` row by row; green dots are ``ibug68``, red dots the visible contour."""
    from facezoo.synth.engine import render_sample

    rows = -(-len(seeds) // columns)
    sheet = Image.new("RGB", (columns * size, rows * size))
    for i, seed in enumerate(seeds):
        sample = render_sample(seed, size)
        picture = Image.fromarray(sample.image)
        if landmarks:
            draw = ImageDraw.Draw(picture)
            for points, colour in ((sample.lm68, (0, 255, 0)), (sample.lm68_contour[:27], (255, 0, 0))):
                for x, y in points:
                    draw.ellipse([x - 1, y - 1, x + 1, y + 1], fill=colour)
        sheet.paste(picture, (i % columns * size, i // columns * size))
    return sheet
