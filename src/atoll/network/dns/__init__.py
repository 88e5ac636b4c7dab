"""Names: DNS messages (`message.py`), a network's own names (`zone.py`), asking others (`upstream.py`), answering
(`server.py`)."""
