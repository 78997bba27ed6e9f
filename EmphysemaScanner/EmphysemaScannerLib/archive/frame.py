"""What all of our DICOM objects have in common: the study that they join, their series, UIDs, equipment and dates."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

from ..scan.manifest import RunManifest
from ..scan.result import ScanResult
from ..scan.serialise import result_to_dict
from .kinds import MANUFACTURER, PRODUCT
from .source import Source, latest
from .uids import derived_uid

RESEARCH = "research use only"
_OWN_NUMBERS = 9000  # of series, where the CT's own has none, or one too long to put digits behind
_LARGEST_NUMBER = 2**31 // 100
_NOT_OF_THE_ANSWER = ("timings_s", "run", "source", "schema")
_DATES_OF_WRITING = ("InstanceCreationDate", "InstanceCreationTime", "SeriesDate", "SeriesTime")


@dataclass(frozen=True)
class SeriesOfOurs:
    """One of the series that are added to the study.

    Attributes:
        name: by which its UID is derived.
        number: its last digit in the SeriesNumber.
        description: SeriesDescription.
    """

    name: str
    number: int
    description: str


SEGMENTATION = SeriesOfOurs("segmentation", 1, "EmphysemaScanner segmentation")
MEASUREMENTS = SeriesOfOurs("measurements", 2, "EmphysemaScanner measurements")
DISEASE = SeriesOfOurs("disease map", 3, "EmphysemaScanner disease map")
EVIDENCE = SeriesOfOurs("evidence", 4, "EmphysemaScanner evidence")
REPORT = SeriesOfOurs("report", 5, "EmphysemaScanner report")
PAGES = SeriesOfOurs("report pages", 6, "EmphysemaScanner report pages")


@dataclass(frozen=True, eq=False)
class Frame:
    """What objects of one result are made in.

    Attributes:
        source: the CT's series.
        result: of the scan of it.
    """

    source: Source
    result: ScanResult

    @property
    def run(self) -> RunManifest:
        """What the result came from; ``source_of`` refuses a result without it."""
        assert self.result.run is not None
        return self.result.run

    def uid(self, *parts: str) -> UID:
        """A UID of this CT's series, by this version and model, for what ``parts`` name."""
        return derived_uid(str(self.source.first.SeriesInstanceUID), self.run.software, self.run.model_sha256, *parts)

    @cached_property
    def answer_sha256(self) -> str:
        """Of all that a result states and shows, so that another answer never gets the same SOPInstanceUID."""
        values = {key: value for key, value in result_to_dict(self.result).items() if key not in _NOT_OF_THE_ANSWER}
        digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
        maps = (self.result.lung_mask, self.result.disease, self.result.evidence, self.result.lobe_mask)
        for one in maps:
            digest.update(b"" if one is None else np.ascontiguousarray(one.values).tobytes())
        return digest.hexdigest()

    def identity(self, series: SeriesOfOurs, instance: int = 1) -> dict[str, Any]:
        """UIDs, numbers and equipment of an object, as arguments of highdicom's constructors."""
        stated = str(self.source.first.SeriesNumber or "")
        own = int(stated) if stated.isdecimal() and 0 < int(stated) < _LARGEST_NUMBER else _OWN_NUMBERS
        return {
            "series_instance_uid": self.uid(series.name),
            "series_number": 100 * own + series.number,
            "series_description": f"{series.description} ({RESEARCH})",
            "sop_instance_uid": self.uid(series.name, str(instance), self.answer_sha256),
            "instance_number": instance,
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": PRODUCT,
            "software_versions": self.run.software,
            "device_serial_number": self.run.model_sha256 or "unknown",
        }

    def finished(self, dataset: Dataset, series: SeriesOfOurs) -> Dataset:
        """An object without anything that differs from one writing to the next.

        Its content's date and time are those of the CT, which it describes: with the time of writing, the same object
        written again would be another one under the same UID, and a study whose dates were shifted for anonymity would
        get a true one.
        """
        for name in _DATES_OF_WRITING:
            if name in dataset:
                delattr(dataset, name)
        date, time = latest(self.source.headers)
        if not date:  # no image of the CT has one, and the standard requires it
            date, time = self.run.started[:10].replace("-", ""), self.run.started[11:19].replace(":", "")
        if "ContentDate" in dataset:
            dataset.ContentDate, dataset.ContentTime = date, time or "000000"
        for item in dataset.get("ContributingEquipmentSequence", ()):
            if "ContributionDateTime" in item:
                del item.ContributionDateTime
        if "BodyPartExamined" not in dataset and "ImageType" in dataset:
            dataset.BodyPartExamined = "CHEST"  # no paired part, so that no laterality has to be stated
        organization = self.uid(series.name, "dimensions")
        for item in dataset.get("DimensionOrganizationSequence", ()):
            item.DimensionOrganizationUID = organization
        for item in dataset.get("DimensionIndexSequence", ()):
            item.DimensionOrganizationUID = organization
        return dataset


def reference(header: Dataset) -> Dataset:
    """A reference to an image of the CT."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    return item
