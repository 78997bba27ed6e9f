"""A calculation that is repeated on the same tensors, on a GPU as one CUDA graph instead of a dozen launches."""

from __future__ import annotations

from collections.abc import Callable

import torch


class Repeated:
    """Calls ``work`` again and again: on CUDA recorded at the second call and replayed from then on.

    Args:
        work: reads and writes tensors that stay where they are, and returns nothing.
        device: of these tensors.
    """

    def __init__(self, work: Callable[[], None], device: torch.device) -> None:
        self._work, self._on_cuda = work, device.type == "cuda"
        self._warm = False
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if self._graph is None and self._on_cuda and self._warm:
            self._graph = self._recorded()
        if self._graph is not None:
            self._graph.replay()
        else:
            self._work()  # libraries make their plans in the first call, which may not be recorded
            self._warm = True

    def _recorded(self) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                self._work()  # noted, not done
            finally:
                graph.capture_end()
        torch.cuda.current_stream().wait_stream(stream)
        return graph
