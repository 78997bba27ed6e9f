"""The network's fast ways give what the plainest possible reading gives: answers, gradients, statistics."""

import copy
from collections.abc import Callable

import pytest
import torch
from EmphysemaScannerLib.core import slicewise
from EmphysemaScannerLib.core.conv_lstm import ConvLSTM, ConvLSTMNetwork, Direction
from smallnetwork import network_of, volumes
from torch import Tensor
from torch.nn import functional

BOTH = list(Direction)


def plain_layer(layer: ConvLSTM, x: Tensor) -> Tensor:
    """The equations of Shi et al. without peepholes, one slice and one gate after another."""
    weights = torch.cat([layer.input_conv.weight, layer.state_conv.weight], dim=1)
    hidden = cell = x.new_zeros(len(x), layer.filters, *x.shape[3:])
    states = {}
    numbers = range(x.shape[1])
    for t in numbers if layer.direction is Direction.ASCENDING else reversed(numbers):
        gates = functional.conv2d(torch.cat([x[:, t], hidden], 1), weights, layer.input_conv.bias, padding=1)
        i, f, g, o = gates.split(layer.filters, dim=1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        states[t] = hidden
    return torch.stack([states[t] for t in numbers], dim=1)


def plain_read(network: ConvLSTMNetwork, x: Tensor) -> list[Tensor]:
    hidden: list[Tensor] = []
    for number, unit in enumerate(network.reading_units):
        if number:
            x = network.reading_units[number - 1].state_norm(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        x = plain_layer(unit.recurrence, unit.slice_layers(x.flatten(0, 1)).unflatten(0, x.shape[:2]))
        hidden.append(x)
    return hidden


def learned(network: ConvLSTMNetwork, read: Callable[[Tensor], list[Tensor]], x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The logits, and the gradients of a loss that looks at every hidden state and at the answer."""
    network.zero_grad()
    x = x.clone().requires_grad_()
    hidden = read(x)
    logit = network.answer(hidden[-1])
    (sum(states.square().mean() for states in hidden) + logit.sum()).backward()
    assert x.grad is not None
    return logit.detach(), [x.grad, *(p.grad.clone() for p in network.parameters() if p.grad is not None)]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("slices", [1, 7])
@pytest.mark.parametrize("at_once", [1, 3, 7])
def test_reading_slice_by_slice_gives_the_plain_states_and_logit(batch: int, slices: int, at_once: int) -> None:
    network, x = network_of(), volumes(batch, slices)
    with torch.inference_mode():
        plain = plain_read(network, x)
        fast = slicewise.read(network.reading_units, x, lambda: None, torch.float32, at_once)
        for ours, theirs in zip(fast, plain, strict=True):
            torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=0)
        torch.testing.assert_close(network.answer(fast[-1]), network.answer(plain[-1]), atol=1e-5, rtol=0)
        torch.testing.assert_close(network(x).logit, network.answer(plain[-1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("slices", [1, 2, 13])
def test_learning_gives_the_plain_logit_gradients_and_statistics(batch: int, train: bool, slices: int) -> None:
    ours, x = network_of(torch.float64).train(train), volumes(batch, slices, torch.float64)
    plain = copy.deepcopy(ours)
    expected, expected_gradients = learned(plain, lambda v: plain_read(plain, v), x)
    logit, gradients = learned(ours, lambda v: list(ours.read(v)), x)
    torch.testing.assert_close(logit, expected, atol=1e-10, rtol=1e-10)
    for got, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-9, rtol=1e-7)
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name], atol=1e-12, rtol=1e-12)


def test_single_precision_learns_the_plain_gradients() -> None:
    network, x = network_of(), volumes(3, 7)
    _, expected = learned(network, lambda v: plain_read(network, v), x)
    _, gradients = learned(network, lambda v: list(network.read(v)), x)
    for got, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(got, wanted, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("direction", BOTH)
@pytest.mark.parametrize("slices", [1, 6, 7])
def test_the_gradient_of_the_recurrence_is_right(direction: Direction, slices: int) -> None:
    torch.manual_seed(7)
    layer = ConvLSTM(1, 1, direction).double()
    x = torch.randn(2, slices, 1, 2, 3, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def states(x: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x,))

    weights = [p.detach().requires_grad_() for p in layer.parameters()]
    assert torch.autograd.gradcheck(states, (x, *weights))


@pytest.mark.parametrize("direction", BOTH)
def test_nothing_is_asked_of_the_input_of_a_first_layer(direction: Direction) -> None:
    layer, x = ConvLSTM(2, 3, direction), torch.randn(2, 5, 2, 4, 4)
    layer(x).sum().backward()
    plain = copy.deepcopy(layer)
    plain.zero_grad()
    plain_layer(plain, x).sum().backward()
    for ours, theirs in zip(layer.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-4)


def test_a_second_walk_back_gives_the_same_gradients() -> None:
    network, x = network_of(), volumes(1, 7)
    loss = network(x).logit.sum()
    first = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True)
    second = torch.autograd.grad(loss, list(network.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("train", [False, True])
def test_checkpointing_gives_the_same_gradients_and_statistics_and_calls_for_each_slice_once(train: bool) -> None:
    ours, x = network_of().train(train), volumes(3, 7)
    saving = copy.deepcopy(ours)
    saving.checkpointing = True
    calls: list[int] = []
    expected, expected_gradients = learned(ours, lambda v: list(ours.read(v)), x)
    logit, gradients = learned(saving, lambda v: list(saving.read(v, lambda: calls.append(1))), x)
    assert len(calls) == 4 * 7
    assert torch.equal(logit, expected)
    for got, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-5)
    for name, value in saving.state_dict().items():
        assert torch.equal(value, ours.state_dict()[name]), name


@pytest.mark.parametrize("grad", [False, True])
def test_sixteen_bits_stay_near_and_give_usable_gradients(grad: bool) -> None:
    network, x = network_of(), volumes(2, 13)
    with torch.set_grad_enabled(grad):
        exact = network(x).logit
        with torch.autocast("cpu", torch.bfloat16):
            hidden = network.read(x)
        logit = network.answer(hidden[-1].float())
    torch.testing.assert_close(logit, exact, atol=0.03, rtol=0)
    assert not torch.equal(logit, exact)
    if not grad:
        assert all(states.dtype is torch.float32 for states in hidden)
        return
    wanted = torch.cat([g.ravel() for g in torch.autograd.grad(exact.sum(), list(network.parameters()))])
    got = torch.cat([g.ravel() for g in torch.autograd.grad(logit.sum(), list(network.parameters()))])
    assert got.dtype is torch.float32
    assert functional.cosine_similarity(got, wanted, dim=0) > 0.99


@pytest.mark.parametrize("grad", [False, True])
def test_whoever_watches_hears_of_every_slice_of_every_unit_and_can_end_the_pass(grad: bool) -> None:
    network, x, calls = network_of(), volumes(2, 9), []
    with torch.set_grad_enabled(grad):
        before = network(x, lambda: calls.append(1)).logit
        assert len(calls) == 4 * 9

        def end() -> None:
            calls.append(1)
            if len(calls) == 4 * 9 + 20:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            network(x, end)
        assert len(calls) == 4 * 9 + 20
        assert torch.equal(network(x).logit, before)


def test_reading_uses_the_weights_and_statistics_of_the_moment() -> None:
    network, other, x = network_of(), network_of(), volumes(2, 7)

    def same_as_plain() -> Tensor:
        with torch.inference_mode():
            logit = network(x).logit
            torch.testing.assert_close(logit, network.answer(plain_read(network, x)[-1]), atol=1e-5, rtol=0)
        return logit

    first = same_as_plain()
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    network(x).logit.sum().backward()
    optimizer.step()
    network.eval()
    assert not torch.allclose(same_as_plain(), first)
    network.load_state_dict(other.state_dict())
    torch.testing.assert_close(same_as_plain(), first)
