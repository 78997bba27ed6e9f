"""Labelled CTs: manifests, NLST, splits, leaks between splits, and the cache of averaged volumes."""
