"""Head of every script for `run_in_host`: `ARGS` are its arguments, `setup()` first, `answer()` last."""

import json
import os
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ARGS = sys.argv[1:]
FOLDER = Path(os.environ["FRAMEWRIGHT_ANSWER"])


def setup(pack_root: Path = ROOT) -> types.ModuleType:
    """Sets the host's options to the CPU, and makes the pack importable as `framewright`.

    To be called before any other module of the host is imported. The pack's root never goes on sys.path:
    the host has a module named `nodes`.
    """
    sys.argv = [sys.argv[0], "--cpu", "--use-pytorch-cross-attention", "--base-directory", str(FOLDER)]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.cli_args  # noqa: F401  (reads sys.argv once, on import)

    package = types.ModuleType("framewright")
    package.__path__ = [str(pack_root)]
    sys.modules["framewright"] = package
    return package


def answer(result: dict | bytes) -> None:
    """Hands a JSON-able dict, or bytes such as `safetensors.torch.save(tensors)`, back to `run_in_host`."""
    if isinstance(result, bytes):
        (FOLDER / "answer.bin").write_bytes(result)
    else:
        (FOLDER / "answer.json").write_text(json.dumps(result), "utf-8")
