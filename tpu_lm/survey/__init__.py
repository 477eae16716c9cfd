"""What a mixture holds and a run will read of it, before any is spent.

`facts` counts, `sources` shows it; `reading` foresees a run's phases; `rows`
shows packed rows, spelled by `spelling`; `overlap` looks for evaluation sets;
`page` puts all of it on the terminal, or into a file. `sample` draws texts to
train a vocabulary on.
"""
