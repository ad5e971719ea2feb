"""Signals that wait, and those whose handlers raise."""

import signal
import threading

import pytest

from molvae.signals import defer_signals, signal_errors

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@pytest.fixture
def heard():
    """Signals that were heard outside of any block, in order."""
    found = []
    before = {
        number: signal.signal(number, lambda number, _: found.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)


@BOTH
def test_a_signal_waits_for_the_end_of_the_block(heard, number):
    with defer_signals() as came:
        assert not came.is_set()
        signal.raise_signal(number)
        assert came.is_set()
        assert heard == []
    assert heard == [number]


@BOTH
def test_the_second_does_not_wait(heard, number):
    with defer_signals():
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGINT)
        assert heard == [signal.SIGINT]


def test_without_a_signal_nothing_happens(heard):
    before = signal.getsignal(signal.SIGINT)
    with defer_signals() as came:
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
    assert not came.is_set()
    assert heard == []


def test_a_block_in_a_block_hands_the_signal_on(heard):
    with defer_signals() as outer:
        with defer_signals() as inner:
            signal.raise_signal(signal.SIGINT)
            assert not outer.is_set()
        assert inner.is_set()
        assert outer.is_set()
        assert heard == []
    assert heard == [signal.SIGINT]


def test_a_block_that_ends_early_by_an_error_ends_by_that_error(heard):
    def work() -> None:
        with defer_signals():
            signal.raise_signal(signal.SIGINT)
            raise KeyError

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyError):
        work()
    assert heard == []
    assert signal.getsignal(signal.SIGINT) is before


def test_in_another_thread_nothing_is_held(heard):
    seen = []

    def work() -> None:
        with defer_signals() as came:
            seen.append((signal.getsignal(signal.SIGINT), came.is_set()))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, False)]


class Stopped(BaseException):
    pass


def stop(*_):
    raise Stopped


@BOTH
def test_what_a_handler_raises_is_noted_even_if_the_block_hides_it(monkeypatch, number):
    before = signal.signal(number, stop)
    try:
        with signal_errors() as raised:
            with pytest.raises(Stopped) as caught:
                signal.raise_signal(number)
            with pytest.raises(KeyError):
                raise KeyError
            assert raised == [caught.value]
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)


def test_signals_that_do_not_raise_or_that_the_block_handles_itself_are_not_noted(heard):
    def own(*_):
        raise Stopped

    with signal_errors() as raised:
        signal.raise_signal(signal.SIGINT)
        assert heard == [signal.SIGINT]
        signal.signal(signal.SIGTERM, own)
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGTERM)
    assert raised == []
    assert signal.getsignal(signal.SIGTERM) is own
