"""Command line and life of the simulator process, with a small script in its place."""

import asyncio
import os
import sys
import tempfile
import unittest
from pathlib import Path

SOURCES = Path(__file__).parents[3] / "workloads" / "serve-simulator"
sys.path.insert(0, str(SOURCES))

from simulator import (  # noqa: E402
    Simulator,
    SimulatorSettings,
    binary_version,
    flags,
    free_port,
)

ANSWERING = """
import http.server, sys
port = int(sys.argv[1].removeprefix("--port="))
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args):
        pass
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


class FlagsTest(unittest.TestCase):
    def test_every_default_is_on_the_command_line(self) -> None:
        settings = SimulatorSettings(
            model="falcon",
            options={"inter_token_latency_ms": 7.5, "failure_types": ["rate_limit"]},
        )
        self.assertEqual(
            settings.argv,
            [
                "/usr/local/bin/llm-d-inference-sim",
                "--port=8200",
                "--model=falcon",
                "--time-to-first-token=100000us",
                "--inter-token-latency=7500us",
                "--max-num-seqs=256",
                "--max-model-len=32768",
                "--seed=1",
                "--force-dummy-tokenizer=true",
                "--enable-request-id-headers=true",
                "--failure-types=rate_limit",
            ],
        )

    def test_unknown_option_names_the_allowed_ones(self) -> None:
        with self.assertRaisesRegex(
            ValueError, r"^simulator\.ttft: unknown option; allowed: block_size, "
        ):
            flags({"ttft": 1})

    def test_wrong_value_is_named(self) -> None:
        for options, text in [
            (
                {"time_to_first_token_ms": "100ms"},
                "simulator.time_to_first_token_ms: must be a number of milliseconds, "
                "0 or more, got '100ms'",
            ),
            ({"seed": -1}, "simulator.seed: must be a number, 0 or more, got -1"),
            (
                {"enable_kvcache": 1},
                "simulator.enable_kvcache: must be true or false, got 1",
            ),
            ({"mode": 3}, "simulator.mode: must be a text, got 3"),
        ]:
            with self.subTest(options), self.assertRaises(ValueError) as caught:
                flags(options)
            self.assertEqual(str(caught.exception), text)

    def test_version_is_read_from_the_executable(self) -> None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(
                b"\0dep\tgithub.com/llm-d/llm-d-inference-sim\tv0.10.2\th1:x=\n"
            )
            file.flush()
            self.assertEqual(binary_version(file.name), "v0.10.2")
        self.assertEqual(binary_version(sys.executable), "unknown")


class ProcessTest(unittest.IsolatedAsyncioTestCase):
    def settings(self, source: str, timeout_s: float = 20) -> SimulatorSettings:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        script = Path(folder.name) / "engine"
        script.write_text(f"#!{sys.executable}\n{source}")
        script.chmod(0o755)
        return SimulatorSettings("m", free_port(), str(script), timeout_s)

    async def test_start_waits_for_an_answer_and_stop_ends_the_process(self) -> None:
        simulator = Simulator(self.settings(ANSWERING))
        await simulator.start()
        simulator.check()
        await simulator.stop()
        with self.assertRaisesRegex(RuntimeError, "has ended"):
            simulator.check()

    async def test_death_is_noticed(self) -> None:
        simulator = Simulator(self.settings(ANSWERING))
        await simulator.start()
        os.kill(simulator._process.pid, 9)
        await simulator._process.wait()
        with self.assertRaisesRegex(RuntimeError, r"has ended \(exit code -9\)"):
            simulator.check()

    async def test_process_that_ends_at_once_fails_the_start(self) -> None:
        simulator = Simulator(self.settings("raise SystemExit(3)"))
        with self.assertRaisesRegex(RuntimeError, r"has ended \(exit code 3\)"):
            await simulator.start()

    async def test_silent_process_fails_the_start_in_time(self) -> None:
        simulator = Simulator(self.settings("import time; time.sleep(60)", 0.5))
        with self.assertRaisesRegex(RuntimeError, r"gave no answer .* within 0\.5 s"):
            await simulator.start()
        self.assertIsNotNone(simulator._process.returncode)


if __name__ == "__main__":
    unittest.main()
