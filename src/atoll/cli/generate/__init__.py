"""`atoll generate …`: units for systemd."""
