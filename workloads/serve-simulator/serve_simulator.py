"""Ray Serve application with one llm-d-inference-sim process behind each replica.

The stand-in for vLLM; RayService import path `serve_simulator:build_app`. It serves no
model, and says so in every response.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from proxy import EngineProxy
from simulator import (
    BINARY,
    ENGINE_NAME,
    METRICS_PORT,
    Simulator,
    SimulatorSettings,
    binary_version,
    flags,
    free_port,
)
from spans import span_sender

# One slot on each worker pod (rayStartParams.resources), so that a pod never holds two replicas.
DEFAULT_ACTOR_OPTIONS: Mapping[str, Any] = {
    "num_cpus": 0.25,
    "resources": {"replica_slot": 1},
}

DEFAULTS: Mapping[str, Any] = {
    "replicas": 1,
    "max_ongoing_requests": 256,
    "ray_actor_options": DEFAULT_ACTOR_OPTIONS,
    "health_check_period_s": 10,
    "health_check_timeout_s": 30,
    "graceful_shutdown_timeout_s": 20,
    "port": METRICS_PORT,
    "binary": BINARY,
    "start_timeout_s": 60,
    "simulator": {},
}


class _RawAsgi(Response):
    """Serve awaits a Response with the raw ASGI arguments: no wrapper is left in between."""

    def __init__(self, app: EngineProxy) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)


@serve.deployment(name="simulator")
class SimulatorReplica:
    """One replica: one simulator process and the proxy before it."""

    async def __init__(self, settings: SimulatorSettings) -> None:
        if settings.port == 0:
            settings = replace(settings, port=free_port())
        self._simulator = Simulator(settings)
        await self._simulator.start()
        proxy = EngineProxy(
            settings.port,
            replica=serve.get_replica_context().replica_id.unique_id,
            engine=ENGINE_NAME,
            version=binary_version(settings.binary),
            on_answer=span_sender(settings.model),
        )
        self._response = _RawAsgi(proxy)

    async def __call__(self, request: Request) -> Response:
        return self._response

    async def check_health(self) -> None:
        """Serve restarts the replica after three failures in a row."""
        self._simulator.check()

    async def __del__(self) -> None:
        await self._simulator.stop()


def build_app(args: Mapping[str, Any]) -> serve.Application:
    """The application of the arguments `model` (required) and the keys of DEFAULTS."""
    allowed = ["model", *DEFAULTS]
    for key in args:
        if key not in allowed:
            raise ValueError(f"args.{key}: unknown key; allowed: {', '.join(allowed)}")
    if not args.get("model"):
        raise ValueError("args.model: missing; give the name under which to serve")
    values = {**DEFAULTS, **args}
    # Fail here, in the application's status, not in each replica.
    flags(values["simulator"])
    settings = SimulatorSettings(
        model=values["model"],
        port=values["port"],
        binary=values["binary"],
        start_timeout_s=values["start_timeout_s"],
        options=values["simulator"],
    )
    return SimulatorReplica.options(
        num_replicas=values["replicas"],
        max_ongoing_requests=values["max_ongoing_requests"],
        ray_actor_options=dict(values["ray_actor_options"]),
        health_check_period_s=values["health_check_period_s"],
        health_check_timeout_s=values["health_check_timeout_s"],
        graceful_shutdown_timeout_s=values["graceful_shutdown_timeout_s"],
    ).bind(settings)
