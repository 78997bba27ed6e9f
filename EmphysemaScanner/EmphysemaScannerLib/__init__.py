"""EmphysemaScanner's library: everything but the Slicer window.

Each folder says in one sentence what it is for, and imports only from those above it in docs/architecture.md.
Importing this package loads none of them and needs no torch.
"""

__version__ = "0.1.0"
