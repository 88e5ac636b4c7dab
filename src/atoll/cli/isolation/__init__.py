"""`atoll isolation …`: the dial."""
