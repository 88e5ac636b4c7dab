"""Trust: which images may be used here, by policy, and whose signatures prove it.

Holds: containers-policy.json(5), sigstore signatures by keys and by certificates, attestations (DSSE), keys of one's
own. Does not hold: fetching signatures, when a policy is asked (the engine), cryptography itself (`cryptography`).
Everything fails closed: what cannot be read, is not known or not proven is a refusal.
May import: `spec`, `base`.
Start reading at: `judge.py`, then `policy.py`.
"""
