"""What all nodes of this package share: life cycle, parameters, diagnostics, watchdog, main."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from radar_pose_ros.leaving import EXIT_USAGE
from radar_pose_ros.nodes import parameters
from radar_pose_ros.nodes.convert import InvalidMessageError
from radar_pose_ros.nodes.health import Health, Journal
from radar_pose_ros.nodes.log_folder import provide_log_folder
from radar_pose_ros.nodes.parameters import ParameterError, ParameterSpec
from radar_pose_ros.nodes.quality import QualityWatch
from radar_pose_ros.nodes.window import PublisherNumbers
from radar_pose_ros.nodes.worker import Worker

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE
ERROR = TransitionCallbackReturn.ERROR

# Facts that do not change: late readers get the last one.
LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
# Several nodes define skeletons on one topic: a reader's memory of one would hold the last's only.
SKELETONS = QoSProfile(
    depth=50, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
# Data that somebody measured: readers may be best-effort, writers are reliable (REP-2003).
RELIABLE = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
SENSOR_DATA = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)

DIAGNOSTICS_PERIOD_S = 1.0
LOOKING_PERIOD_S = 0.25  # how soon a silence is told, which then does not wait for its turn
STOP_TIMEOUT_S = 2.0  # for all threads of a node together; a mute board takes 1.7 of it
REVIVAL_S = (1.0, 30.0)  # first and longest pause between two attempts to get active again
# Exceptions that speak of the world (files, sockets, values, devices) rather than of a bug here.
EXPECTED = (OSError, ValueError, RuntimeError)


def sentence(error: Exception) -> str:
    """Return an exception as one line."""
    text = " ".join(str(error).split())
    return text if text and isinstance(error, EXPECTED) else f"{type(error).__name__}: {text}"


class ManagedNode(LifecycleNode):
    """A lifecycle node whose transitions fail with a sentence and never raise.

    Derived classes write `configure`, `activate`, `deactivate` and `cleanup`. The last two release
    whatever there is to release and can be called at any time, any number of times: they also
    clear up after a `configure` or `activate` that stopped half-way.
    """

    def __init__(self, name: str, **node_arguments: Any) -> None:
        self.health = Health()
        self._journal = Journal()
        self._quality = QualityWatch(self, self.health)  # rclpy creates publishers at once
        super().__init__(name, **node_arguments)
        self._workers: list[Worker] = []
        self._active_subscriptions: list[Any] = []
        self._broken = threading.Event()
        self._wants_to_be_active = False
        self.gave_up = False  # whether it could not configure itself: it does not try again
        self.is_configuring = False  # itself
        self._revival_s = REVIVAL_S[0]
        self._next_revival_s = 0.0
        self._specs = parameters.load(name)
        self._values_class = parameters.values_class(name, self._specs)
        for spec in self._specs.values():
            self._declare(spec)
        self.values = self._read_values()
        self.add_on_set_parameters_callback(self._check_change)
        self.add_post_set_parameters_callback(self._accept_change)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # Watchdog and start must not depend on /clock, which may stand still or never come.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._watch, clock=steady)
        self._was_silent = False
        self.create_timer(LOOKING_PERIOD_S, self._notice_troubles, clock=steady)
        if self.values.autostart:
            self._start_timer = self.create_timer(0.0, self._start, clock=steady)

    # -- for derived classes -----------------------------------------------------------------

    def configure(self) -> None:
        """Check parameters, read files, create publishers."""

    def activate(self) -> None:
        """Open sockets, create subscriptions, start threads."""

    def deactivate(self) -> None:
        """Close what `activate` opened; threads and subscriptions are already gone."""

    def cleanup(self) -> None:
        """Release what `configure` made."""

    @property
    def is_active(self) -> bool:
        """Whether the node is in the state `active`."""
        return self._state_machine.current_state[1] == "active"

    def start_worker(self, name: str, target: Callable[[threading.Event], None]) -> None:
        """Run ``target(stop)`` in a thread until the node is deactivated."""
        self._workers.append(Worker(name, target, lambda error: self._worker_failed(name, error)))

    def subscribe(
        self,
        message_type: type,
        topic: str,
        qos: QoSProfile,
        callback: Callable[[Any], None],
        lost: str = "",
    ) -> None:
        """Subscribe until the node is deactivated; messages that are not valid are counted.

        So are, under the name ``lost`` if there is one, those that the transport dropped between
        two others of a publisher. What a publisher has published is then what came, what was lost,
        and what it had published before it was heard.
        """
        numbers = PublisherNumbers()

        def guarded(message: Any) -> None:
            self.health.count(f"{topic}: came")
            try:
                callback(message)
            except InvalidMessageError as error:
                self.refuse(topic, error)
            except Exception as error:  # one message must never end the node
                self.health.drop(f"{topic}: not understood")
                self.get_logger().error(
                    f"{topic}: {sentence(error)}\n{traceback.format_exc()}",
                    throttle_duration_sec=5.0,
                )

        def numbered(message: Any, about: Any) -> None:
            publisher = bytes(about["publisher_gid"]["data"])
            missing = numbers.missing(publisher, about["publication_sequence_number"])
            self.health.drop(lost, missing)
            if numbers.before:
                self.health.count(f"{topic}: published before it was heard", numbers.before)
            guarded(message)

        self._active_subscriptions.append(
            self.create_subscription(message_type, topic, numbered if lost else guarded, qos)
        )

    def create_publisher(
        self, message_type: type, topic: str, qos_profile: QoSProfile | int, **more: Any
    ) -> Any:
        """Create a publisher as rclpy does; who cannot hear it for its quality is told."""
        more.setdefault("event_callbacks", self._quality.of_publisher(topic))
        return super().create_publisher(message_type, topic, qos_profile, **more)

    def create_subscription(
        self,
        message_type: type,
        topic: str,
        callback: Callable[..., None],
        qos_profile: QoSProfile | int,
        **more: Any,
    ) -> Any:
        """Create a subscription as rclpy does; whom it cannot hear for its quality is told."""
        more.setdefault("event_callbacks", self._quality.of_subscription(topic))
        return super().create_subscription(message_type, topic, callback, qos_profile, **more)

    def refuse(self, topic: str, error: InvalidMessageError) -> None:
        """Count a message that is not valid, and say now and then what is wrong with it."""
        self.health.drop(f"{topic}: {error.reason}")
        self.get_logger().warning(f"{topic}: {error}", throttle_duration_sec=5.0)

    def refuse_request(self, error: Exception) -> None:
        """Count what ended in an exception outside of all that a node guards, and say so."""
        self.health.drop("requests that were not understood")
        trace = "" if isinstance(error, EXPECTED) else f"\n{traceback.format_exc()}"
        self.get_logger().error(
            f"a request was not understood: {sentence(error)}{trace}", throttle_duration_sec=5.0
        )

    def drop_publishers(self, *names: str) -> None:
        """Destroy publishers held in attributes of these names and set the attributes to None."""
        for name in names:
            publisher = getattr(self, name, None)
            if publisher is not None:
                self.destroy_publisher(publisher)
            setattr(self, name, None)

    # -- parameters --------------------------------------------------------------------------

    def _declare(self, spec: ParameterSpec) -> None:
        descriptor = ParameterDescriptor(
            description=spec.description,
            read_only=spec.read_only,
            additional_constraints=f"one of {spec.allowed}" if spec.choices else "",
        )
        if spec.range is not None and spec.type == "int":
            lowest, highest = (int(bound) for bound in spec.range)
            descriptor.integer_range = [IntegerRange(from_value=lowest, to_value=highest)]
        elif spec.range is not None:
            lowest_, highest_ = (float(bound) for bound in spec.range)
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=lowest_, to_value=highest_)
            ]
        try:
            self.declare_parameter(spec.name, spec.default, descriptor)
            spec.check(self.get_parameter(spec.name).value)
        except ParameterException as error:
            allowed = f"; allowed is {spec.allowed}" if spec.allowed else ""
            text = f"parameter {spec.name} ({spec.type}): {error}{allowed}"
            raise ParameterError(text) from None

    def _read_values(self) -> Any:
        values = {name: self.get_parameter(name).value for name in self._specs}
        for name, spec in self._specs.items():
            if spec.length:
                values[name] = list(values[name])
        return self._values_class(**values)

    def _check_change(self, changes: list[Parameter]) -> SetParametersResult:
        state = self._state_machine.current_state[1]
        for change in changes:
            spec = self._specs.get(change.name)
            if spec is None and self.has_parameter(change.name):
                continue  # use_sim_time and the like belong to rclpy
            if spec is None:
                return SetParametersResult(
                    successful=False, reason=f"there is no parameter {change.name!r}"
                )
            try:
                spec.check(change.value)
            except ParameterError as error:
                return SetParametersResult(successful=False, reason=str(error))
            if state != "unconfigured" and not spec.while_active:
                return SetParametersResult(
                    successful=False,
                    reason=f"{change.name} can change only while the node is unconfigured, "
                    f"and it is {state}",
                )
        return SetParametersResult(successful=True)

    def _accept_change(self, changes: list[Parameter]) -> None:
        self.values = self._read_values()

    # -- transitions -------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Call `configure`; undo it if it fails."""
        return self._attempt("configure", self.configure, self.cleanup)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Call `activate`; undo it if it fails."""
        self._broken.clear()
        result = self._attempt("activate", self.activate, self._stop)
        self._wants_to_be_active = result is FAILURE and self.values.autostart
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop threads and subscriptions, then call `deactivate`."""
        self._wants_to_be_active = False
        return self._attempt("deactivate", self._stop)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Call `cleanup`."""
        self._wants_to_be_active = False
        result = self._attempt("clean up", self.cleanup)
        gc.collect()  # what was released may be large, and Python looks for cycles by number
        return result

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything."""
        return self._attempt("shut down", self.release)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, keep the sentence that says why; the node is unconfigured then."""
        failure = self.health.failure
        self._attempt("release", self.release)
        self.health.failure = failure
        return SUCCESS

    def release(self) -> None:
        """Release everything, whatever the state."""
        self._stop()
        self.cleanup()

    def ask_workers_to_end(self) -> None:
        """Tell all threads that they will be stopped; `deactivate` and the like wait for them."""
        for worker in self._workers:
            worker.ask()

    def _stop(self) -> None:
        self.ask_workers_to_end()
        workers, self._workers = self._workers, []
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        late = [w.name for w in workers if not w.stop(max(0.0, deadline_s - time.monotonic()))]
        subscriptions, self._active_subscriptions = self._active_subscriptions, []
        for subscription in subscriptions:
            self.destroy_subscription(subscription)
        self.health.unwatch()
        self.deactivate()
        if late:
            raise RuntimeError(f"threads that did not end in time: {', '.join(late)}")

    def _attempt(
        self, name: str, hook: Callable[[], None], undo: Callable[[], None] | None = None
    ) -> TransitionCallbackReturn:
        try:
            hook()
        except Exception as error:  # a transition answers with FAILURE; nothing leaves it
            self.health.failure = f"cannot {name}: {sentence(error)}"
            self.get_logger().error(self.health.failure)
            if not isinstance(error, EXPECTED):
                self.get_logger().error(traceback.format_exc())
            if undo is None:
                return ERROR
            reason = self.health.failure
            if self._attempt(f"undo {name}", undo) is not SUCCESS:
                return ERROR
            self.health.failure = reason
            return FAILURE
        self.health.failure = ""
        return SUCCESS

    def _start(self) -> None:
        self._start_timer.cancel()
        self.is_configuring = True
        try:
            self.gave_up = self.trigger_configure() is not SUCCESS
        finally:
            self.is_configuring = False
        if not self.gave_up:
            self.trigger_activate()

    # -- diagnostics and watchdog ------------------------------------------------------------

    def _worker_failed(self, name: str, error: Exception) -> None:
        self.get_logger().error(f"{name} ended: {sentence(error)}\n{traceback.format_exc()}")
        self.health.drop(f"{name} ended: {sentence(error)}")
        self._broken.set()

    def _revive(self) -> None:
        """Restart a node that lost a thread or did not get active, at growing intervals."""
        now_s = time.monotonic()
        broken = self._broken.is_set() and self.is_active
        if not (broken or self._wants_to_be_active) or now_s < self._next_revival_s:
            return
        calm = now_s - self._next_revival_s > REVIVAL_S[1]
        self._revival_s = REVIVAL_S[0] if calm else min(2 * self._revival_s, REVIVAL_S[1])
        self._next_revival_s = now_s + self._revival_s
        if not broken or self.trigger_deactivate() is SUCCESS:
            self.trigger_activate()

    def _notice_troubles(self) -> None:
        """Report at once that something fell silent; log what lasts, and what is over."""
        silent = self.is_active and self.health.is_silent
        if silent and not self._was_silent:
            self._watch()
        self._was_silent = silent
        begun, over = self._journal.look(self.health.troubles(), time.monotonic(), self.is_active)
        for line in begun:
            self.get_logger().warning(line)
        for line in over:
            self.get_logger().info(line)

    def _watch(self) -> None:
        self._revive()
        self._quality.forget_those_who_left()
        level, message, values = self.health.report(self.is_active)
        values["state"] = self._state_machine.current_state[1]
        status = DiagnosticStatus(
            level=bytes([level]), name=self.get_fully_qualified_name(), message=message
        )
        status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
        report = DiagnosticArray(status=[status])
        report.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(report)


class _Asked(BaseException):
    """SIGINT or SIGTERM came while a node was made or configured."""


def run(node_class: Callable[[], ManagedNode], arguments: Sequence[str] | None = None) -> int:
    """Run one node until SIGINT or SIGTERM; see `run_together`."""
    return run_together([node_class], arguments)


def run_together(
    makers: Sequence[Callable[[], ManagedNode]], arguments: Sequence[str] | None = None
) -> int:
    """Run nodes in this process, until SIGINT or SIGTERM.

    Returns
    -------
    int
        Exit code: 0; or 2 for a bad parameter, and where ``RADAR_POSE_EXIT_UNCONFIGURED`` is set
        if a node could not configure itself, because of its weights for instance.
    """
    stopping = threading.Event()
    nodes: list[ManagedNode] = []

    def ask(*_: Any) -> None:
        at_first = not stopping.is_set()
        stopping.set()
        # Loading a network takes seconds, and who is not active yet need not wait for it.
        if at_first and (len(nodes) < len(makers) or any(n.is_configuring for n in nodes)):
            raise _Asked

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    try:
        try:
            _init(arguments)
            executor = SingleThreadedExecutor()
            for make in makers:
                node = make()
                executor.add_node(node)
                nodes.append(node)
        except (ParameterError, FileNotFoundError) as error:
            print(f"error: {sentence(error)}", file=sys.stderr)
            return EXIT_USAGE
        return _spin(executor, nodes, stopping)
    except (_Asked, ExternalShutdownException):
        return 0
    finally:
        stopping.set()
        for node in nodes:
            node.ask_workers_to_end()
        for node in nodes:
            node.on_shutdown(LifecycleState("", 0))
            node.destroy_node()
        nodes.clear()  # `ask` knows them, and who makes them, for as long as the process lives:
        makers = ()  # what they hold in shared memory would stay behind
        rclpy.try_shutdown()


def _init(arguments: Sequence[str] | None) -> None:
    """Begin with ROS; `ParameterError` if it cannot read its arguments or variables."""
    provide_log_folder(os.environ)
    try:
        # With rclpy's own handlers the context is gone before a node can say goodbye to its
        # hardware.
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:
        # Where in rcl's sources it noticed is of no use to anybody here.
        raise ParameterError(re.sub(r", at \S+:\d+", "", sentence(error))) from error


def _spin(
    executor: SingleThreadedExecutor, nodes: Sequence[ManagedNode], stopping: threading.Event
) -> int:
    """Run until asked to stop; return the exit code."""
    # Who was started by `radar-pose up` or ROS's launch ends with that, even if it was killed.
    starter = os.environ.get("RADAR_POSE_EXIT_WITH_PARENT")
    parent = os.getppid() if starter else None
    if starter and not _exists(int(starter)):
        return 0  # while this was being imported
    only_configured = bool(os.environ.get("RADAR_POSE_EXIT_UNCONFIGURED"))
    while not stopping.is_set() and parent in (None, os.getppid()):
        try:
            executor.spin_once(timeout_sec=0.2)
        except ExternalShutdownException:
            raise
        except Exception as error:  # of rclpy itself, at a request that it cannot read
            nodes[0].refuse_request(error)
        for node in nodes:
            if only_configured and node.gave_up:
                print(f"error: {node.health.failure}", file=sys.stderr)
                return EXIT_USAGE
    return 0


def _exists(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)  # others are somebody else's
    return True
