"""Animations in USDA: read with a strict small parser, and played by USD itself where it is installed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facezoo.errors import InputError
from facezoo.mesh.io import write_usda
from facezoo.mesh.io.animation import Animation
from facezoo.mesh.mesh import Mesh

FACES = np.array([[0, 1, 2], [0, 2, 3]])
POINTS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.5]], np.float32)
TARGETS = {
    "jawOpen": np.array([[0, -0.5, 0], [0, 0, 0], [0, 0, 0], [0.25, 0, 0]], np.float32),
    "mouth smile": np.array([[0, 0, 0], [0, 0, 1e-7], [0, 0.125, 0], [0, 0, 0]], np.float32),
}


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    return Mesh(vertices=POINTS, faces=FACES, morph_targets=TARGETS, name="somebody")


@pytest.fixture(scope="module")
def motion() -> Animation:
    g = np.random.default_rng(0)
    return Animation(
        times=(np.array([0, 1, 2, 5]) / 30).astype(np.float32),
        weights=g.uniform(0, 1, (4, 2)).astype(np.float32),
        rotations=Rotation.random(4, random_state=0).as_quat().astype(np.float32),
        translations=g.normal(size=(4, 3)).astype(np.float32),
    )


def played(motion: Animation, key: int) -> np.ndarray:
    shape = POINTS + np.tensordot(motion.weights[key], np.stack(list(TARGETS.values())), 1)
    return Rotation.from_quat(motion.rotations[key]).apply(shape) + motion.translations[key]


class Parser:
    """The part of USDA's grammar that we write; anything else is an error.

    A layer is ``#usda 1.0``, metadata, prims. A prim is a dict: type, name, metadata, attributes, children.
    """

    TOKEN = re.compile(
        r'\s*(?:("(?:[^"\\]|\\.)*")|(@[^@]*@)|(<[^>]*>)|(-?\d+(?:\.\d*)?(?:e[+-]?\d+)?)|([A-Za-z_][\w:.\[\]]*)|([()\[\]{}=,:]))'
    )

    def __init__(self, text: str) -> None:
        assert text.startswith("#usda 1.0\n")
        body, at, self.tokens = text[len("#usda 1.0\n") :], 0, []
        while body[at:].strip():
            match = self.TOKEN.match(body, at)
            assert match, f"no token: {body[at : at + 40]!r}"
            self.tokens.append(match.group().strip())
            at = match.end()
        self.at = 0
        self.metadata = self.table("(", ")") if self.peek() == "(" else {}
        self.prims = []
        while self.at < len(self.tokens):
            self.prims.append(self.prim())

    def peek(self) -> str:
        return self.tokens[self.at]

    def take(self, wanted: str | None = None) -> str:
        token = self.tokens[self.at]
        assert wanted in (None, token), f"{wanted!r} expected, {token!r} found"
        self.at += 1
        return token

    def table(self, begin: str, end: str) -> dict[str, Any]:
        self.take(begin)
        out = {}
        while self.peek() != end:
            name = self.take()
            if name == "prepend":
                name = self.take()
            self.take("=")
            assert name not in out
            out[name] = self.value()
        self.take(end)
        return out

    def value(self) -> Any:
        token = self.take()
        if token in "([":
            close, out = ")" if token == "(" else "]", []
            while self.peek() != close:
                out.append(self.value())
                if self.peek() != close:
                    self.take(",")
            self.take(close)
            return out
        if token[0] in '"@<':
            return token[1:-1]
        return float(token)

    def prim(self) -> dict[str, Any]:
        self.take("def")
        kind, name = self.take(), self.take()[1:-1]
        assert re.fullmatch(r"[A-Za-z_]\w*", name)
        metadata = self.table("(", ")") if self.peek() == "(" else {}
        attributes: dict[str, Any] = {}
        children = []
        self.take("{")
        while self.peek() != "}":
            if self.peek() == "def":
                children.append(self.prim())
                continue
            words = [self.take()]
            while self.peek() != "=":
                words.append(self.take())
            self.take("=")
            assert words[-1] not in attributes and 2 <= len(words) <= 3
            attributes[words[-1]] = self.samples() if words[-1].endswith(".timeSamples") else self.value()
            if self.peek() == "(":
                self.table("(", ")")
        self.take("}")
        return {
            "type": kind,
            "name": name,
            "metadata": metadata,
            "attributes": attributes,
            "children": children,
        }

    def samples(self) -> dict[float, Any]:
        self.take("{")
        out: dict[float, Any] = {}
        while self.peek() != "}":
            code = float(self.take())
            self.take(":")
            out[code] = self.value()
            self.take(",")
        self.take("}")
        assert list(out) == sorted(out)
        return out


def test_usda_animation_reads_back(mesh: Mesh, motion: Animation, tmp_path: Path) -> None:
    layer = Parser(write_usda(tmp_path / "m.usda", mesh, motion, comment='head "open"').read_text())
    assert layer.metadata["timeCodesPerSecond"] == 30 and layer.metadata["endTimeCode"] == 5
    (root,) = layer.prims
    assert root["type"] == "SkelRoot" and root["name"] == layer.metadata["defaultPrim"]
    body, skeleton = root["children"]
    (play,) = skeleton["children"]
    weights = play["attributes"]["blendShapeWeights.timeSamples"]
    assert list(weights) == [0, 1, 2, 5]
    assert (
        play["attributes"]["blendShapes"]
        == body["attributes"]["skel:blendShapes"]
        == ["jawOpen", "mouth_smile"]
    )
    paths = {f"/{root['name']}/mesh/{child['name']}" for child in body["children"]}
    assert set(body["attributes"]["skel:blendShapeTargets"]) == paths
    assert body["attributes"]["skel:skeleton"] == "/somebody/skeleton"
    assert skeleton["attributes"]["skel:animationSource"] == "/somebody/skeleton/motion"
    turns, shifts = (root["attributes"][f"xformOp:{op}.timeSamples"] for op in ("orient", "translate"))
    for key, code in enumerate(weights):
        shape = np.array(body["attributes"]["points"])
        for weight, child in zip(weights[code], body["children"], strict=True):
            ids = np.array(child["attributes"]["pointIndices"], int)
            shape[ids] += weight * np.array(child["attributes"]["offsets"])
        w, *xyz = turns[code]
        got = Rotation.from_quat([*xyz, w]).apply(shape) + shifts[code]
        np.testing.assert_allclose(got, played(motion, key), atol=1e-6)


def test_usd_plays_the_animation(mesh: Mesh, motion: Animation, tmp_path: Path) -> None:
    usd = pytest.importorskip("pxr.Usd", reason="usd-core is not installed")
    from pxr import UsdGeom, UsdSkel

    stage = usd.Stage.Open(str(write_usda(tmp_path / "m.usda", mesh, motion)))
    assert stage.GetTimeCodesPerSecond() == 30 and stage.GetEndTimeCode() == 5
    root = UsdSkel.Root(stage.GetDefaultPrim())
    assert UsdSkel.BakeSkinning(root, __import__("pxr.Gf", fromlist=["Gf"]).Interval(0, 5))
    body = UsdGeom.Mesh(stage.GetPrimAtPath("/somebody/mesh"))
    for key, code in enumerate((0, 1, 2, 5)):
        points = np.array(body.GetPointsAttr().Get(code))
        matrix = np.array(UsdGeom.XformCache(code).GetLocalToWorldTransform(body.GetPrim()))
        world = np.c_[points, np.ones(len(points))] @ matrix
        np.testing.assert_allclose(world[:, :3], played(motion, key), atol=1e-5)


def test_animations_that_do_not_fit_are_refused(mesh: Mesh, motion: Animation, tmp_path: Path) -> None:
    plain = Mesh(vertices=POINTS, faces=FACES)
    with pytest.raises(InputError, match="weights must be"):
        write_usda(tmp_path / "m.usda", plain, motion)
    still = Animation(motion.times[::-1], motion.weights, motion.rotations, motion.translations)
    with pytest.raises(InputError, match="must rise"):
        write_usda(tmp_path / "m.usda", mesh, still)
    assert not list(tmp_path.iterdir())
