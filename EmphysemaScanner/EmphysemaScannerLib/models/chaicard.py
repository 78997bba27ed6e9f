"""A model card as an Applied Model Card of the Coalition for Health AI: XML after its schema v0.2.

Source: https://mc.chai.org/v0.2/schema.xsd. The order of elements is the schema's. What our card does not state is
written as such: nothing is made up for the form.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

from .. import __version__
from .modelcard import ARCHITECTURE_TITLES, Metric, ModelCard

NAMESPACE = "https://mc.chai.org/v0.2/schema.xsd"
NOT_STATED = "Not stated in the model's card."

_Tree = tuple[str, "str | list[_Tree]"]


def chai_card(card: ModelCard, sha256: str) -> str:
    """The card as XML text.

    Args:
        card: of the model.
        sha256: the checksum that the model's file states.
    """
    ET.register_namespace("", NAMESPACE)
    root = _element(("AppliedModelCard", _contents(card, sha256)))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _contents(card: ModelCard, sha256: str) -> list[_Tree]:
    architecture = ARCHITECTURE_TITLES.get(card.architecture, card.architecture)
    point = card.operating_point
    outputs = f"Probability of emphysema; positive from {point.probability:g} on: {point.source}."
    stage = "Demonstration; its output must not be interpreted for any patient" if card.demonstration else "Research"
    return [
        ("BasicInfo", [
            ("ModelName", card.name),
            ("ModelDeveloper", NOT_STATED),
            ("DeveloperContact", NOT_STATED),
        ]),
        ("ReleaseInfo", [
            ("ReleaseStage", stage),
            ("ReleaseDate", card.trained_on),
            ("ReleaseVersion", f"EmphysemaScanner {__version__}; model SHA-256 {sha256}"),
            ("GlobalAvailability", NOT_STATED),
            ("RegulatoryApproval", "None. Research use only."),
        ]),
        ("ModelSummary", [
            ("Summary", f"Estimates the probability of emphysema in a chest CT ({architecture})."),
            ("Keywords", [("Keyword", word) for word in ("emphysema", "computed tomography", architecture)]),
        ]),
        ("UsesAndDirections", [
            ("IntendedUseAndWorkflow", card.intended_use),
            ("PrimaryIntendedUsers", "Researchers."),
            ("HowToUse", "In 3D Slicer's module Emphysema Scanner, or with the command emphysema-scanner scan."),
            ("TargetedPatientPopulation", NOT_STATED),
            ("CautionedOutOfScopeSettings", card.limits),
        ]),
        ("Warnings", [
            ("KnownRisksAndLimitations", card.limits),
            ("KnownBiasesOrEthicalConsiderations", NOT_STATED),
            ("ClinicalRiskLevel", "Not assessed: not for clinical use."),
        ]),
        ("TrustIngredients", [
            ("AISystemFacts", [
                ("OutcomesAndOutputs", outputs),
                ("ModelType", f"{architecture}, {card.parameters:,} parameters."),
                ("InputDataSource", "Chest CT in Hounsfield units."),
                ("OutputAndInputDataTypes", "In: DICOM, NRRD, NIfTI, MHA. Out: JSON, CSV, HTML, PDF, NRRD, DICOM."),
                ("DevelopmentDataCharacterization", "\n".join((card.training_data, *card.training_log))),
                ("BiasMitigationApproaches", NOT_STATED),
                ("OngoingMaintenance", NOT_STATED),
                ("Security", "The model file is safetensors with a checksum; opening it runs no code."),
            ]),
            ("TransparencyInformation", [
                ("FundingSource", NOT_STATED),
                ("StakeholdersConsulted", NOT_STATED),
            ]),
        ]),
        ("KeyMetrics", [
            ("UsefulnessUsabilityEfficacy", _key_metric(card.metrics)),
            ("FairnessEquity", _key_metric(())),
            ("SafetyReliability", _key_metric(())),
        ]),
        ("Resources", [
            ("PeerReviewedPublications", "\n".join(card.citations) or NOT_STATED),
            ("PatientConsentOrDisclosure", NOT_STATED),
        ]),
        ("Bibliography", "\n".join(card.citations) or NOT_STATED),
    ]  # fmt: skip


def _key_metric(metrics: tuple[Metric, ...]) -> list[_Tree]:
    data = "; ".join(dict.fromkeys(metric.data for metric in metrics)) or NOT_STATED
    results: list[_Tree] = [
        ("MetricResult", [("Label", metric.name), ("ValueJson", _value(metric))]) for metric in metrics
    ]
    if not results:  # the schema wants one
        nothing = json.dumps({"kind": "single", "value": None})
        results = [("MetricResult", [("Label", "Not measured"), ("ValueJson", nothing)])]
    return [
        ("MetricGoal", NOT_STATED),
        ("Results", results),
        ("Interpretation", NOT_STATED),
        ("TestType", NOT_STATED),
        ("TestingDataDescription", data),
        ("ValidationProcessAndJustification", NOT_STATED),
    ]


def _value(metric: Metric) -> str:
    bounds = {"lower": metric.low, "upper": metric.high, "level": 95}
    return json.dumps({"kind": "estimate_ci", "estimate": metric.value, **bounds})


def _element(tree: _Tree) -> ET.Element:
    name, contents = tree
    element = ET.Element(f"{{{NAMESPACE}}}{name}")
    if isinstance(contents, str):
        element.text = contents
    else:
        element.extend(_element(part) for part in contents)
    return element
