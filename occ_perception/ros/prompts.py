"""Words that a running node looks for: parameter, services, and the label map that follows them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from occ_msgs.srv import QueryText, SetPrompts
from occ_perception.core.errors import ConfigError
from occ_perception.core.labels import LabelMap
from occ_perception.ros import messages
from occ_perception.ros.volume import Volume
from occ_perception.text.vocabulary import check_prompts
from occ_perception.text.wording import Wording, Wordings, put_into_force


class PromptDesk:
    """Takes words in the executor's thread and hands them to the system between two sets."""

    def __init__(
        self,
        node: Any,
        system: Any,
        wordings: Wordings,
        parameter: Callable[[], tuple[str, ...]],
        on_change: Callable[[LabelMap], None],
    ) -> None:
        """Offer the services; the words of the parameter are in force.

        Args:
            node: rclpy node.
            system: With `set_prompts` and `query`.
            wordings: Turns words into vectors.
            parameter: The parameter of the moment.
            on_change: Told the label map when other words come into force.

        Raises:
            ConfigError: The words cannot be used.
        """
        self._system = system
        self._wordings = wordings
        self._parameter = parameter
        self._on_change = on_change
        self._seen = parameter()
        self._types = messages.ros_types()
        self._configured = self._active = wordings.of(self._seen)
        self._pending: deque[Wording] = deque(maxlen=1)  # the newest words win
        self._stamp_ns = 0
        self._node = node
        self._warn()
        self._services = [
            node.create_service(SetPrompts, "~/set_prompts", self._on_set),
            node.create_service(QueryText, "~/query_text", self._on_query),
        ]

    def destroy(self) -> None:
        """Withdraw the services."""
        for service in self._services:
            self._node.destroy_service(service)

    def check(self, words: tuple[str, ...]) -> None:
        """Whether the parameter may become this.

        Raises:
            ConfigError: A word cannot be used.
        """
        if words != self._seen:
            self._wordings.of(words)

    def before_set(self) -> None:
        """In the inference worker: let new words come into force."""
        if (words := self._parameter()) != self._seen:
            self._seen = words
            self._configured = self._wordings.of(words)
            self._take(self._configured)
        while self._pending:
            put_into_force(self._system, self._pending.popleft())

    def after_set(self, stamp_ns: int) -> None:
        """In the inference worker: a set was answered."""
        self._stamp_ns = stamp_ns

    def _warn(self) -> None:
        if concern := self._active.concern:
            self._node.get_logger().warning(concern)

    def _take(self, wording: Wording) -> None:
        self._active = wording
        self._warn()
        self._pending.append(wording)
        self._on_change(wording.labels)

    def _on_set(self, request: Any, response: Any) -> Any:
        words = tuple(request.prompts)
        try:
            self._take(self._wordings.of(words) if words else self._configured)
        except ConfigError as error:
            response.message = str(error)
        response.success = not response.message
        response.active = list(self._active.words)
        return response

    def _on_query(self, request: Any, response: Any) -> Any:
        try:
            response.grid = self._similar(request.text, float(request.threshold))
        except ConfigError as error:
            response.message = str(error)
        response.success = not response.message
        return response

    def _similar(self, text: str, threshold: float) -> Any:
        check_prompts([text])
        if not -1 <= threshold <= 1:
            raise ConfigError(f"threshold {threshold:g} is no cosine; give one in -1..1")
        vectors = self._wordings.vectors([text]).find([text])
        similarity = self._system.query(vectors)[0].float().clamp(-1, 1).cpu().numpy()
        scaled = np.rint((similarity + 1) * 127).astype(np.uint8)
        applies = (similarity >= threshold).astype(np.uint8)
        labels = self._active.labels
        volume = Volume(applies, None, scaled, self._system.grid, labels, self._stamp_ns)
        grid = messages.voxel_grid(self._types, volume)
        grid.label_map = ""  # the labels are yes and no
        return grid
