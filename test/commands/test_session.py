import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest

from occ_perception.commands.session import ProcessError, Session, wait_until

STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print('asked to end', flush=True), sys.exit(0)))
print('ready', flush=True)
time.sleep(60)
"""
BROKEN = """
import sys
print('[ERROR] [1763.5] [vlscene_node]: weights file x is missing; check system.weights')
print('bye')
sys.exit(1)
"""
SHORT = "print('done')"
STARTING = "import time\nprint('importing', flush=True)\ntime.sleep(60)"


@pytest.fixture
def programs(tmp_path):
    """Make a spec of a program's text."""

    def make(name, text):
        (tmp_path / f"{name}_program.py").write_text(text)
        env = {"PYTHONPATH": str(tmp_path)}
        return SimpleNamespace(
            name=name, executable="", module=f"{name}_program", arguments=(), env=env
        )

    return make


class Heard(list):
    def __call__(self, name, text):
        self.append((name, text))

    def wait_for(self, entry):
        for _ in range(600):
            if entry in self:
                return
            time.sleep(0.05)
        raise AssertionError(f"{entry} was never said, but {list(self)}")


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_children_end_with_the_session_in_the_right_order(programs):
    heard = Heard()
    with Session(heard) as session:
        for name in ("node", "recorder", "player"):
            session.start(programs(name, STUBBORN))
        for name in ("node", "recorder", "player"):
            heard.wait_for((name, "ready"))
        pids = [child.process.pid for child in session._children.values()]
    ends = [name for name, text in heard if text == "asked to end"]
    assert ends == ["player", "recorder", "node"]
    assert not any(is_alive(pid) for pid in pids)


def test_a_child_that_dies_ends_the_rest_with_its_complaint(programs):
    heard = Heard()
    with pytest.raises(ProcessError) as caught, Session(heard) as session:
        session.start(programs("recorder", STUBBORN))
        heard.wait_for(("recorder", "ready"))
        session.start(programs("node", BROKEN))
        wait_until(session, lambda: False, (), lambda: None)
    text = "node ended with code 1: weights file x is missing; check system.weights"
    assert str(caught.value) == text
    assert ("recorder", "asked to end") in heard


def test_a_child_that_may_end_does_so_without_harm(programs):
    with Session(Heard()) as session:
        session.start(programs("player", SHORT))
        wait_until(
            session,
            lambda: not session.is_running("player"),
            {"player"},
            lambda: None,
        )
        with pytest.raises(ProcessError, match="player ended with code 0: done"):
            session.check()


def test_a_child_that_is_still_starting_ends_without_a_traceback(programs):
    heard = Heard()
    with pytest.raises(KeyboardInterrupt), Session(heard) as session:
        session.start(programs("node", STARTING))
        heard.wait_for(("node", "importing"))
        raise KeyboardInterrupt
    assert heard == [("node", "importing")]


def test_ctrl_c_ends_children_and_goes_on_up(programs):
    heard = Heard()
    with pytest.raises(KeyboardInterrupt), Session(heard) as session:
        session.start(programs("node", STUBBORN))
        heard.wait_for(("node", "ready"))
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        wait_until(session, lambda: False, (), lambda: None)
    assert ("node", "asked to end") in heard


def test_sigterm_is_like_ctrl_c_and_is_given_back(programs):
    before = signal.getsignal(signal.SIGTERM)
    heard = Heard()
    with pytest.raises(KeyboardInterrupt), Session(heard) as session:
        session.start(programs("node", STUBBORN))
        heard.wait_for(("node", "ready"))
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        wait_until(session, lambda: False, (), lambda: None)
    assert signal.getsignal(signal.SIGTERM) is before
