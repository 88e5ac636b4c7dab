"""The command line: `atoll`, with Docker's words.

Holds: the table of commands and flags, their parsing, what is printed, terminals. Does not hold: any logic of
containers or images (`engine`): a command parses, calls the engine once or twice, and renders.
May import: engine and what it hands out, base, linux (terminals, signals).
Start reading at: `main.py`, `commands.py` (the table), `run.py`.
"""
