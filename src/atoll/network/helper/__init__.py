"""The helper process of a network, `atoll:[net] NAME`: its loop (`loop.py`), names (`resolver.py`), forwards
(`relay.py`), the proxy that looks for names (`proxy.py`). Does not hold: what it is to do (`engine/networks/serve.py`
reads that in the store)."""
