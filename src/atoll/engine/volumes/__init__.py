"""Volumes: directories with a name, that outlive containers. Start reading at `store.py`."""
