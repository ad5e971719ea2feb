"""Buffers that serve again."""

import copy
import time
from concurrent.futures import ThreadPoolExecutor

import torch

from molvae.vae.nets.kernel.buffers import BufferPool


def place(buffer: torch.Tensor) -> int:
    return buffer.untyped_storage().data_ptr()


def test_the_smallest_that_is_large_enough_serves_again():
    pool = BufferPool()
    small, large = pool.take(3, 4), pool.take(5, 6)
    assert (small.shape, small.dtype, small.is_contiguous()) == ((3, 4), torch.bfloat16, True)
    pool.give_back(large, small)
    assert place(pool.take(2, 5)) == place(small)
    again = pool.take(2, 5)
    assert place(again) == place(large)
    assert again.shape == (2, 5)
    assert place(pool.take(1)) not in (place(small), place(large))


def test_a_copy_shares_no_memory():
    pool = BufferPool()
    buffer = pool.take(4)
    pool.give_back(buffer)
    assert place(copy.deepcopy(pool).take(4)) != place(buffer)
    assert place(pool.take(4)) == place(buffer)


def test_threads_that_take_at_the_same_time_have_a_buffer_each():
    class Slow:
        """A buffer during whose inspection other threads go on."""

        def __init__(self, buffer: torch.Tensor) -> None:
            self.buffer = buffer

        def untyped_storage(self) -> torch.UntypedStorage:
            time.sleep(0.001)
            return self.buffer.untyped_storage()

    pool = BufferPool()
    pool.give_back(*[Slow(pool.take(size)) for size in (50, 40, 30, 20)])
    with ThreadPoolExecutor(4) as threads:
        taken = list(threads.map(pool.take, [10] * 4))
    assert len({place(buffer) for buffer in taken}) == 4
