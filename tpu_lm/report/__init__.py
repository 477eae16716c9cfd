"""What happened in a run, from its folder alone: numbers, pictures, a page.

`record` reads the folder, `measures` computes, `paragraph` says it in words,
`tables` lists it, `pictures` draws it, `page` puts it together. Nothing here
imports JAX, and Matplotlib is imported only to draw.
"""

from tpu_lm.report.page import write_report
from tpu_lm.report.tables import summary_table

__all__ = ['summary_table', 'write_report']
