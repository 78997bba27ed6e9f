"""The model that comes with EmphysemaScanner: the published network, honest about itself, and it answers."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from EmphysemaScannerLib.models import modelfile
from EmphysemaScannerLib.models.modelfolder import default_model_path
from EmphysemaScannerLib.models.networks import keras_parameter_count
from EmphysemaScannerLib.scan.call import Call
from EmphysemaScannerLib.scan.scan import scan
from EmphysemaScannerLib.simulator.case import put_in
from EmphysemaScannerLib.simulator.disease import Disease, Subtype


def test_it_is_the_published_network_and_says_that_it_is_a_demonstration() -> None:
    model = modelfile.load(default_model_path())
    assert keras_parameter_count(model.network) == model.card.parameters == 901_793
    assert model.card.preprocessing.shape == (35, 128, 128)
    assert model.card.demonstration
    assert "simulated" in model.card.training_data.lower()
    assert "Not validated on patients" in model.card.limits
    assert any(metric.name == "AUC" and metric.low < metric.value < metric.high for metric in model.card.metrics)


def test_simulated_emphysema_in_a_real_chest_raises_its_probability_over_the_operating_point(chest: sitk.Image) -> None:
    model = modelfile.load(default_model_path())
    healthy = scan(chest, model)
    labels = np.asarray(healthy.lung_mask.values, np.uint8)
    diseased = scan(put_in(chest, labels, Disease(Subtype.CENTRILOBULAR, 25), seed=5).image, model)
    assert healthy.call is Call.NEGATIVE
    assert diseased.call is Call.POSITIVE
    assert healthy.disease_extent_percent["whole"] < 1 < 10 < diseased.disease_extent_percent["whole"]
    assert list(healthy.class_activations) == ["asc1", "desc1", "asc2", "desc2"]
    assert np.isclose(healthy.bias + healthy.slices.evidence.sum(), healthy.logit, atol=1e-4)
