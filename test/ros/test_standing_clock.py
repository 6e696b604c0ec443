"""A clock that stands still must not silence the node: a player in lockstep stops it at will."""

import itertools

import pytest

pytestmark = pytest.mark.ros
live = pytest.importorskip("ros.live", reason="needs rclpy and occ_msgs")

SECOND = 1_000_000_000
STAMPS = itertools.count(1_700_000_000 * SECOND, SECOND // 10)


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    log = tmp_path_factory.mktemp("live") / "log"
    rig = live.Live("ros.carving_node", "carving_node", log, "-p", "use_sim_time:=true")
    rig.wait_active()
    rig.send_transforms()
    yield rig
    rig.close()


def test_an_image_without_partner_is_given_up_by_wall_time(node):
    stamp = next(STAMPS)
    node.send_info("left", stamp)
    node.send_image("left", stamp)
    assert node.wait_report(stamp).reason == "no right image within 0.02 s"


def test_diagnostics_go_on(node):
    from diagnostic_msgs.msg import DiagnosticArray

    node.listen("/diagnostics", DiagnosticArray)
    node.spin_until(lambda: len(node.received["/diagnostics"]) >= 2, "two diagnostics")


def test_an_image_that_is_sent_again_is_reported_again(node):
    """A second player of the same bag has not heard the first answer."""
    stamp = next(STAMPS)
    node.send_pair(stamp)
    assert node.wait_report(stamp).outcome == "published"
    node.received["/carving_node/latency"].clear()
    node.send_image("left", stamp)
    assert node.wait_report(stamp).reason == "repeated stamp"
