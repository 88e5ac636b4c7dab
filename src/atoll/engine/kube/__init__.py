"""Kubernetes' documents on this host: pods of them, and them of pods.

Holds: `play` (documents become pods, containers, volumes, secrets), `down`, `generate`. Does not hold: reading
documents (`spec/kube.py`), what pods are (`engine/pods`). Start reading at `play.py`; `translate.py` is the pure
middle: a pod's document in, requests out, nothing touched.
"""
