"""`acclimate bridge`: serves one bundle to robots, and passes on what their operators ask.

A robot's driver connects, shakes hands and then owns time: every observation is answered at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from adapt.bundle.policy_bundle import PolicyBundle
from adapt.bundle.signature import Signers
from adapt.errors import PriorError
from adapt.guard import GuardSettings
from adapt.inference.session import CPU
from adapt.prior import MeasuredPrior, latent_prior, read_prior
from adapt.settings import WholeNumber, compose
from robot_bridge.errors import CodecError, described
from robot_bridge.probing.limits import ProbeSettings
from robot_bridge.protocol.operator_messages import StageStatus
from robot_bridge.recording.writer import McapRecorder
from robot_bridge.safety.deadline_monitor import DeadlineSettings
from robot_bridge.safety.limits import Limits
from robot_bridge.safety.spacing import SpacingSettings
from robot_bridge.server.backlog import superseded
from robot_bridge.server.dispatcher import EVERY, Dispatcher
from robot_bridge.server.load_meter import LoadMeter, LoadSettings
from robot_bridge.server.loop_timing import LoopTiming
from robot_bridge.session.belief_store import BeliefStore
from robot_bridge.system import realtime
from robot_bridge.system.log import STDERR, Journal, Log, LogOutput, claim
from robot_bridge.system.signals import Interrupt
from robot_bridge.system.systemd import Service
from robot_bridge.telemetry.metrics import Metrics
from robot_bridge.telemetry.observers import Taps
from robot_bridge.telemetry.prometheus import ADDRESS, EDGES_NS, Exporter
from robot_bridge.telemetry.records import Tap
from robot_bridge.transport.server_socket import BACKLOG, ServerSocket

HELP = """acclimate bridge BUNDLE [key=value ...]

Serves one bundle to robots, until Ctrl-C. A robot's driver connects, sends an observation each
control period and gets a command at once; operators connect to run trials and to stop robots.

