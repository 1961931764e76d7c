"""Runs `vllm bench serve` as it is in the wheel, without an engine and so without torch.

The benchmark's own files (vllm/benchmarks) are imported unchanged. The modules of the engine that they import, and that
no text request uses, are replaced by what is below.

    python vllm-serve.py OPTION...    the options of vllm bench serve
"""

import argparse
import importlib.util
import logging
import pathlib
import sys
import types

from transformers import AutoTokenizer

# Found, not imported: vllm's own __init__ needs torch.
root = pathlib.Path(importlib.util.find_spec("vllm").submodule_search_locations[0])


def package(name: str, folder: pathlib.Path) -> None:
    made = types.ModuleType(name)
    made.__path__ = [str(folder)]
    sys.modules[name] = made


def module(name: str, **content) -> None:
    made = types.ModuleType(name)
    made.__dict__.update(content)
    sys.modules[name] = made


class Unused:
    """A type of multimodal or LoRA requests: none is sent."""


package("vllm", root)
package("vllm.utils", root / "utils")
package("vllm.lora", root / "none")
package("vllm.multimodal", root / "none")
package("vllm.transformers_utils", root / "none")
module("vllm.inputs", MultiModalDataDict=dict)
module("vllm.logger", init_logger=logging.getLogger)
module("vllm.lora.request", LoRARequest=Unused)
module("vllm.lora.utils", get_adapter_absolute_path=None)
module("vllm.multimodal.audio", get_audio_duration=None)
module("vllm.multimodal.image", convert_image_mode=None)
module("vllm.multimodal.utils", encode_image_url=None, fetch_image=None)
module("vllm.tokenizers", TokenizerLike=object, get_tokenizer=lambda name, **_: AutoTokenizer.from_pretrained(name))
module("vllm.transformers_utils.repo_utils", hf_api=None)
module("vllm.utils.argparse_utils", FlexibleArgumentParser=argparse.ArgumentParser)
module("vllm.utils.mistral", is_mistral_tokenizer=lambda _: False)
module("vllm.utils.network_utils", join_host_port=lambda host, port: f"{host}:{port}")

from vllm.benchmarks.serve import add_cli_args, main  # noqa: E402

parser = argparse.ArgumentParser(prog="vllm bench serve")
add_cli_args(parser)
main(parser.parse_args())
