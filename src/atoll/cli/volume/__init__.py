"""`atoll volume …`."""
