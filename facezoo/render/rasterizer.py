"""Rasterise triangle meshes in plain torch, on CPU or CUDA, with gradients to the vertices."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from facezoo.errors import InputError
from facezoo.render.scanline import Planes, Visible, visible_triangles

# Chunks of about this many triangles (and pixels) keep every intermediate tensor inside a CPU core's cache.
_CPU_TRIANGLES, _CPU_PIXELS = 40_000, 1 << 18
_CUDA_TRIANGLES, _CUDA_PIXELS = 4_000_000, 1 << 26


class Fragments(NamedTuple):
    """What each pixel of a batch of images shows.

    Attributes:
        face_index: (B, H, W) int64, the face seen, -1 where there is none.
        bary: (B, H, W, 3) perspective-correct barycentrics in the face's corner order, >= 0 and summing to 1;
            0 where there is no face. Differentiable.
        depth: (B, H, W) camera depth z, 0 where there is no face. Differentiable.
    """

    face_index: Tensor
    bary: Tensor
    depth: Tensor


def rasterize(
    vertices_screen: Tensor, faces: Tensor, size: tuple[int, int], cull_backfaces: bool = False
) -> Fragments:
    """Find the nearest face of each pixel and the point of the face the pixel's centre sees.

    Which face is seen is decided in float32 and carries no gradient. Barycentrics and depth are differentiable once
    with respect to the vertices, in the vertices' dtype, with the visible face held fixed.

    A face is dropped when a corner is not finite or nearer than 1e-6 (behind the camera included; nothing is
    clipped), and when it is edge-on. Among faces at the same depth the lowest index wins, on every device.

    Args:
        vertices_screen: (B, V, 3) or (V, 3) float; x, y in pixels, centres at .5, y down; z > 0 camera depth.
        faces: (F, 3) integer, shared by the batch.
        size: (H, W) pixels.
        cull_backfaces: drop faces whose outward normal (corners counter-clockwise from outside) points away.

    Returns:
        The fragments; always with a batch dimension.

    Raises:
        InputError: for wrong shapes, dtypes, devices or face indices.
    """
    vertices, faces, (height, width) = _checked(vertices_screen, faces, size)
    return Fragments(*_Rasterize.apply(vertices, faces, height, width, cull_backfaces))


def _checked(
    vertices: Tensor, faces: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor, tuple[int, int]]:
    if vertices.ndim == 2:
        vertices = vertices.unsqueeze(0)
    if vertices.ndim != 3 or vertices.shape[-1] != 3:
        raise InputError(f"rasterize: vertices_screen must be (B, V, 3), got {tuple(vertices.shape)}.")
    if vertices.dtype not in (torch.float32, torch.float64):
        vertices = vertices.to(torch.float32)
    if faces.ndim != 2 or faces.shape[-1] != 3 or faces.is_floating_point() or faces.dtype == torch.bool:
        raise InputError(f"rasterize: faces must be (F, 3) integers, got {tuple(faces.shape)} {faces.dtype}.")
    if faces.device != vertices.device:
        raise InputError(
            f"rasterize: vertices are on {vertices.device} but faces on {faces.device}; move one with .to(device)."
        )
    if (
        faces.numel()
        and not faces.is_cuda
        and not (int(faces.min()) >= 0 and int(faces.max()) < vertices.shape[1])
    ):
        raise InputError(
            f"rasterize: faces index vertices {int(faces.min())}..{int(faces.max())}, but there are {vertices.shape[1]}."
        )
    height, width = int(size[0]), int(size[1])
    if height < 1 or width < 1:
        raise InputError(f"rasterize: size must be (H, W), both at least 1, got {tuple(size)}.")
    return vertices, faces.to(torch.int64), (height, width)


def _chunk(vertices: Tensor, faces: Tensor, pixels: int) -> int:
    """Images rasterised together."""
    triangles, most = (_CUDA_TRIANGLES, _CUDA_PIXELS) if vertices.is_cuda else (_CPU_TRIANGLES, _CPU_PIXELS)
    return max(1, min(triangles // max(1, faces.shape[0]), most // pixels))


class _Rasterize(torch.autograd.Function):
    """Visibility (no gradient) followed by barycentrics and depth of the covered pixels (with one)."""

    @staticmethod
    def forward(ctx, vertices: Tensor, faces: Tensor, height: int, width: int, cull: bool):
        batch, pixels = vertices.shape[0], height * width
        face_index = torch.full((batch * pixels,), -1, dtype=torch.int64, device=vertices.device)
        bary = torch.zeros(batch * pixels, 3, dtype=vertices.dtype, device=vertices.device)
        depth = torch.zeros(batch * pixels, dtype=vertices.dtype, device=vertices.device)
        ctx.shape, ctx.size, ctx.step = vertices.shape, (height, width), _chunk(vertices, faces, pixels)
        saved: list[Tensor] = [faces]
        corners = faces.t().contiguous()
        if corners.shape[1] and vertices.shape[1]:
            for start in range(0, batch, ctx.step):
                part = vertices[start : start + ctx.step]
                found = visible_triangles(part, corners, (height, width), cull)
                out = slice(start * pixels, (start + part.shape[0]) * pixels)
                face = found.triangle % corners.shape[1]
                face_index[out].scatter_(0, found.pixel, face.index_select(0, found.owner))
                weight, z = _perspective(*_screen_barycentrics(found, width, height))
                for corner in range(3):
                    bary[out, corner].scatter_(0, found.pixel, weight[corner])
                depth[out].scatter_(0, found.pixel, z)
                if ctx.needs_input_grad[0]:
                    saved += [found.pixel, found.owner, found.triangle, *found.planes]
        ctx.save_for_backward(*saved)
        face_index = face_index.view(batch, height, width)
        ctx.mark_non_differentiable(face_index)
        return face_index, bary.view(batch, height, width, 3), depth.view(batch, height, width)

    @staticmethod
    @once_differentiable
    def backward(ctx, _: Tensor, grad_bary: Tensor, grad_depth: Tensor):
        faces, *saved = ctx.saved_tensors
        (batch, count, _), (height, width) = ctx.shape, ctx.size
        grad_bary, grad_depth = grad_bary.reshape(-1, 3), grad_depth.reshape(-1)
        grad = torch.zeros(3, batch * count, dtype=grad_bary.dtype, device=grad_bary.device)
        each = 3 + len(Planes._fields)
        for number, first in enumerate(range(0, len(saved), each)):
            pixel, owner, triangle, *planes = saved[first : first + each]
            found = Visible(pixel, owner, triangle, Planes(*planes))
            begin = number * ctx.step
            pixels = pixel + begin * height * width
            corner_grad = _corner_gradients(
                found,
                width,
                height,
                [grad_bary[:, k].index_select(0, pixels) for k in range(3)],
                grad_depth.index_select(0, pixels),
            )
            image = triangle.div(faces.shape[0], rounding_mode="floor").add_(begin).mul_(count)
            vertex = faces.index_select(0, triangle % faces.shape[0]) + image.unsqueeze(1)
            for corner in range(3):
                grad.index_add_(1, vertex[:, corner], corner_grad[:, corner])
        return grad.t().reshape(batch, count, 3), None, None, None, None


def _screen_barycentrics(found: Visible, width: int, height: int) -> tuple[list[Tensor], list[Tensor]]:
    """Screen-space barycentrics (3 times (N,)) of the covered pixels, clamped to the triangle, and their corners' 1/z.

    The clamp only mends rounding at the edges of slivers; gradients pass straight through it.
    """
    p, dtype = found.planes, found.planes.x0.dtype

    def of_pixel(values: Tensor) -> Tensor:
        return values.index_select(0, found.owner)

    x, y = _centres(found.pixel, width, height, dtype)
    x -= of_pixel(p.x0)
    y -= of_pixel(p.y0)
    l1 = (x * of_pixel(p.a1)).add_(y * of_pixel(p.b1)).clamp_(0, 1)
    rest = 1 - l1
    l2 = torch.minimum(x.mul_(of_pixel(p.a2)).add_(y.mul_(of_pixel(p.b2))).clamp_(min=0), rest)
    return [rest.sub_(l2), l1, l2], [of_pixel(p.w0), of_pixel(p.w1), of_pixel(p.w2)]


def _centres(pixel: Tensor, width: int, height: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Pixel centres (x, y) of ascending flat indices into (B, H, W)."""
    last = int(pixel[-1]) if pixel.numel() else 0
    # Float division: integer modulo takes ten times as long. Half a pixel of slack keeps the floor exact.
    index = pixel.to(torch.float32 if last < 1 << 21 else torch.float64).add_(0.5)
    row = (index / width).floor_()
    x = index.sub_(row * width)
    if last >= width * height:
        row -= (row.add(0.5).div_(height)).floor_().mul_(height)
    return x.to(dtype), row.add_(0.5).to(dtype)


