"""Unique identifiers that are the same whenever the same object is made again."""

from __future__ import annotations

import hashlib
import uuid

from pydicom.uid import UID

_NAMESPACE = uuid.UUID("92c55eb6-1566-4c66-8b6a-0d9966de05e3")


def derived_uid(*parts: str) -> UID:
    """A UID from texts: the same texts give the same UID, others another one.

    It is "2.25." and the decimal value of a name-based UUID (RFC 4122 version 5; DICOM PS3.5 B.2) of the
    texts' SHA-256.

    Args:
        parts: what identifies the object.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, digest.hexdigest()).int}")
