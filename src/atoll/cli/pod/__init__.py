"""`atoll pod …`: Podman's commands for pods."""
