"""`atoll secret …`."""
