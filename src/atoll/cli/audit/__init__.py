"""`atoll audit …`."""
