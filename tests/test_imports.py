"""Dependencies point one way: docs/architecture.md's arrows, checked on the source."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "facezoo"

# Left to right: a room may import from its own column and from columns to its left.
COLUMNS = (
    {"checks", "errors", "settings", "types"},
    {"geometry", "mesh"},
    {"heads", "render", "metrics", "backbones"},
    {"fitting", "detect", "losses", "synth", "data", "catalog", "hub"},
    {"models"},
    {"training", "predicting", "tracking", "evaluation", "export", "viz", "config"},
    {"cli", "train", "__init__", "__main__"},
)
COLUMN = {room: index for index, column in enumerate(COLUMNS) for room in column}
# `config.py` is the front door of `training`: one room for the question of circles.
SAME_ROOM = {"config": "training"}
# Faces save and draw themselves when asked to: imported at call time, never when `types` is.
CALL_TIME = {("types", "viz"), ("models", "tracking")}
# Rooms that need no torch, so that `facezoo list` is instant.
LIGHT = {
    "__init__", "__main__", "catalog/__init__", "catalog/rows", "catalog/specs", "checks", "errors", "settings",
    "cli/__init__", "cli/list_command", "cli/info_command",
}  # fmt: skip
# Optional packages and the only files that may import them.
ONE_FILE = {
    "pytorch3d": {"render/pytorch3d.py"},
    "wandb": {"training/run.py"},
    "av": {"data/video_file.py"},
}
FORBIDDEN = {"pytorch_lightning", "cv2", "chumpy", "smplx", "theseus", "trimesh", "drtk"}


@functools.cache
def imports(path: Path) -> tuple[tuple[str, bool], ...]:
    """Return (module, at call time) for every import that runs, i.e. not under TYPE_CHECKING."""
    package = ("facezoo", *path.relative_to(PACKAGE).parent.parts)

    def visit(node: ast.AST, deferred: bool) -> Iterator[tuple[str, bool]]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.orelse:
                yield from visit(child, deferred)
            return
        if isinstance(node, ast.Import):
            yield from ((alias.name, deferred) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(
                    [*package[: len(package) - node.level + 1], *([node.module] if node.module else [])]
                )
            # `from facezoo import catalog` names a room only in its last part
            yield from (
                (f"{base}.{alias.name}" if base == "facezoo" else base, deferred) for alias in node.names
            )
        inside = deferred or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    return tuple(visit(ast.parse(path.read_text(encoding="utf-8")), False))


def room_of(module: str) -> str | None:
    """Return the room of a facezoo module, None for any other package."""
    parts = module.split(".")
    if parts[0] != "facezoo":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in COLUMN else "__init__"


FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in FILES]


def owner_of(name: str) -> str:
    return name.split("/")[0].removesuffix(".py")


def test_every_room_has_a_column() -> None:
    assert {owner_of(name) for name in NAMES} <= set(COLUMN)


@pytest.mark.parametrize("name", NAMES)
def test_no_arrow_runs_back(name: str) -> None:
    room = owner_of(name)
    for module, deferred in imports(PACKAGE / name):
        target = room_of(module)
        if target is None or target == room or (deferred and (room, target) in CALL_TIME):
            continue
        if target == "__init__":  # the version is all that may be asked of the package itself
            assert module in ("facezoo", "facezoo.__version__"), f"{name} imports {module}"
            continue
        assert COLUMN[target] <= COLUMN[room], f"{name} imports {module}: {room} lies left of {target}"


def test_rooms_of_one_column_do_not_import_each_other_in_circles() -> None:
    arrows: dict[str, set[str]] = {}
    for name in NAMES:
        room = SAME_ROOM.get(owner_of(name), owner_of(name))
        for module, deferred in imports(PACKAGE / name):
            target = room_of(module)
            target = SAME_ROOM.get(str(target), target)
            if target not in (None, "__init__", room) and (room, target) not in CALL_TIME and not deferred:
                arrows.setdefault(room, set()).add(str(target))

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for target in arrows.get(todo.pop(), set()) - seen:
                seen.add(target)
                todo.append(target)
        return seen

    assert [room for room in arrows if room in reach(room)] == []


@pytest.mark.parametrize("name", NAMES)
def test_lightning_stays_right_of_models(name: str) -> None:
    if COLUMN[owner_of(name)] <= COLUMN["models"]:
        assert [module for module, _ in imports(PACKAGE / name) if module.split(".")[0] == "lightning"] == []


@pytest.mark.parametrize("name", NAMES)
def test_packages_are_imported_where_they_may_be(name: str) -> None:
    for module, _ in imports(PACKAGE / name):
        top = module.split(".")[0]
        assert top not in FORBIDDEN, f"{name} imports {module}"
        assert name in ONE_FILE.get(top, {name}), f"{name} imports {module}; only {ONE_FILE.get(top)} may"


def test_methods_do_not_import_each_other() -> None:
    for name in NAMES:
        parts = name.split("/")
        if parts[0] != "models" or len(parts) < 3:
            continue
        for module, _ in imports(PACKAGE / name):
            other = module.split(".")
            if (
                other[:2] == ["facezoo", "models"]
                and len(other) > 2
                and (PACKAGE / "models" / other[2]).is_dir()
            ):
                assert other[2] == parts[1], f"{name} imports {module}"


@pytest.mark.parametrize("name", sorted(LIGHT))
def test_light_rooms_import_nothing_heavy(name: str) -> None:
    heavy = {"torch", "lightning", "numpy", "PIL", "skimage", "timm", "torchmetrics"}
    found = {module.split(".")[0] for module, deferred in imports(PACKAGE / f"{name}.py") if not deferred}
    assert not found & heavy
