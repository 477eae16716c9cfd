"""Learning rates: one file each; `base.py` has the contract."""
