"""Convolutional networks every method may stand on: our own small one, and any of timm."""
