"""What is made of a comparison: `text.py` (terminal), `markdown.py`, `page.py` (one HTML file, with plots of
`plots.py`), `sizing.py` (an answer to "how many of these fit"); numbers are shown by `numbers.py`.

Holds: pure functions from values to text. Does not hold: JSON (`../values.py`).
"""
