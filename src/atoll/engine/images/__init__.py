"""Images: one module a verb. Start reading at `resolve.py`."""
