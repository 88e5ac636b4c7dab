"""Tests that run inside the test host, on the real thing: no corner, no stand-ins. Started by tests/host/run."""
