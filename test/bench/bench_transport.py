"""Best-effort images between processes, with and without the shipped DDS profile. Prints JSON."""

from __future__ import annotations

import argparse
import array
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

PROFILE = Path(__file__).resolve().parents[2] / "config/fastdds.xml"
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
HEIGHT, WIDTH = 376, 1241
TOPIC = "/bench/image"
GRACE_S = 5.0


def send(seconds: float, rate_hz: float) -> None:
    """Publish at a steady rate as soon as there is a subscriber; print how many were sent."""
    rclpy.init()
    node = rclpy.create_node("bench_sender")
    publisher = node.create_publisher(Image, TOPIC, qos_profile_sensor_data)
    while not publisher.get_subscription_count():
        time.sleep(0.01)
    time.sleep(1.0)
    image = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=WIDTH * 3)
    image.data = array.array("B", bytes(HEIGHT * WIDTH * 3))
    count, begin = round(seconds * rate_hz), time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, begin + number / rate_hz - time.monotonic()))
        image.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(image)
    time.sleep(1.0)  # the last one is still on its way
    sys.stdout.write(str(count))


def receive(seconds: float) -> dict[str, float]:
    """Count what arrives; latencies in milliseconds from the stamp to the callback."""
    rclpy.init()
    node = rclpy.create_node("bench_receiver")
    latencies = []

    def on_image(message: Image) -> None:
        stamp = message.header.stamp
        now = node.get_clock().now().nanoseconds
        latencies.append((now - stamp.sec * 10**9 - stamp.nanosec) / 1e6)

    node.create_subscription(Image, TOPIC, on_image, qos_profile_sensor_data)
    end = time.monotonic() + seconds + 60.0
    last = 0.0
    while time.monotonic() < end and not (latencies and time.monotonic() > last + GRACE_S):
        count = len(latencies)
        rclpy.spin_once(node, timeout_sec=0.1)
        if len(latencies) > count:
            last = time.monotonic()
    latencies.sort()
    middle = latencies[len(latencies) // 2] if latencies else float("nan")
    return {"received": len(latencies), "latency_ms_median": round(middle, 2)}


def measure(environment: dict[str, str], seconds: float, rate_hz: float) -> dict[str, float]:
    """One sender and one receiver as processes of their own."""
    command = [sys.executable, __file__, "--seconds", str(seconds), "--rate", str(rate_hz)]
    receiver = subprocess.Popen(
        [*command, "--role", "receive"], env=environment, stdout=subprocess.PIPE, text=True
    )
    sent = subprocess.run(
        [*command, "--role", "send"], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    result = json.loads(receiver.communicate()[0])
    return {"sent": int(sent.stdout), **result, "lost": int(sent.stdout) - result["received"]}


def main() -> int:
    """Measure both ways and print; fail if the profile loses an image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each measurement")
    parser.add_argument("--rate", type=float, default=10.0, help="images per second")
    parser.add_argument("--role", choices=["send", "receive"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role == "send":
        send(options.seconds, options.rate)
        return 0
    if options.role == "receive":
        sys.stdout.write(json.dumps(receive(options.seconds)))
        return 0
    bare = {k: v for k, v in os.environ.items() if k not in PROFILE_VARIABLES}
    bare["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    bare["ROS_DOMAIN_ID"] = str(random.SystemRandom().randrange(102))
    shipped = bare | dict.fromkeys(PROFILE_VARIABLES, str(PROFILE))
    result = {
        "image_bytes": HEIGHT * WIDTH * 3,
        "rate_hz": options.rate,
        "with_profile": measure(shipped, options.seconds, options.rate),
        "without_profile": measure(bare, options.seconds, options.rate),
    }
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return int(result["with_profile"]["lost"] != 0)


if __name__ == "__main__":
    sys.exit(main())
