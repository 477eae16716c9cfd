"""Noise: what turns a row of text into something to learn; one kind a file.

A noiser is a frozen dataclass without state: what becomes of a row follows
from its tokens and its key, and the key from source, seed and row number, so
rows can be read in any order, again, and on any host. There are three kinds
of them, see `base`: those that give inputs and targets, those that rearrange
a text, and those that hide some of its tokens. No noiser at all means
next-token prediction.

Beside the kinds lie what they share:

  base        the three contracts
  draws       random numbers computed from keys
  spans       dividing rows at random, putting pieces together
  corruption  noise of a text that is then restored (BART's functions)
  words       where words begin, from the vocabulary
  units       what is masked together: tokens, words, spans of them
  lexicons    lists of phrases, tokenised; phrases finds them in rows
  mixed       several noisers by turns; ul2 is made of it
"""
