"""Methods: what modifies training, one file each; hooks in `state.Method`."""
