"""Tools for working on this project: the local cluster, the images, the demo."""
