"""`atoll network …`."""
