"""The Conv-LSTM and the baselines: sizes as published, directions, pooling."""

import dataclasses

import numpy as np
import pytest
import torch
from EmphysemaScannerLib.base.errors import ModelFileError
from EmphysemaScannerLib.models.baselines import MILNetwork, Pooling, pool
from EmphysemaScannerLib.models.conv_lstm import ConvLSTM, ConvLSTMConfig, ConvLSTMNetwork, Direction
from EmphysemaScannerLib.models.modelcard import ARCHITECTURE_TITLES
from EmphysemaScannerLib.models.modelfolder import default_model_path
from EmphysemaScannerLib.models.modelheader import read_card
from EmphysemaScannerLib.models.networks import ARCHITECTURES, build, keras_parameter_count, logits
from EmphysemaScannerLib.models.preprocessing import Needs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

NAMES = sorted(ARCHITECTURES)
IMAGE_NAMES = [name for name in NAMES if ARCHITECTURES[name].needs is Needs.VOLUME]
SLICES = 17
LOGITS = st.lists(st.floats(-40, 40), min_size=1, max_size=12)


def small(name: str) -> nn.Module:
    torch.manual_seed(1)
    network = build(name, width=4, image_size=32, slices=SLICES)
    for module in network.modules():  # so that normalisation is not the identity
        if isinstance(module, _BatchNorm):
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.2, 0.8)
    if ARCHITECTURES[name].needs is Needs.DENSITOMETRY:
        nn.init.constant_(network.weight, 0.1)
        nn.init.constant_(network.bias, -1)
    return network.eval()


def volumes(count: int = 2) -> torch.Tensor:
    return torch.rand((count, SLICES, 1, 32, 32), generator=torch.Generator().manual_seed(2))


def inputs(name: str, count: int) -> torch.Tensor:
    densities = torch.tensor([[2.0, -910.0], [12.0, -940.0], [30.0, -965.0]])
    return densities[:count] if ARCHITECTURES[name].needs is Needs.DENSITOMETRY else volumes(count)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("conv_lstm", 901_793),
        ("mil_max", 1_011_393),
        ("mil_mean", 1_011_393),
        ("mil_product", 1_011_393),
        ("cnn3d", 958_213),
    ],
)
def test_each_network_has_exactly_the_published_number_of_parameters(name: str, published: int) -> None:
    assert keras_parameter_count(build(name)) == published
    assert ARCHITECTURES[name].published_parameters == published


def test_the_registry_holds_every_architecture_that_cards_know_under_its_own_name() -> None:
    assert set(ARCHITECTURES) == set(ARCHITECTURE_TITLES)
    assert all(architecture.name == name for name, architecture in ARCHITECTURES.items())


def test_the_attention_network_is_about_as_large_as_the_others_of_its_kind() -> None:
    assert keras_parameter_count(build("mil_attention")) == 1_011_618
    assert ARCHITECTURES["mil_attention"].published_parameters is None


def test_attention_weighs_the_slices_own_logits() -> None:
    network, x = small("mil_attention"), volumes()
    out = network(x)
    torch.testing.assert_close(out.slice_weights.sum(1), torch.ones(2))
    torch.testing.assert_close((out.slice_weights * out.slice_logits).sum(1), out.logit)
    alone = torch.cat([network(x[:, t : t + 1]).logit[:, None] for t in range(SLICES)], 1)
    torch.testing.assert_close(alone, out.slice_logits, atol=1e-5, rtol=1e-5)


def test_attention_gives_more_weight_to_slices_of_larger_gated_features() -> None:
    network = small("mil_attention")
    features = torch.zeros(1, 3, 8, 2, 2)
    features[0, 1] = 1.0
    with torch.no_grad():
        network.attention_value.weight.fill_(1)
        network.attention_gate.weight.fill_(1)
        network.attention.weight.fill_(1)
        weights = network.answer(features).slice_weights[0]
    assert weights[1] > weights[0]
    torch.testing.assert_close(weights[0], weights[2])


def test_the_terms_by_place_sum_to_the_logits_that_they_explain() -> None:
    x = volumes()
    for name in ("mil_mean", "mil_attention", "cnn3d"):
        network = small(name)
        flat = x.transpose(1, 2) if name == "cnn3d" else x.flatten(0, 1)
        features = network.units(flat)
        if name != "cnn3d":
            features = features.unflatten(0, x.shape[:2])
        terms, out = network.evidence(features), network(x)
        if name == "mil_mean":
            torch.testing.assert_close(terms.sum((2, 3)) + network.dense.bias, out.slice_logits)
        else:
            torch.testing.assert_close(terms.sum((1, 2, 3)) + network.dense.bias, out.logit)


