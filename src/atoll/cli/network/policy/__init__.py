"""`atoll network policy VERB`: who reaches whom on a network."""