def _perspective(screen: list[Tensor], w: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    """Turn screen barycentrics into perspective-correct ones and depth; overwrites `screen`."""
    u = [s.mul_(v) for s, v in zip(screen, w, strict=True)]
    z = (u[0] + u[1]).add_(u[2]).reciprocal_()
    return [v.mul_(z) for v in u], z


def _corner_gradients(
    found: Visible, width: int, height: int, grad_bary: list[Tensor], grad_depth: Tensor
) -> Tensor:
    """Gradients (3 coordinates, 3 corners, T) of the triangles' corners, summed over their pixels.

    Moving corner j by d changes the screen barycentrics at a fixed point as moving the point by -l_j d does, so
    dl_i/dx_j = -l_j a_i with a_i = dl_i/dx; the rest is the chain rule through u_i = l_i / z_i, b_i = u_i / sum(u).
    """
    screen, w = _screen_barycentrics(found, width, height)
    weight, z = _perspective([s.clone() for s in screen], w)
    mean = (grad_bary[0] * weight[0]).add_(grad_bary[1] * weight[1]).add_(grad_bary[2] * weight[2])
    mean += grad_depth * z
    grad_u = [(g - mean).mul_(z) for g in grad_bary]
    p, owner = found.planes, found.owner
    along0 = grad_u[0] * w[0]
    along1, along2 = grad_u[1] * w[1] - along0, grad_u[2] * w[2] - along0
    grad_x = (along1 * p.a1.index_select(0, owner)).add_(along2 * p.a2.index_select(0, owner)).neg_()
    grad_y = along1.mul_(p.b1.index_select(0, owner)).add_(along2.mul_(p.b2.index_select(0, owner))).neg_()
    total = torch.zeros(3, 3, p.x0.shape[0], dtype=z.dtype, device=z.device)
    index = owner.to(torch.int64)
    for corner, share in enumerate(screen):
        total[0, corner].scatter_add_(0, index, share * grad_x)
        total[1, corner].scatter_add_(0, index, share * grad_y)
        total[2, corner].scatter_add_(0, index, share * grad_u[corner])
    total[2] *= torch.stack((p.w0, p.w1, p.w2)).square_().neg_()  # 1/z to z
    return total