def test_the_temperature_divides_the_answer_of_every_model() -> None:
    card = dataclasses.replace(read_card(default_model_path()), temperature=2.0)
    for name in NAMES:
        network, x = small(name), inputs(name, 2)
        torch.testing.assert_close(logits(network, card, x), network(x).logit.double() / 2)


def test_keras_counts_four_numbers_per_channel_of_a_batch_norm() -> None:
    assert keras_parameter_count(nn.BatchNorm2d(3)) == 12


@pytest.mark.parametrize("name", IMAGE_NAMES)
def test_every_batch_norm_has_keras_epsilon(name: str) -> None:
    epsilons = {module.eps for module in build(name, width=1).modules() if isinstance(module, _BatchNorm)}
    assert epsilons == {1e-3}


@pytest.mark.parametrize("name", NAMES)
def test_every_network_answers_with_one_logit_per_volume(name: str) -> None:
    assert small(name)(inputs(name, 3)).logit.shape == (3,)


def test_the_conv_lstm_gives_the_hidden_states_of_every_unit_and_slice() -> None:
    hidden = small("conv_lstm")(volumes()).hidden
    assert [tuple(states.shape) for states in hidden] == [
        (2, SLICES, 4, 16, 16),
        (2, SLICES, 4, 8, 8),
        (2, SLICES, 8, 4, 4),
        (2, SLICES, 8, 2, 2),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_volume_gets_the_same_logit_alone_as_among_others(name: str) -> None:
    network, x = small(name), inputs(name, 3)
    alone = torch.cat([network(x[i : i + 1]).logit for i in range(3)])
    torch.testing.assert_close(alone, network(x).logit, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(set(IMAGE_NAMES) - {"mil_max"}))
def test_the_logit_depends_on_every_slice(name: str) -> None:
    x = volumes(1).requires_grad_()
    small(name)(x).logit.sum().backward()
    assert (x.grad.abs().sum((0, 2, 3, 4)) > 0).all()


def test_max_pooling_learns_from_the_most_suspicious_slice_only() -> None:
    x = volumes(1).requires_grad_()
    output = small("mil_max")(x)
    output.logit.sum().backward()
    assert x.grad.abs().sum((0, 2, 3, 4)).nonzero().ravel().tolist() == [int(output.slice_logits.argmax())]


@pytest.mark.parametrize("name", ["mil_max", "mil_mean", "mil_product", "mil_attention"])
def test_mil_reads_slices_one_by_one_in_any_order(name: str) -> None:
    network, x = small(name), volumes()
    forward, backward = network(x), network(x.flip(1))
    torch.testing.assert_close(forward.logit, backward.logit)
    torch.testing.assert_close(forward.slice_logits, backward.slice_logits.flip(1))


def test_the_conv_lstm_answers_differently_when_the_slices_are_upside_down() -> None:
    network, x = small("conv_lstm"), volumes()
    assert (network(x).logit - network(x.flip(1)).logit).abs().min() > 1e-6


@pytest.mark.parametrize(
    ("direction", "changed"), [(Direction.ASCENDING, [3, 4, 5, 6]), (Direction.DESCENDING, [0, 1, 2, 3])]
)
def test_a_change_in_one_slice_reaches_only_the_slices_read_after_it(direction: Direction, changed: list[int]) -> None:
    torch.manual_seed(3)
    layer, x = ConvLSTM(2, 3, direction), torch.randn(1, 7, 2, 4, 4)
    other = x.clone()
    other[:, 3] += 1
    differs = (layer(x) - layer(other)).abs().amax((0, 2, 3, 4)) > 0
    assert differs.nonzero().ravel().tolist() == changed


def test_units_alternate_between_ascending_and_descending_and_the_last_ends_at_the_lowest_slice() -> None:
    network = ConvLSTMNetwork(ConvLSTMConfig(width=1, image_size=16))
    directions = [unit.recurrence.direction.value for unit in network.units]
    assert directions == ["ascending", "descending", "ascending", "descending"]
    assert network.last_read_slice == 0


def test_the_conv_lstm_logit_comes_from_the_state_of_the_lowest_slice() -> None:
    network = small("conv_lstm")
    output = network(volumes())
    from_state = network.evidence(output.hidden[-1][:, 0]).sum((1, 2)) + network.dense.bias
    torch.testing.assert_close(from_state, output.logit, atol=1e-5, rtol=1e-5)


def test_whoever_watches_the_slices_can_stop_the_conv_lstm() -> None:
    seen: list[int] = []

    def stop_at_the_twentieth() -> None:
        seen.append(len(seen))
        if len(seen) == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small("conv_lstm")(volumes(1), stop_at_the_twentieth)
    assert len(seen) == 20


@settings(deadline=None)
@given(LOGITS)
def test_max_pooling_is_the_largest_probability(logits: list[float]) -> None:
    pooled = pool(torch.tensor([logits], dtype=torch.float64), Pooling.MAX)
    np.testing.assert_allclose(_sigmoid(pooled.numpy()), [_sigmoid(np.array(logits)).max()], rtol=1e-12)


@settings(deadline=None)
@given(LOGITS)
def test_mean_pooling_is_the_mean_probability(logits: list[float]) -> None:
    pooled = pool(torch.tensor([logits], dtype=torch.float64), Pooling.MEAN)
    np.testing.assert_allclose(_sigmoid(pooled.numpy()), [_sigmoid(np.array(logits)).mean()], rtol=1e-10)


@settings(deadline=None)
@given(LOGITS)
def test_product_pooling_is_one_minus_the_product_of_the_complements(logits: list[float]) -> None:
    pooled = pool(torch.tensor([logits], dtype=torch.float64), Pooling.PRODUCT).numpy()
    np.testing.assert_allclose(_sigmoid(pooled), [1 - np.prod(1 - _sigmoid(np.array(logits)))], rtol=1e-9, atol=1e-14)
    exact_logit = np.log(np.expm1(np.logaddexp(0, logits).sum()))
    np.testing.assert_allclose(pooled, [exact_logit], rtol=1e-8, atol=1e-8)


@settings(deadline=None)
@given(LOGITS)
def test_product_pooling_in_single_precision_keeps_six_digits(logits: list[float]) -> None:
    exact_logit = np.log(np.expm1(np.logaddexp(0, np.float32(logits).astype(float)).sum()))
    pooled = pool(torch.tensor([logits], dtype=torch.float32), Pooling.PRODUCT)
    np.testing.assert_allclose(pooled.numpy(), [exact_logit], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("pooling", Pooling)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("extreme", [-30_000.0, -200.0, -20.0, 0.0, 20.0, 200.0, 30_000.0])
def test_pooling_and_its_gradient_stay_finite_for_extreme_logits(
    pooling: Pooling, dtype: torch.dtype, extreme: float
) -> None:
    z = torch.full((1, 35), extreme, dtype=dtype)
    z[0, 7] = -extreme / 3
    z.requires_grad_()
    pooled = pool(z, pooling)
    pooled.sum().backward()
    assert torch.isfinite(pooled).all()
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("extreme", [-200.0, 0.0, 200.0])
def test_equal_slices_share_the_gradient_of_mean_pooling_equally_however_sure_they_are(extreme: float) -> None:
    z = torch.full((1, 35), extreme, requires_grad=True)
    pool(z, Pooling.MEAN).sum().backward()
    torch.testing.assert_close(z.grad, torch.full((1, 35), 1 / 35))


def test_35_equally_unlikely_slices_are_35_times_as_likely_together_even_where_a_float_has_no_such_probability() -> (
    None
):
    z = torch.full((1, 35), -300.0, requires_grad=True)
    pooled = pool(z, Pooling.PRODUCT)
    pooled.sum().backward()
    assert pooled.item() == pytest.approx(-300 + np.log(35), rel=1e-6)
    torch.testing.assert_close(z.grad, torch.full((1, 35), 1 / 35))


@pytest.mark.parametrize("pooling", Pooling)
def test_the_gradient_of_pooling_is_right_on_both_sides_of_every_branch(pooling: Pooling) -> None:
    for centre in (-25.0, -20.0, -5.5, 0.0, 8.0):
        z = (centre + torch.linspace(-1, 1, 5, dtype=torch.float64))[None].requires_grad_()
        assert torch.autograd.gradcheck(lambda logits: pool(logits, pooling), z)


@pytest.mark.parametrize("pooling", Pooling)
def test_the_mil_network_pools_the_slice_logits_that_it_reports(pooling: Pooling) -> None:
    torch.manual_seed(4)
    output = MILNetwork(pooling, width=1, image_size=16)(torch.rand(2, 5, 1, 16, 16))
    torch.testing.assert_close(output.logit, pool(output.slice_logits, pooling))


def test_an_unknown_architecture_is_refused_with_the_known_names() -> None:
    with pytest.raises(ModelFileError, match="'resnet' is not a known architecture; choose one of conv_lstm, mil_max"):
        build("resnet")


@pytest.mark.parametrize(
    ("name", "width", "image_size", "slices"),
    [("conv_lstm", 0, 128, 35), ("mil_mean", 4, 100, 35), ("cnn3d", 4, 128, 15), ("cnn3d", -1, 128, 35)],
)
def test_sizes_that_a_network_cannot_have_are_refused(name: str, width: int, image_size: int, slices: int) -> None:
    with pytest.raises(ModelFileError, match="cannot be built like this"):
        build(name, width, image_size, slices)


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))
