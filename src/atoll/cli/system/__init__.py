"""`atoll system …`: a file per second word."""
