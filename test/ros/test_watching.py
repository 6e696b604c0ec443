"""The watch of a run knows when nothing that is said can be missed any more."""

import time

import pytest

pytestmark = pytest.mark.ros
LIMIT_S = 30  # only against hanging; nothing is measured


def wait_for(condition):
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_run_is_connected_when_somebody_answers_and_all_listen():
    import rclpy

    from occ_msgs.msg import FrameLatency
    from occ_perception.commands.running import refuse_second_node
    from occ_perception.core.errors import ConfigError
    from occ_perception.ros.watching import AnswerWatch

    topic = "/watched_node/latency"
    with AnswerWatch(topic) as watch:
        assert not watch.is_connected(1)
        refuse_second_node(watch)  # says nothing
        context = rclpy.Context()
        rclpy.init(context=context)
        try:
            node = rclpy.create_node("watched_node", context=context)
            publisher = node.create_publisher(FrameLatency, topic, 10)
            wait_for(lambda: watch.is_connected(1) and publisher.get_subscription_count())
            with pytest.raises(ConfigError, match=r"publishes /watched_node/latency .* already"):
                refuse_second_node(watch)
            assert not watch.is_connected(2)
            node.create_subscription(FrameLatency, topic, lambda _: None, 10)
            wait_for(lambda: watch.is_connected(2))
            publisher.publish(FrameLatency(outcome="published"))
            dropped = FrameLatency(outcome="dropped", reason="no transform")
            dropped.header.stamp.sec = 1
            publisher.publish(dropped)
            wait_for(lambda: len(watch.stamps) == 2)
            assert (watch.published, dict(watch.dropped)) == (1, {"no transform": 1})
        finally:
            rclpy.try_shutdown(context=context)
