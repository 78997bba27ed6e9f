"""The report as DICOM: an encapsulated PDF, and its pages as pictures for archives that show nothing else."""

from __future__ import annotations

import io
from collections.abc import Iterator

import highdicom as hd
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import UID, EncapsulatedPDFStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from ..report.contents import Case
from ..report.pdfreport import render_pages, render_pdf
from . import codes as terms
from .frame import PAGES, REPORT, Frame, SeriesOfOurs, reference

TITLE = "EmphysemaScanner report"


def encapsulated_pdf(frame: Frame, case: Case) -> Dataset:
    """The report as an encapsulated PDF (DICOM PS3.3 A.45.1).

    Args:
        frame: of the result.
        case: its CT and result.
    """
    made = _document(frame, REPORT, EncapsulatedPDFStorage, "DOC")
    made.AcquisitionDateTime = None
    made.DocumentTitle = TITLE
    made.ConceptNameCodeSequence = [hd.sr.CodedConcept.from_code(terms.REPORT_TITLE)]
    made.SourceInstanceSequence = [reference(header) for header in frame.source.headers]
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document = render_pdf(case)
    made.EncapsulatedDocumentLength = len(document)
    made.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    return frame.finished(made, REPORT)


def pages(frame: Frame, case: Case) -> Iterator[Dataset]:
    """The report's pages as secondary captures (DICOM PS3.3 A.8.1), in colour, in their order."""
    for number, page in enumerate(render_pages(case), start=1):
        pixels = np.asarray(Image.open(io.BytesIO(page)).convert("RGB"))
        made = _document(frame, PAGES, SecondaryCaptureImageStorage, "OT", number)
        made.ImageType = ["DERIVED", "SECONDARY"]
        made.PatientOrientation = None
        made.ImageComments = f"{TITLE}, page {number}"
        made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "RGB", 0
        made.Rows, made.Columns = pixels.shape[:2]
        made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
        made.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
        yield frame.finished(made, PAGES)


def _document(frame: Frame, series: SeriesOfOurs, sop_class: UID, modality: str, instance: int = 1) -> Dataset:
    """An object of the CT's patient and study, without its content."""
    first = frame.source.first
    made: Dataset = hd.SOPClass(
        study_instance_uid=first.StudyInstanceUID,
        sop_class_uid=sop_class,
        modality=modality,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set=first.SpecificCharacterSet,
        patient_id=first.PatientID,
        patient_name=first.PatientName,
        patient_birth_date=first.PatientBirthDate,
        patient_sex=first.PatientSex,
        accession_number=first.AccessionNumber,
        study_id=first.StudyID,
        study_date=first.StudyDate,
        study_time=first.StudyTime,
        referring_physician_name=first.ReferringPhysicianName,
        **frame.identity(series, instance),
    )
    made.copy_patient_and_study_information(first)
    made.ConversionType = "SYN"
    made.BurnedInAnnotation = "NO"  # the report names no patient
    return made
