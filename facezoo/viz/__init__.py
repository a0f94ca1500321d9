"""How results look: overlays, meshes with texture and morph targets, files."""
