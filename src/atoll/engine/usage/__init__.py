"""Usage: what containers have used since they were made, by container and by label.

Holds: the report (`report.py`). Does not hold: the counting (`monitor/usage.py`), what is used at this moment
(`containers/stats.py`).
"""
