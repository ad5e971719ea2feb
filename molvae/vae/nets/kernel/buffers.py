"""Memory that serves again: fresh memory costs more to touch for the first time than to compute with."""

import math
import threading

import torch
from torch import Tensor

from molvae.vae.nets.kernel.packing import BF16


class BufferPool:
    """bfloat16 buffers that nobody uses. Several threads may take from it and give back at the same time."""

    def __init__(self) -> None:
        self._spare: list[Tensor] = []
        self._lock = threading.Lock()

    def take(self, *shape: int) -> Tensor:
        """A contiguous tensor, its content undefined: the smallest buffer that is large enough, or a new one."""
        size = BF16.itemsize * math.prod(shape)
        with self._lock:  # another thread may take the buffer that was just chosen
            fitting = [k for k, buffer in enumerate(self._spare) if buffer.untyped_storage().nbytes() >= size]
            if not fitting:
                return torch.empty(shape, dtype=BF16)
            smallest = min(fitting, key=lambda k: self._spare[k].untyped_storage().nbytes())
            buffer = self._spare.pop(smallest)
        return torch.empty(0, dtype=BF16).set_(buffer.untyped_storage()).resize_(shape)

    def give_back(self, *buffers: Tensor) -> None:
        """What was taken, and is used no more."""
        with self._lock:
            self._spare.extend(buffers)

    def __reduce__(self) -> tuple[type["BufferPool"], tuple[()]]:
        return BufferPool, ()  # a copy of a layer has a pool of its own
