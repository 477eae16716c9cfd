"""Decoding: from a model and its inputs to the text that it writes."""
