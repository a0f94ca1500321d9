"""What every test gets: no network, whatever a library tries."""

from __future__ import annotations

import socket
from typing import Any

import pytest

_HERE = ("localhost", "127.0.0.1", "::1")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sockets reach this machine only."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in _HERE:
            raise RuntimeError(f"a unit test tried to reach {address[0]}: no test may use the network")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
