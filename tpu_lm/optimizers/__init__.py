"""Update directions: one file each; `common.py` has the contract."""
