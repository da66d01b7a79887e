"""Threads: how many, many at once, in forked children, and interrupted."""

import os
import sys
import threading

import numpy as np
import pytest
import threadpoolctl
from conftest import bits, normal, python

import stablesoftmax
from stablesoftmax import get_num_threads, num_threads, set_num_threads, threads

pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture(autouse=True)
def _restored():
    before = get_num_threads()
    yield
    set_num_threads(before)


# ---- the setting ---------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7, np.int8(3), 2**31 - 1])
def test_set(n):
    set_num_threads(n)
    assert get_num_threads() == n
    assert type(get_num_threads()) is int


@pytest.mark.parametrize("n", [1.0, "2", None, True, np.bool_(True), [1]])
def test_set_to_no_integer(n):
    with pytest.raises(TypeError) as caught:
        set_num_threads(n)
    assert str(caught.value) == f"n must be an integer of at least 1, got {n!r}"


@pytest.mark.parametrize("n", [0, -1, 2**31, -(2**70)])
def test_set_out_of_range(n):
    before = get_num_threads()
    with pytest.raises(ValueError, match="must be") as caught:
        set_num_threads(n)
    assert str(caught.value) == f"n must be at least 1 and less than 2**31, got {n!r}"
    assert get_num_threads() == before


def test_context():
    set_num_threads(5)
    with num_threads(3) as nothing:
        assert nothing is None
        assert get_num_threads() == 3
        with num_threads(1):
            assert get_num_threads() == 1
        assert get_num_threads() == 3
    assert get_num_threads() == 5


def test_context_restores_after_an_error():
    set_num_threads(5)
    with pytest.raises(KeyError), num_threads(3):
        raise KeyError
    assert get_num_threads() == 5


def test_context_checks_its_argument():
    set_num_threads(5)
    with pytest.raises(ValueError, match="at least 1"), num_threads(0):
        pytest.fail("the block was entered")
    assert get_num_threads() == 5


def start_value(environment):
    code = "import stablesoftmax; print(stablesoftmax.get_num_threads())"
    return int(python(code, environment=environment).stdout)


def test_start_value():
    assert start_value({"STABLESOFTMAX_NUM_THREADS": "3"}) == 3
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert start_value({"STABLESOFTMAX_NUM_THREADS": ""}) == usable


# ---- threadpoolctl -------------------------------------------------------------------------


def ours():
    info = threadpoolctl.threadpool_info()
    return [library for library in info if library["user_api"] == "stablesoftmax"]


def test_threadpoolctl(monkeypatch):
    threads.register_threadpoolctl()
    monkeypatch.setattr(threadpoolctl, "register", lambda _: pytest.fail("registered twice"))
    threads.register_threadpoolctl()
    set_num_threads(3)
    (library,) = ours()
    assert library["num_threads"] == 3
    assert library["version"] == stablesoftmax.__version__
    assert library["architecture"] == stablesoftmax._core.isa()
    assert library["filepath"] == os.path.realpath(stablesoftmax._core.__file__)
    with threadpoolctl.threadpool_limits(2, user_api="stablesoftmax"):
        assert get_num_threads() == 2
    assert get_num_threads() == 3
    with threadpoolctl.threadpool_limits(1):
        assert get_num_threads() == 1
    assert get_num_threads() == 3


@pytest.mark.parametrize(("first", "seen"), [("threadpoolctl", 1), ("sys", 0)])
def test_threadpoolctl_is_met_where_it_was_imported_first(first, seen):
    code = f"""
        import {first}, stablesoftmax, threadpoolctl
        apis = [library["user_api"] for library in threadpoolctl.threadpool_info()]
        assert apis.count("stablesoftmax") == {seen}, apis
        stablesoftmax.threads.register_threadpoolctl()
        apis = [library["user_api"] for library in threadpoolctl.threadpool_info()]
        assert apis.count("stablesoftmax") == 1, apis
    """
    python("if True:" + code)


# ---- at once -------------------------------------------------------------------------------


def test_a_hundred_threads(function):
    """All at once, on rows that the kernel shares between threads of its own, and on small ones."""
    large, small = normal((40, 5000), np.float32), normal((3, 7), np.float64)
    expected = bits(function(large)), bits(function(small)), bits(function(large, axis=0))
    start, wrong = threading.Barrier(100), []

    def work():
        start.wait()
        for _ in range(3):
            actual = bits(function(large)), bits(function(small)), bits(function(large, axis=0))
            if actual != expected:
                wrong.append(actual)

    workers = [threading.Thread(target=work) for _ in range(100)]
    with num_threads(4):
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert not wrong


