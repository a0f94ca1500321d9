"""The wheel carries everything a user needs: recipes, heads, weights, types; and names no bad dependency."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    pytest.importorskip("hatchling", reason="building the wheel needs hatchling: pip install -e '.[dev]'")
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_everything_a_user_needs_travels(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert {"facezoo/__init__.py", "facezoo/py.typed", "facezoo/cli/__init__.py"} <= names
    recipes = {
        f"facezoo/recipes/{path.relative_to(ROOT / 'recipes')}" for path in (ROOT / "recipes").rglob("*.yaml")
    }
    assert recipes
    assert recipes <= names
    for folder in ("weights", "heads/data"):
        files = [path for path in (ROOT / "facezoo" / folder).rglob("*") if path.is_file()]
        assert {str(path.relative_to(ROOT)) for path in files} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("CC0-1.0.txt") for name in names)


def test_nothing_else_travels(wheel: zipfile.ZipFile) -> None:
    for name in wheel.namelist():
        assert name.startswith(("facezoo/", "facezoo-")), name
        assert "__pycache__" not in name
        assert not name.endswith((".pkl", ".ckpt", ".mat"))
    assert sum(item.compress_size for item in wheel.infolist()) < 60_000_000


def test_the_metadata_refuses_what_must_be_refused(wheel: zipfile.ZipFile) -> None:
    name = next(name for name in wheel.namelist() if name.endswith("METADATA"))
    metadata = Parser().parsestr(wheel.read(name).decode())
    needs = metadata.get_all("Requires-Dist") or []
    lightning = next(need for need in needs if need.startswith("lightning"))
    assert "!=2.6.2" in lightning
    assert "!=2.6.3" in lightning
    for forbidden in ("drtk", "chumpy", "smplx", "theseus", "opencv", "pytorch3d"):
        assert not any(need.lower().startswith(forbidden) for need in needs)
    assert metadata["Requires-Python"] == ">=3.11"
    scripts = wheel.read(
        next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    ).decode()
    assert "facezoo = facezoo.cli:main" in scripts
