"""The model card in the schema of the Coalition for Health AI."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from EmphysemaScannerLib.commands import cli
from EmphysemaScannerLib.models.chaicard import NAMESPACE, NOT_STATED, chai_card
from EmphysemaScannerLib.models.modelcard import ModelCard

# The children of each element of the schema v0.2, in its order; "?" may be left out, "*" repeats.
SCHEMA = {
    "AppliedModelCard": "BasicInfo ReleaseInfo ModelSummary UsesAndDirections Warnings TrustIngredients KeyMetrics"
    " Resources Bibliography",
    "BasicInfo": "ModelName ModelDeveloper DeveloperContact",
    "ReleaseInfo": "ReleaseStage ReleaseDate ReleaseVersion GlobalAvailability EHRCompatibility? RegulatoryApproval?",
    "ModelSummary": "Summary Keywords",
    "Keywords": "Keyword*",
    "UsesAndDirections": "IntendedUseAndWorkflow PrimaryIntendedUsers HowToUse TargetedPatientPopulation"
    " CautionedOutOfScopeSettings",
    "Warnings": "KnownRisksAndLimitations KnownBiasesOrEthicalConsiderations ClinicalRiskLevel",
    "TrustIngredients": "AISystemFacts TransparencyInformation",
    "AISystemFacts": "OutcomesAndOutputs ModelType FoundationModels? InputDataSource OutputAndInputDataTypes"
    " DevelopmentDataCharacterization BiasMitigationApproaches OngoingMaintenance Security? Transparency?",
    "TransparencyInformation": "FundingSource ThirdPartyInformation? StakeholdersConsulted",
    "KeyMetrics": "UsefulnessUsabilityEfficacy FairnessEquity SafetyReliability",
    **dict.fromkeys(
        ("UsefulnessUsabilityEfficacy", "FairnessEquity", "SafetyReliability"),
        "MetricGoal Results Interpretation TestType TestingDataDescription ValidationProcessAndJustification",
    ),
    "Results": "MetricResult*",
    "MetricResult": "Label ValueJson",
    "Resources": "EvaluationReferences? ClinicalTrial? PeerReviewedPublications ReimbursementStatus?"
    " PatientConsentOrDisclosure",
}


def check(element: ET.Element) -> None:
    """An element has the children that the schema wants, in its order, or is a text."""
    name = element.tag.removeprefix(f"{{{NAMESPACE}}}")
    children = [child.tag.removeprefix(f"{{{NAMESPACE}}}") for child in element]
    if name not in SCHEMA:
        assert not children
        assert (element.text or "").strip(), name
        return
    remaining = list(children)
    for wanted in SCHEMA[name].split():
        if wanted.endswith("*"):
            while remaining and remaining[0] == wanted[:-1]:
                remaining.pop(0)
        elif remaining and remaining[0] == wanted.rstrip("?"):
            remaining.pop(0)
        else:
            assert wanted.endswith("?"), f"{wanted} is missing in {name}"
    assert not remaining, name
    for child in element:
        check(child)


def test_a_card_follows_the_schema_and_states_what_it_lacks(card: ModelCard) -> None:
    root = ET.fromstring(chai_card(card, "ab" * 32).partition("\n")[2])
    check(root)
    assert root.findtext(f".//{{{NAMESPACE}}}ModelName") == card.name
    assert "ab" * 32 in str(root.findtext(f".//{{{NAMESPACE}}}ReleaseVersion"))
    assert root.findtext(f".//{{{NAMESPACE}}}FundingSource") == NOT_STATED
    value = json.loads(str(root.findtext(f".//{{{NAMESPACE}}}ValueJson")))
    assert value == {"kind": "estimate_ci", "estimate": 0.5, "lower": 0.4, "upper": 0.6, "level": 95}


def test_the_bundled_models_card_is_written_by_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["card", "--chai", str(tmp_path / "card.xml")])
    assert ended.value.code == 0
    check(ET.parse(tmp_path / "card.xml").getroot())
