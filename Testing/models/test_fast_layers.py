"""Fast reading and fast learning give what the plain network gives: hidden states, logits, gradients, statistics."""

import copy

import pytest
import torch
from EmphysemaScannerLib.models import fast_learning, fast_reading
from EmphysemaScannerLib.models.conv_lstm import ConvLSTM, ConvLSTMNetwork, Direction
from EmphysemaScannerLib.models.fast_learning import Recurrence
from smallnetwork import network_of, volumes
from torch import Tensor
from torch.nn import functional

BOTH = list(Direction)


def plain_of(network: ConvLSTMNetwork) -> ConvLSTMNetwork:
    """The network of ``conv_lstm`` with the same weights, in the same mode."""
    plain = ConvLSTMNetwork(network.config).to(network.dense.weight.dtype).train(network.training)
    plain.load_state_dict(network.state_dict())
    return plain


def fast_layer(layer: ConvLSTM, x: Tensor) -> Tensor:
    """The layer's hidden states (B, T, F, H, W) by the recurrence whose way back is written by hand."""
    weights = layer.input_conv.weight, layer.input_conv.bias, layer.state_conv.weight
    return Recurrence.apply(x.transpose(0, 1), *weights, layer.direction, lambda: None, x.dtype).transpose(0, 1)


def learned(network: ConvLSTMNetwork, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The logits, and the gradients of a loss that looks at every hidden state and at the answer."""
    network.zero_grad()
    x = x.clone().requires_grad_()
    output = network(x)
    (sum(states.square().mean() for states in output.hidden) + output.logit.sum()).backward()
    assert x.grad is not None
    return output.logit.detach(), [x.grad, *(p.grad.clone() for p in network.parameters() if p.grad is not None)]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("slices", [1, 7])
@pytest.mark.parametrize("at_once", [1, 3, 7])
def test_fast_reading_gives_the_plain_states_and_logit(batch: int, slices: int, at_once: int) -> None:
    network, x = network_of(), volumes(batch, slices)
    with torch.inference_mode():
        plain = plain_of(network)(x)
        fast = fast_reading.hidden_states(network.units, x, slices_at_once=at_once)
        for ours, theirs in zip(fast, plain.hidden, strict=True):
            torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=0)
        torch.testing.assert_close(network.answer(fast[-1]), plain.logit, atol=1e-5, rtol=0)


def test_the_product_reads_and_learns_by_the_fast_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x, used = network_of(), volumes(1, 2), []
    for module in (fast_reading, fast_learning):
        real = module.hidden_states
        monkeypatch.setattr(module, "hidden_states", lambda *a, r=real, m=module: [used.append(m), r(*a)][1])
    with torch.inference_mode():
        network(x)
    network(x)
    network.train()
    with torch.inference_mode():
        network(x)
    assert used == [fast_reading, fast_learning, fast_learning]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("slices", [1, 2, 13])
def test_fast_learning_gives_the_plain_logit_gradients_and_statistics(batch: int, train: bool, slices: int) -> None:
    network, x = network_of(torch.float64).train(train), volumes(batch, slices, torch.float64)
    plain = plain_of(network)
    expected, expected_gradients = learned(plain, x)
    logit, gradients = learned(network, x)
    torch.testing.assert_close(logit, expected, atol=1e-10, rtol=1e-10)
    for got, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-9, rtol=1e-7)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name], atol=1e-12, rtol=1e-12)


def test_single_precision_learns_the_plain_gradients() -> None:
    network, x = network_of(), volumes(3, 7)
    _, expected = learned(plain_of(network), x)
    _, gradients = learned(network, x)
    for got, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(got, wanted, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("direction", BOTH)
@pytest.mark.parametrize("slices", [1, 6, 7])
def test_the_way_back_written_by_hand_gives_the_gradient_of_finite_differences(
    direction: Direction, slices: int
) -> None:
    torch.manual_seed(7)
    layer = ConvLSTM(1, 1, direction).double()
    x = torch.randn(slices, 2, 1, 2, 3, dtype=torch.float64, requires_grad=True)
    weights = [p.detach().requires_grad_() for p in layer.parameters()]
    assert len(weights) == 3

    def states(x: Tensor, *weights: Tensor) -> Tensor:
        return Recurrence.apply(x, *weights, direction, lambda: None, torch.float64)

    assert torch.autograd.gradcheck(states, (x, *weights))


@pytest.mark.parametrize("direction", BOTH)
@pytest.mark.parametrize("needed", [True, False])
@pytest.mark.parametrize("slices", [1, 5, 11])
def test_the_way_back_written_by_hand_gives_autograds_gradients(
    direction: Direction, needed: bool, slices: int
) -> None:
    """Of weights and, where it is needed, of the input; a first layer's input needs none."""
    torch.manual_seed(8)
    layer = ConvLSTM(2, 3, direction).double()
    x = torch.randn(2, slices, 2, 4, 5, dtype=torch.float64, requires_grad=needed)
    seen_from_outside = torch.randn(2, slices, 3, 4, 5, dtype=torch.float64)
    of = [*([x] if needed else []), *layer.parameters()]
    plain = torch.autograd.grad(layer(x), of, seen_from_outside)
    fast = torch.autograd.grad(fast_layer(layer, x), of, seen_from_outside)
    for ours, autograds in zip(fast, plain, strict=True):
        torch.testing.assert_close(ours, autograds, atol=1e-12, rtol=1e-10)


def test_a_second_walk_back_gives_the_same_gradients() -> None:
    network, x = network_of(), volumes(1, 7)
    loss = network(x).logit.sum()
    first = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True)
    second = torch.autograd.grad(loss, list(network.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_sixteen_bits_stay_near_and_give_usable_gradients(grad: bool, plain: bool) -> None:
    network, x = network_of(), volumes(2, 13)
    if plain:
        network = plain_of(network)
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


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_on_slice_is_called_for_every_slice_of_every_unit_and_can_end_the_pass(grad: bool, plain: bool) -> None:
    network, x, calls = network_of(), volumes(2, 9), []
    if plain:
        network = plain_of(network)
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
            torch.testing.assert_close(logit, plain_of(network)(x).logit, atol=1e-5, rtol=0)
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


def test_a_pass_leaves_the_states_of_an_earlier_one_alone() -> None:
    network, x = network_of(), volumes(1, 5)
    with torch.inference_mode():
        earlier = network.read(x)
        copies = copy.deepcopy(earlier)
        network.read(x * 0.5)
    assert all(torch.equal(states, kept) for states, kept in zip(earlier, copies, strict=True))
