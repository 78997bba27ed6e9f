"""Layer ``window``: the panels of Slicer's module window; the only layer that may use qt."""
