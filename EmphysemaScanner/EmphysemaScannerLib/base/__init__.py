"""Errors, progress, threads, and files that are written whole: what every other room uses."""
