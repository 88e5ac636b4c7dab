"""`atoll vm kernel …`: the kernels that guests boot."""
