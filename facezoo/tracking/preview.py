"""A window that shows frames while they are tracked; Tk, which comes with Python."""

from __future__ import annotations

import os
import sys
from typing import Any

from PIL import Image


def has_display() -> bool:
    """Tell whether a window can be opened: there is a screen, and this Python has Tk."""
    if sys.platform not in ("win32", "darwin") and not os.environ.get("DISPLAY"):
        return False
    try:
        import tkinter

        tkinter.Tk().destroy()
    except (ImportError, RuntimeError):
        return False
    except Exception as error:  # tkinter.TclError, which cannot be named without tkinter
        if type(error).__name__ != "TclError":
            raise
        return False
    return True


class Preview:
    """A window with the newest frame.

    Args:
        title: of the window.
    """

    def __init__(self, title: str) -> None:
        import tkinter

        self._root = tkinter.Tk()
        self._root.title(title)
        self._label = tkinter.Label(self._root)
        self._label.pack()
        self._picture: Any = None  # Tk keeps no reference of its own
        self._open = True
        self._root.protocol("WM_DELETE_WINDOW", self._closed)

    def show(self, picture: Image.Image) -> None:
        """Show a frame.

        Raises:
            KeyboardInterrupt: the window was closed, which ends a live tracking as Ctrl-C does.
        """
        from PIL import ImageTk

        if self._open:
            self._picture = ImageTk.PhotoImage(picture, master=self._root)
            self._label.configure(image=self._picture)
            self._root.update()
        if not self._open:
            raise KeyboardInterrupt

    def close(self) -> None:
        """Close the window."""
        if self._open:
            self._closed()

    def _closed(self) -> None:
        self._open = False
        self._root.destroy()
