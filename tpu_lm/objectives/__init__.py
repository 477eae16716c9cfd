"""Objectives: frozen dataclasses, one loss a file.

Contract: `(forward, batch, rng) -> (loss, metrics, out)` where `forward(batch)`
is the model, `loss` is f32[], a sum over the tokens of the batch (the step
divides once, by the sum of the weights), and `metrics` maps a name to a
`Mean` of f32[B] row totals and weights; one of them is called 'loss'.
"""
