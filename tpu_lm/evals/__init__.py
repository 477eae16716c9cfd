"""Evaluations: `run(params) -> {name: number}`, one measure a file."""
