"""The API of magistral-operator: the one source of the CRDs and of every contract between operator and workloads."""

GROUP = "training.magistral.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
