"""`atoll vm …`: what containers in virtual machines are made of."""
