"""Work off the main thread: standard library only, no Slicer, no Qt, no torch."""