def test_the_number_may_change_under_way(function):
    x = normal((40, 5000), np.float32)
    expected, stop, wrong = bits(function(x)), threading.Event(), []

    def work():
        while not stop.is_set():
            if bits(function(x)) != expected:
                wrong.append(True)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for n in list(range(1, 9)) * 10:
        set_num_threads(n)
        function(x)
    stop.set()
    for worker in workers:
        worker.join()
    assert not wrong


# ---- fork ----------------------------------------------------------------------------------

SETTING = """
import os, sys, threading
import numpy as np
import stablesoftmax as ss
ss.set_num_threads(4)
x = np.random.default_rng(0).normal(size=(400, 5000)).astype(np.float32)
expected = ss.softmax(x).tobytes()
def same(_=None):
    return ss.softmax(x).tobytes() == expected
assert same()
"""

FORKS = {}

FORKS["generations"] = """
for generation in range(3):
    child = os.fork()
    if child:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert same()
        sys.exit(status)
    assert same(), "in the child"
    assert ss.get_num_threads() == 4
"""

FORKS["under way"] = """
stop = threading.Event()
def work():
    while not stop.is_set():
        assert same()
worker = threading.Thread(target=work)
worker.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        os._exit(0 if same() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
stop.set()
worker.join()
"""

FORKS["multiprocessing"] = """
import multiprocessing
with multiprocessing.get_context("fork").Pool(3) as pool:
    assert all(pool.map(same, range(12)))
assert same()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("code", FORKS.values(), ids=FORKS)
def test_fork(code):
    """A child has none of its parent's threads, whatever these were at when it was forked."""
    python(SETTING + code)


# ---- interrupted ---------------------------------------------------------------------------

LONG_CALL = """
import os, signal, threading
import numpy as np
import stablesoftmax as ss
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may start without
ss.set_num_threads({threads})
x = np.broadcast_to(np.arange(4096, dtype=np.float32), ({rows}, 4096))
threading.Timer({seconds}, os.kill, [os.getpid(), signal.SIGINT]).start()
try:
    ss.logsumexp(x, axis=1)
    print("finished")
    signal.pause()
except KeyboardInterrupt:
    print("interrupted")
    assert ss.softmax([0.0, 0.0]).tolist() == [0.5, 0.5]
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("threads", [1, 4])
def test_keyboard_interrupt(threads):
    """A call that would take minutes ends within a second or so."""
    long = python(LONG_CALL.format(threads=threads, rows=200_000_000, seconds=0.3), timeout=30)
    assert long.stdout == "interrupted\n"
    short = python(LONG_CALL.format(threads=threads, rows=20, seconds=0.3))
    assert short.stdout == "finished\ninterrupted\n"


# ---- what the pool's threads may not do, and must ------------------------------------------


SIGNALS = """
import os, signal
import numpy as np
import stablesoftmax
stablesoftmax.softmax(np.ones((64, 50_000)))  # with two threads or more
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
os.kill(os.getpid(), signal.SIGUSR1)
print(signal.sigwait([signal.SIGUSR1]) == signal.SIGUSR1)
"""


def test_signals_are_the_programs():
    """A worker that does not block a signal takes it from the thread that waits for it."""
    # OpenBLAS' own workers do take signals: it may have none.
    alone = {"STABLESOFTMAX_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "1"}
    assert python(SIGNALS, environment=alone).stdout == "True\n"


WORKERS = """
import os
import numpy as np
import stablesoftmax
x = np.ones({shape}, np.float32)
before = len(os.listdir("/proc/self/task"))
{call}
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
@pytest.mark.parametrize(
    ("shape", "call", "workers"),
    [
        ((8, 100_000), "stablesoftmax.softmax(x)", 7),
        ((20_000, 512), "stablesoftmax.softmax(x, axis=0)", 7),  # eight tiles of 64 columns
        ((8, 200_000), "stablesoftmax.softmax(x)", 15),  # rows that are cut
        ((8, 200_000), "stablesoftmax.logcumsumexp(x)", 7),  # a scan cannot be
        ((8, 100_000), "stablesoftmax.cross_entropy(x, [0] * 8)", 7),
        ((1, 1_000_000), "stablesoftmax.softmax(x)", 15),
        ((64, 1_000), "stablesoftmax.softmax(x)", 0),  # too little for two
    ],
)
def test_threads_that_take_part(shape, call, workers):
    code = WORKERS.format(shape=shape, call=call)
    run = python(code, environment={"STABLESOFTMAX_NUM_THREADS": "16"})
    assert int(run.stdout) == workers
