"""The llm-d-inference-sim process of one replica: command line, start, wait, stop.

Standard library only.
"""

import asyncio
import contextlib
import mmap
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

BINARY = "/usr/local/bin/llm-d-inference-sim"
ENGINE_NAME = "llm-d-inference-sim (stand-in)"
METRICS_PORT = 8200

# Option -> what its value is. "ms" options lose the suffix and become Go durations.
OPTIONS: Mapping[str, str] = {
    "time_to_first_token_ms": "ms",
    "time_to_first_token_std_dev_ms": "ms",
    "inter_token_latency_ms": "ms",
    "inter_token_latency_std_dev_ms": "ms",
    "prefill_overhead_ms": "ms",
    "prefill_time_per_token_ms": "ms",
    "prefill_time_std_dev_ms": "ms",
    "startup_duration_ms": "ms",
    "time_factor_under_load": "number",
    "max_num_seqs": "number",
    "max_model_len": "number",
    "max_waiting_queue_length": "number",
    "seed": "number",
    "failure_injection_rate": "number",
    "kv_cache_size": "number",
    "block_size": "number",
    "enable_kvcache": "boolean",
    "enable_request_id_headers": "boolean",
    "force_dummy_tokenizer": "boolean",
    "latency_calculator": "string",
    "mode": "string",
    "failure_types": "list",
}

DEFAULTS: Mapping[str, object] = {
    "time_to_first_token_ms": 100,
    "inter_token_latency_ms": 20,
    # The simulator's own defaults (5 sequences, 1024 tokens) would measure its queue.
    "max_num_seqs": 256,
    "max_model_len": 32768,
    "seed": 1,
    # Without it the simulator asks a model hub for the tokenizer at start.
    "force_dummy_tokenizer": True,
    # The client's x-request-id becomes the engine's request id: the join key of the logs.
    "enable_request_id_headers": True,
}


@dataclass(frozen=True)
class SimulatorSettings:
    """What one simulator process is started with."""

    model: str
    port: int = METRICS_PORT
    binary: str = BINARY
    start_timeout_s: float = 60.0
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def argv(self) -> list[str]:
        return [
            self.binary,
            f"--port={self.port}",
            f"--model={self.model}",
            *flags({**DEFAULTS, **self.options}),
        ]


def flags(options: Mapping[str, object]) -> list[str]:
    """Command line flags of `options`; a ValueError names key, value and what is allowed."""
    result = []
    for name, value in options.items():
        kind = OPTIONS.get(name)
        if kind is None:
            allowed = ", ".join(sorted(OPTIONS))
            raise ValueError(f"simulator.{name}: unknown option; allowed: {allowed}")
        result.append(_flag(name, kind, value))
    return result


def _flag(name: str, kind: str, value: object) -> str:
    flag = "--" + name.removesuffix("_ms").replace("_", "-")
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "ms" and is_number and value >= 0:
        return f"{flag}={round(value * 1000)}us"
    if kind == "number" and is_number and value >= 0:
        return f"{flag}={value}"
    if kind == "boolean" and isinstance(value, bool):
        return f"{flag}={str(value).lower()}"
    if kind == "string" and isinstance(value, str):
        return f"{flag}={value}"
    if kind == "list" and isinstance(value, (list, tuple)):
        return f"{flag}={','.join(map(str, value))}"
    expected = {
        "ms": "a number of milliseconds, 0 or more",
        "number": "a number, 0 or more",
        "boolean": "true or false",
        "string": "a text",
        "list": "a list of texts",
    }[kind]
    raise ValueError(f"simulator.{name}: must be {expected}, got {value!r}")


def binary_version(binary: str) -> str:
    """The module version that Go recorded in the executable: what runs, not what is meant to."""
    pattern = rb"(?:mod|dep)\tgithub\.com/llm-d/llm-d-inference-sim\t(v[^\t\n]+)"
    with open(binary, "rb") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            match = re.search(pattern, content)
            return match.group(1).decode() if match else "unknown"


def free_port() -> int:
    """A free port, for several replicas on one machine (port 0)."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


class Simulator:
    """One running simulator. It never outlives the replica, however that ends."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Returns once the process answers GET /health; raises when it ends or stays silent."""
        self._process = await asyncio.create_subprocess_exec(
            # The kernel ends the simulator with the replica, also when the replica is killed.
            "setpriv",
            "--pdeathsig",
            "KILL",
            *self.settings.argv,
            stdin=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(self.settings.start_timeout_s):
                while not await self._answers():
                    self.check()
                    await asyncio.sleep(0.05)
        except TimeoutError:
            await self.stop()
            raise RuntimeError(
                f"simulator gave no answer on port {self.settings.port} "
                f"within {self.settings.start_timeout_s:g} s"
            ) from None
        # Something else may have answered on the port that the simulator could not bind.
        self.check()

    def check(self) -> None:
        """Raises when the process has ended."""
        code = self._process.returncode if self._process else None
        if self._process is None or code is not None:
            raise RuntimeError(
                f"simulator on port {self.settings.port} has ended (exit code {code}); "
                "its own words are in the replica's worker log"
            )

    async def stop(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), 5)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self.settings.port
            )
        except OSError:
            return False
        try:
            writer.write(
                b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )
            return (await reader.readline()).startswith(b"HTTP/1.1 200")
        except OSError:
            return False
        finally:
            writer.close()
