"""Published models: from their configs and tensors to ours.

`load.load` is what others call. A family is a file with a `FAMILIES` dict: by
`model_type`, how its config becomes a model and a table of tensor names.
docs/families.md says how to add one.
"""
