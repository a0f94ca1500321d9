"""`import facezoo` and `facezoo list` are instant, and the public names are what they are."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import facezoo

PUBLIC = {
    "Camera", "Face", "FacezooError", "HeadModel", "HeadParams", "Prediction", "info", "list_models", "load",
    "load_head",
}  # fmt: skip
HEAVY = ("torch", "numpy", "lightning", "PIL", "skimage", "timm", "torchmetrics")


def run_fresh(code: str) -> dict:
    """Run code in a new interpreter; it prints one JSON value."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def seconds_and_heavy(statement: str) -> dict:
    return run_fresh(
        "import io, json, sys, time, contextlib\n"
        "begin = time.perf_counter()\n"
        f"with contextlib.redirect_stdout(io.StringIO()):\n    {statement}\n"
        "seconds = time.perf_counter() - begin\n"
        f"print(json.dumps({{'seconds': seconds, 'heavy': [m for m in {HEAVY!r} if m in sys.modules]}}))"
    )


@pytest.mark.parametrize(
    "statement",
    [
        "import facezoo",
        "import facezoo.cli; facezoo.cli.main(['list'])",
        "import facezoo.cli; facezoo.cli.main(['info', 'dense-1609'])",
        "import facezoo; facezoo.list_models('dense-*')",
    ],
)
def test_light_commands_need_no_torch(statement: str) -> None:
    best = min((seconds_and_heavy(statement) for _ in range(2)), key=lambda result: result["seconds"])
    assert best["heavy"] == []
    assert best["seconds"] < 0.3


def test_public_names_are_pinned_and_resolve() -> None:
    assert set(facezoo.__all__) == PUBLIC | {"__version__"}
    assert set(dir(facezoo)) >= PUBLIC
    for name in PUBLIC:
        assert getattr(facezoo, name) is getattr(facezoo, name)


def test_an_unknown_name_lists_the_public_ones() -> None:
    with pytest.raises(AttributeError, match="list_models"):
        facezoo.no_such_name  # noqa: B018


def test_predicting_never_imports_lightning() -> None:
    code = (
        "import json, sys\nimport facezoo.models.load, facezoo.models.dense.predict, facezoo.viz.save\n"
        "print(json.dumps({m.split('.')[0] for m in sys.modules}.__contains__('lightning')))"
    )
    assert run_fresh(code) is False


def test_the_network_is_out_of_reach_of_tests() -> None:
    import socket

    with socket.socket() as probe, pytest.raises(RuntimeError, match="no test may use the network"):
        probe.connect(("192.0.2.1", 80))
