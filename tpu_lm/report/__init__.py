"""What happened in a run, from its folder alone: numbers, pictures, a page.

`record` reads the folder, `measures` computes, `paragraph` says it in words,
`pictures` draws it, `page` puts it together. Nothing here imports JAX.
"""
