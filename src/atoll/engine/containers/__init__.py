"""Containers: one file a verb, and `plan.py`, which turns a request into everything a level needs."""
