"""The detector trained on synthetic people only: any pose, several faces; ``python -m facezoo.detect.open_faces``."""
