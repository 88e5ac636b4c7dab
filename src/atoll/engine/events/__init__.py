"""Events: what happened to containers, images, volumes and networks, and when.

Holds: noting what commands do (`note.py`), reading and following the journal (`read.py`). Does not hold: the
journal's file and its bounds (`monitor/journal.py`), the events that monitors note themselves (start, die, health).
"""