Examples:
  acclimate bridge bundle=bundles/mine
  acclimate bridge bundle=bundles/mine endpoint=tcp://0.0.0.0:5555 record=runs/recordings
  acclimate bridge bundle=bundles/mine mode=shadow"""

LAST_WORDS = 0.3  # that the last lines get to leave [s]


@dataclass(frozen=True)
class BridgeSettings:
    """bundle: folder or .zip of the bundle to serve.
    endpoint: local (this user's own socket), ipc:///PATH or tcp://HOST:PORT.
    keys: folder of the bridge's keys, for tcp; null takes $ACCLIMATE_KEYS or
        ~/.config/acclimate/keys.
    signers: public keys, or NAME.signer.pub files; only bundles signed by one of them are served.
        Empty serves unsigned bundles, too.
    validity: control periods for which a command is good after its receipt.
    seed: of the latents of robots that run without an operator.
    provider: onnxruntime's execution provider; never replaced by another silently.
    mode: live, or shadow, which computes and answers but never commands.
    stopped: true begins with a stop of every robot, which an operator releases. For services that
        restart by themselves, since a new bridge does not know earlier stops.
    record: folder for a recording of every step (MCAP); null keeps none.
    state: folder where each robot's belief outlives the bridge; null keeps none.
    prior: file of a measured prior (prior.json of acclimate calibrate) that every robot's beliefs
        start from; null takes the bundle's own.
    priors: the same for some robots by name, such as priors.arm=FILE.
    guard: when is a robot outside of what training saw?
    pace: when is the bridge too slow for a robot, by its own clock?
    spacing: when is a driver too fast or too slow for its bundle?
    probe: how far and how hard may a robot touch its cell when an operator asks for a probing?
    load: when is the bridge too busy for a further robot?
    together: whether one run of the policy answers several robots whose observations arrive at
        once: auto does so on a GPU alone, where a run costs more than its rows.
    loop: blocking sleeps between frames; polling spins while robots speak and needs its own core.
    core: the loop's own core; other threads keep off it. null: any core.
    priority: of the loop under SCHED_FIFO, 1 to 99, other threads one below; needs the right to it.
        0: as any other process.
    lock_memory: keep every page in memory; needs the right to it.
    metrics: port of the metrics for Prometheus; 0: none.
    metrics_address: address of that port.
    """

    bundle: Path
    endpoint: str = "local"
    keys: Path | None = None
    signers: tuple[str, ...] = ()
    validity: Annotated[int, Meta(ge=1, le=100)] = 3
    seed: WholeNumber = 0
    provider: str = CPU
    mode: Literal["live", "shadow"] = "live"
    stopped: bool = False
    record: Path | None = None
    state: Path | None = None
    prior: Path | None = None
    priors: dict[str, Path] = field(default_factory=dict)
    guard: GuardSettings = field(default_factory=GuardSettings)
    pace: DeadlineSettings = field(default_factory=DeadlineSettings)
    spacing: SpacingSettings = field(default_factory=SpacingSettings)
    probe: ProbeSettings = field(default_factory=ProbeSettings)
    load: LoadSettings = field(default_factory=LoadSettings)
    together: Literal["auto", "always", "never"] = "auto"
    loop: Literal["blocking", "polling"] = "blocking"
    core: WholeNumber | None = None
    priority: Annotated[int, Meta(ge=0, le=99)] = 0
    lock_memory: bool = False
    metrics: Annotated[int, Meta(ge=0, le=65535)] = 0
    metrics_address: str = ADDRESS


class Daemon:
    """The loop: receive → validate → act → answer. Binds at once.

    taps: told of every step, transition and event after the answer has gone, and closed with it.
    stages: how long each stage of the work takes, for operators that ask; must return at once.
    log: where events are written; stderr if none.
    Raises LimitError for a bundle whose limits nothing can keep, PriorError for a prior that the
    bundle cannot express, EndpointError, StateError.
    """

    def __init__(
        self,
        bundle: PolicyBundle,
        settings: BridgeSettings,
        taps: Sequence[Tap] = (),
        stages: Callable[[], Sequence[StageStatus]] = tuple,
        log: Log | None = None,
    ) -> None:
        manifest = bundle.manifest
        # Each robot gets limits of its own. Ones that cannot be kept are refused now.
        Limits(manifest.observation, manifest.action, manifest.limits, manifest.control_period)
        period_ns = round(manifest.control_period * 1e9)
        priors = read_priors(settings, bundle)
        store = BeliefStore(settings.state) if settings.state is not None else None
        try:
            self._router = ServerSocket(settings.endpoint, settings.keys)
        except BaseException:
            if store is not None:
                store.close()
            raise
        self.endpoint = self._router.endpoint
        self.connections = self._router.connections
        self._taps = Taps(taps)
        self._load = LoadMeter(settings.load)
        self._dispatcher = Dispatcher(
            bundle,
            self._router.send,
            settings.seed,
            settings.validity * period_ns,
            log or Journal(),
            self._taps,
            settings.mode == "shadow",
            self._router,
            settings.guard,
            settings.pace,
            store,
            lambda path: open_bundle(path, settings),
            stages,
            shares_runs(settings),
            settings.stopped,
            settings.spacing,
            priors,
            settings.probe,
            self._load,
        )

    def run(self, halted: Callable[[], bool], timing: LoopTiming | None = None) -> None:
        """Serve until halted() is true. timing: of the loop; one that sleeps by default."""
        dispatcher, router = self._dispatcher, self._router
        with timing or LoopTiming() as timing:
            while not halted():
                heard = self._receive(timing.wait_ms(dispatcher.settling))
                # The socket is empty: the shared run does not wait for further robots.
                dispatcher.flush()
                quiet = timing.quiet(heard)
                if timing.spins or quiet:
                    # A busy-polling loop never yields the interpreter, so it learns here: a worker
                    # would have to take it by force, which costs more than the lesson.
                    dispatcher.teach(here=timing.spins)
                if quiet:
                    dispatcher.rest()
                if timing.turn(heard):
                    for name, text in router.news():
                        dispatcher.announce(name, text)
                    dispatcher.tend()
                self._load.note(time.monotonic(), router.waited if heard else None)

    def _receive(self, timeout_ms: int) -> bool:
        """Act on the frames that have arrived; whether there were any."""
        heard = False
        if self._dispatcher.behind():
            frames = list(self._router.receive(timeout_ms, BACKLOG))
            for (sender, data), old in zip(frames, superseded(frames), strict=True):
                heard = True
                self._take(sender, data, old)
        else:
            for sender, data in self._router.receive(timeout_ms):
                heard = True
                self._take(sender, data, False)
        return heard

    def _take(self, sender: bytes, data: bytes, old: bool) -> None:
        try:
            self._dispatcher.take(sender, data, old)
        except CodecError as error:
            self._dispatcher.garbled(sender, error)
        # One peer's frame must not end the service of the others.
        except Exception as error:
            self._dispatcher.faulty(sender, error)

    def close(self, reason: str) -> None:
        """Stop every robot, tell every peer, and free the address."""
        try:
            self._dispatcher.dismiss(reason)
        finally:
            try:
                self._router.close()
            finally:
                self._taps.close()


def read_priors(settings: BridgeSettings, bundle: PolicyBundle) -> dict[str, MeasuredPrior]:
    """The measured priors by robot, see `Dispatcher`. Raises PriorError naming the file."""
    files = dict(settings.priors)
    if settings.prior is not None:
        files[EVERY] = settings.prior
    priors = {robot: read_prior(path) for robot, path in files.items()}
    for robot, prior in priors.items():
        try:
            latent_prior(prior, bundle.manifest)
        except PriorError as error:
            raise PriorError(f"{files[robot]}: {error}") from error
    return priors


def shares_runs(settings: BridgeSettings) -> bool:
    """Whether robots are answered together."""
    if settings.together == "auto":
        # On the CPU every answer is then a run of its own, so that a replay's bits do not depend on
        # the other robots.
        return settings.provider != CPU
    return settings.together == "always"


def open_bundle(path: Path, settings: BridgeSettings) -> PolicyBundle:
    """Read and verify a bundle as these settings ask; see `PolicyBundle.load`."""
    signers = Signers.read(settings.signers)
    return PolicyBundle.load(path, (settings.provider,), signers, apart=True)


def main(argv: list[str]) -> int:
    """`acclimate bridge`; returns 130 after Ctrl-C, else 0."""
    settings = compose("bridge", BridgeSettings, argv, HELP, ["bundle"])
    claim(STDERR)
    output = LogOutput(STDERR)
    log = Journal(output)
    bundle = open_bundle(settings.bundle, settings)
    # From here on a signal is a request to close in order.
    interrupt = Interrupt()
    manifest = bundle.manifest
    # Before the first thread starts, which would inherit what is for the loop alone.
    if settings.priority:
        realtime.prioritise(settings.priority)
    if settings.core is not None:
        realtime.reserve(settings.core)
    metrics = Metrics(manifest.control_period, EDGES_NS)
    exporter = None
    if settings.metrics:
        exporter = Exporter(
            metrics,
            settings.metrics,
            settings.metrics_address,
            bundle=manifest.name,
            digest=bundle.digest,
        )
    recorders = [McapRecorder(settings.record, bundle)] if settings.record else []
    service = Service()
    try:
        daemon = Daemon(bundle, settings, [metrics, *recorders], metrics.stages, log)
    except BaseException:
        for recorder in recorders:
            recorder.close()
        raise
    try:
        log(
            "serving",
            bundle=manifest.name,
            digest=bundle.digest[:12],
            period_s=f"{manifest.control_period:g}",
            provider=settings.provider,
            endpoint=daemon.endpoint,
            connections=daemon.connections,
            mode=settings.mode,
            loop=settings.loop,
        )
        for recorder in recorders:
            log("recording", path=recorder.path)
        if settings.lock_memory:
            realtime.lock_memory()
        if settings.core is not None:
            realtime.occupy(settings.core)
        if settings.priority:
            realtime.lead(settings.priority)
        service.ready(f"{manifest.name} at {daemon.endpoint}")
        daemon.run(lambda: bool(interrupt), LoopTiming(settings.loop == "polling", service))
    except BaseException as error:
        text = described(error)
        log("fault", text)
        service.stopping(f"fault: {text}")
        daemon.close(f"fault: {text}")
        raise
    reason = interrupt.signal.name if interrupt.signal else "done"
    service.stopping(reason)
    daemon.close(reason)
    if exporter is not None:
        exporter.close()
    log("closed", reason)
    output.finish(LAST_WORDS)
    return interrupt.exit_code
