"""`atoll manifest …`: a file per second word."""
