"""Layers: one `nnx.Module` a file, every parameter with its axis names."""
