"""Names: DNS messages (`message.py`), a network's own names (`zone.py`). Does not hold: asking others, and answering,
which a network's helper does (`helper/resolver.py`)."""
