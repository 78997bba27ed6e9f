"""Results as MRML nodes: slicer and vtk, no Qt."""
