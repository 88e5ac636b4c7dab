"""Audits: what is really in force, held against what was asked for. Start reading at `limits.py`."""
