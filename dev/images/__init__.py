"""Builds the images of `images/` and brings them into the local cluster, with or without a Docker engine."""
