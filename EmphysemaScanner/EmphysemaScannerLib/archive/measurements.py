"""A result's figures as a structured report: TID 1500, Measurement Report (DICOM PS3.16)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import highdicom as hd
from highdicom import sr
from pydicom.sr.coding import Code

from ..lungs.measures import CLUSTER_MEASURES, DISTRIBUTION_MEASURES, LUNG_MEASURES, VOLUME, LungMeasure, Measured
from ..report import wording
from ..report.measured import region_name
from ..scan.call import Call
from . import codes as terms
from .frame import MEASUREMENTS, Frame
from .kinds import MANUFACTURER, PRODUCT
from .segmentation import DISEASE_REGION, Region

_CALLS = {Call.POSITIVE: terms.POSITIVE, Call.NEGATIVE: terms.NEGATIVE, Call.NONE: terms.UNDETERMINED}

_Group: TypeAlias = sr.VolumetricROIMeasurementsAndQualitativeEvaluations | sr.MeasurementsAndQualitativeEvaluations


def measurements(frame: Frame, found: tuple[Region, ...], segments: hd.seg.Segmentation) -> sr.EnhancedSR:
    """The report: the answer with cautions and image quality warnings, then the figures of each region.

    Args:
        frame: of the result.
        found: the regions of the segmentation, in its order.
        segments: the segmentation, to which the report refers.
    """
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=_observer(frame)),
        procedure_reported=terms.CHEST_CT,
        imaging_measurements=[_answer(frame), *_regions(frame, found, segments)],
        title=terms.REPORT_TITLE,
    )
    made = sr.EnhancedSR(
        evidence=[*frame.source.headers, segments],
        content=report[0],
        is_complete=True,
        is_final=False,
        is_verified=False,
        coding_schemes=[terms.SCHEME_ITEM],
        **frame.identity(MEASUREMENTS),
    )
    frame.finished(made, MEASUREMENTS)
    return made


def _observer(frame: Frame) -> sr.ObserverContext:
    return sr.ObserverContext(
        observer_type=hd.sr.CodedConcept("121007", "DCM", "Device"),
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=frame.uid("device"),
            name=PRODUCT,
            manufacturer_name=MANUFACTURER,
            model_name=frame.result.model.name,
            serial_number=frame.run.model_sha256 or None,
        ),
    )


def _algorithm(frame: Frame) -> sr.AlgorithmIdentification:
    card = frame.result.model
    return sr.AlgorithmIdentification(
        PRODUCT,
        frame.run.software,
        parameters=[
            f"model: {card.name}",
            f"architecture: {wording.architecture(card)}",
            f"model SHA-256: {frame.run.model_sha256}",
            f"CT voxels SHA-256: {frame.run.input_sha256}",
            f"operating point: {card.operating_point.probability:g} ({card.operating_point.source})",
            f"precision: {frame.run.precision}",
        ],
        family=terms.ARTIFICIAL_INTELLIGENCE,
        manufacturer=MANUFACTURER,
    )


def _answer(frame: Frame) -> sr.MeasurementsAndQualitativeEvaluations:
    result = frame.result
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(frame.uid("answer"), "Emphysema according to the model"),
        finding_type=terms.EMPHYSEMA,
        algorithm_id=_algorithm(frame),
        finding_sites=[_site("whole")],
        measurements=[
            sr.Measurement(terms.PROBABILITY_OF_EMPHYSEMA, result.probability, terms.NO_UNITS),
            sr.Measurement(terms.OPERATING_POINT, result.model.operating_point.probability, terms.NO_UNITS),
        ],
        qualitative_evaluations=[sr.QualitativeEvaluation(terms.CALL, _CALLS[result.call])],
        source_images=[
            sr.SourceImageForMeasurementGroup(header.SOPClassUID, header.SOPInstanceUID)
            for header in frame.source.headers
        ],
    )
    cautions = (wording.RESEARCH_USE, wording.caution(result.model))
    texts = [(terms.CAUTION, text) for text in cautions]
    texts += [(terms.COMMENT, wording.verdict(result))]
    texts += [(terms.COMMENT, f"Lung mask: {wording.mask_origin(result.lungs_from)}.")]
    if result.lobes_from is not None:
        texts += [(terms.COMMENT, f"Lobes: {wording.mask_origin(result.lobes_from)}.")]
    texts += [(terms.WARNING, warning) for warning in result.warnings]
    for name, text in texts:
        group[0].ContentSequence.append(_text(name, text))
    return group


def _text(name: Code, text: str) -> sr.TextContentItem:
    return sr.TextContentItem(name, text, sr.RelationshipTypeValues.CONTAINS)


def _regions(frame: Frame, found: tuple[Region, ...], segments: hd.seg.Segmentation) -> Iterator[_Group]:
    """A group for each region that was measured, and one for the region that the disease map marks."""
    numbers = {region.name: number for number, region in enumerate(found, start=1)}
    result = frame.result
    for name in (*result.densitometry, *result.measurements.parts):
        figures = list(_figures(frame, name))
        if not figures:
            continue
        title = region_name(name)
        tracking = sr.TrackingIdentifier(frame.uid("region", name), title)
        sites = [_site(name)] if name in terms.PLACES else [_site("whole")]
        if name in numbers:
            yield sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
                tracking,
                referenced_segment=sr.ReferencedSegment.from_segmentation(segments, numbers[name]),
                finding_type=terms.LUNG,
                finding_sites=sites,
                measurements=figures,
            )
        else:
            yield sr.MeasurementsAndQualitativeEvaluations(
                tracking, finding_type=terms.LUNG, finding_sites=sites, measurements=figures
            )
    if DISEASE_REGION in numbers:
        region = found[numbers[DISEASE_REGION] - 1]
        quantity = terms.QUANTITIES[VOLUME]
        yield sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            sr.TrackingIdentifier(frame.uid("region", DISEASE_REGION), region.label),
            referenced_segment=sr.ReferencedSegment.from_segmentation(segments, numbers[DISEASE_REGION]),
            finding_type=terms.EMPHYSEMA,
            algorithm_id=_algorithm(frame),
            finding_sites=[_site("whole")],
            measurements=[sr.Measurement(quantity.name, _litres(frame, region), quantity.unit)],
        )


def _figures(frame: Frame, name: str) -> Iterator[sr.Measurement]:
    """The measures of a region; none for what there was nothing to measure of."""
    result, further = frame.result, frame.result.measurements
    region = result.densitometry.get(name) or further.parts[name]
    yield from _coded(region, LUNG_MEASURES)
    if name in further.clusters:
        yield from _coded(further.clusters[name], CLUSTER_MEASURES)
    if name == "whole":
        yield from _coded(further.distribution, DISTRIBUTION_MEASURES)
    extent = frame.result.disease_extent_percent.get(name, math.nan)
    if math.isfinite(extent):
        yield sr.Measurement(terms.EXTENT, extent, terms.PERCENT)


def _coded(region: Measured, measures: Iterable[LungMeasure]) -> Iterator[sr.Measurement]:
    for measure in measures:
        quantity, value = terms.QUANTITIES[measure], measure.of(region)
        if math.isfinite(value):
            yield sr.Measurement(quantity.name, value, quantity.unit, derivation=quantity.derivation)


def _litres(frame: Frame, region: Region) -> float:
    """By the slices' pixels and their mean distance."""
    volume = frame.source.volume
    rows_mm, columns_mm = volume.first.pixel_mm
    apart_mm = abs(float((volume.slices[-1].position - volume.first.position) @ volume.first.normal))
    voxel_mm3 = rows_mm * columns_mm * apart_mm / (len(volume.slices) - 1)
    return int(region.mask.sum()) * voxel_mm3 / 1e6


def _site(name: str) -> sr.FindingSite:
    place = terms.PLACES[name]
    return sr.FindingSite(place.location, place.side)
