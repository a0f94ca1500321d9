"""What FlowFace sees in a photo, side by side: the vertices, the map from texture to picture, its doubt, the texture.

python -m facezoo.evaluation.flowface_picture IMAGE out=PNG [model=flowface]
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

from facezoo.data.images import load_image
from facezoo.errors import InputError
from facezoo.mesh.io.atomic import write_bytes
from facezoo.models.flowface.predict import FlowFace
from facezoo.models.flowface.uv import texel_values, texture_layout
from facezoo.models.load import load
from facezoo.models.predict import Crops
from facezoo.settings import Setting, read_settings, run_module
from facezoo.viz.save import png_bytes

_KEYS = {"out": Setting(needed="PNG"), "model": Setting("flowface")}
_TILE, _GAP = 448, 8
_CERTAIN, _DOUBTFUL = (38, 222, 129), (229, 57, 53)
_LEAST, _MOST = 0.005, 0.05  # of the crop's side: the ends of the colours


@torch.no_grad()
def flow_picture(model: FlowFace, image: NDArray[np.uint8], box: Tensor | None = None) -> Image.Image:
    """Draw four tiles of a face of a picture (H, W, 3): the one in ``box`` (4,), or the surest that is found.

    1. the crop with all vertices but the eyeballs', green where the network is certain, red where it doubts;
    2. the flow: where in the crop each texel lies, x in red, y in green;
    3. the standard deviation at each texel, in the colours of the vertices;
    4. the crop, read at the flow: the texture, whatever hides it included.

    Raises:
        InputError: no face is found.
    """
    found = model.predict(image, boxes=box, fit=False)
    if not len(found):
        raise InputError("there is no face in this picture; give another one")
    crops = Crops.cut(model.crop, [image], found[0].box[None]).to(model.device)
    output = model(crops.pixels)
    layout = texture_layout(model.head, _TILE)
    sigma = output.log_sigma.exp() * model.config.sigma_scale
    values = torch.cat((output.points, sigma), 2)
    texels = texel_values(layout, model.head.topology.faces.cpu(), values.cpu())[0]
    empty = layout.texel_face < 0
    flow, doubt = texels[:2], _colours(texels[2])
    place = torch.stack((flow[0] + 0.5, flow[1] + 0.5, torch.full_like(flow[0], 0.25))).clamp(0, 1)
    wide = Crops.cut(replace(model.crop, size=_TILE), [image], found[0].box[None]).pixels[0]
    texture = F.grid_sample(wide[None], 2 * flow.permute(1, 2, 0)[None], align_corners=False)[0]
    for picture in (place, doubt, texture):
        picture[:, empty] = 0.1
    drawn = layout.vertex_area > 0  # eyeballs turn on their own and are not learned
    tiles = [
        _vertices(wide, output.points[0].cpu()[drawn], sigma[0, :, 0].cpu()[drawn]),
        *map(_image, (place, doubt, texture)),
    ]
    sheet = Image.new("RGB", (4 * _TILE + 3 * _GAP, _TILE), (24, 24, 24))
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (i * (_TILE + _GAP), 0))
    return sheet


def _colours(sigma: Tensor) -> Tensor:
    """Return (3, ...) colours in [0, 1] of standard deviations (...) in sides of the crop, on a logarithmic scale."""
    low, high = torch.tensor([_LEAST, _MOST]).log()
    share = ((sigma.log() - low) / (high - low)).clamp(0, 1)
    certain, doubtful = (torch.tensor(c).view(3, *[1] * sigma.dim()) / 255 for c in (_CERTAIN, _DOUBTFUL))
    return certain + (doubtful - certain) * share


def _image(values: Tensor) -> Image.Image:
    return Image.fromarray((values.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())


def _vertices(crop: Tensor, points: Tensor, sigma: Tensor) -> Image.Image:
    """Draw points (V, 2) in crop units onto a crop, the doubtful first."""
    tile = _image(crop)
    draw = ImageDraw.Draw(tile)
    colours = (_colours(sigma) * 255).round().int().T
    for i in sigma.argsort(descending=True).tolist():
        x, y = ((points[i] + 0.5) * _TILE).tolist()
        draw.rectangle((x - 0.5, y - 0.5, x + 0.5, y + 0.5), fill=tuple(colours[i].tolist()))
    return tile


def main(arguments: list[str]) -> int:
    """Draw the picture that the arguments name; return the exit code."""
    return run_module(__doc__, _run, arguments)


def _run(arguments: list[str]) -> None:
    given = read_settings("flowface_picture", arguments[1:], _KEYS)
    model = load(given["model"])
    if not isinstance(model, FlowFace):
        raise InputError(f"model={given['model']} is no flowface; this picture shows its map")
    sheet = flow_picture(model, load_image(arguments[0]).pixels)
    write_bytes(given["out"], png_bytes(sheet))
    print(f"wrote {given['out']}")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
