"""Runs a workflow without the page.

python run.py WORKFLOW.json [--host embedded|comfyui] [--set "NODE.input=value"]

Exit codes: 0 done, 1 the workflow failed, 2 the command line is wrong, 130 interrupted.
"""

import argparse
import sys
import traceback
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.modules["framewright"] = package = types.ModuleType("framewright")
package.__path__ = [str(ROOT)]

from framewright.errors import FramewrightError  # noqa: E402


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run a workflow and fetch what it makes.")
    parser.add_argument("workflow", type=Path, help="JSON saved by the page, or exported for the API")
    parser.add_argument(
        "--host", choices=["embedded", "comfyui"], default="embedded",
        help="the built-in host (default), or a ComfyUI found on this machine, started with its models and "
        "this pack alone",
    )  # fmt: skip
    parser.add_argument(
        "--server", metavar="URL", help="a running ComfyUI to talk to; implies --host comfyui"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NODE.input=value", dest="assignments",
        help="change an input; NODE is a node's id, title or class; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=ROOT / "output", help="folder for results (default: output/)"
    )
    parser.add_argument(
        "--input", type=Path, default=ROOT / "input", help="folder of the files a workflow loads"
    )
    return parser.parse_args()


def main() -> int:
    options = arguments()
    given = (options.workflow, options.assignments, options.input, options.out)
    try:
        if options.out.exists() and not options.out.is_dir():
            raise FramewrightError(f"--out: {options.out} is a file, expected a folder")
        if options.server or options.host == "comfyui":
            from framewright.bridge.render import render

            used, made = render(*given, server=options.server)
        else:
            from framewright.embedded.render import render

            used, made = render(*given)
    except FramewrightError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except RuntimeError as error:  # a fault in a node, not in what came
        traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print(f"rendered by {used}")
    for path in made:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
