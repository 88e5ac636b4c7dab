"""Use cases of virtual machines: what they are made of. Holds no containers (`containers/machine.py`)."""
