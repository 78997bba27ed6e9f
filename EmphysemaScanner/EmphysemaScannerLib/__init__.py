"""EmphysemaScanner's library: everything but the Slicer window.

Layers, each importing only from those before it: ``core`` (numpy, SimpleITK, torch), ``engine`` (training and the
command line), ``jobs`` (threads; standard library only), ``scene`` (MRML nodes; slicer and vtk, no qt).
Importing this package loads none of them and needs no torch.
"""

__version__ = "0.1.0"
