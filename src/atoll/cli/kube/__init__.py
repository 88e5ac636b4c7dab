"""`atoll kube …`: documents of Kubernetes."""
