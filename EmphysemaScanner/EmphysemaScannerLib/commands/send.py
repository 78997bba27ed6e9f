"""The command ``send``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..base.errors import shown
from .progress import progress_bar


def send(
    folder: Annotated[
        Path, typer.Argument(help="Folder with DICOM objects of scan or batch, at any depth.", show_default=False)
    ],
    archive: Annotated[
        str, typer.Argument(help="dicomwebs://HOST[:PORT]/PATH, or dicomweb:// without HTTPS.", show_default=False)
    ],
) -> None:
    """Send DICOM objects to an archive (STOW-RS); sending them again is safe."""
    from ..archive.sending import send as send_objects
    from ..archive.webaddress import WebAddress

    address = WebAddress.parse(archive)
    with progress_bar() as progress:
        sent = send_objects(folder, address, progress)
    print(shown(str(sent)))
