"""`python demo train all`: train the demo models; `python demo evaluate`: judge what they render."""

import argparse
import json
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.modules["framewright"] = package = types.ModuleType("framewright")
package.__path__ = [str(ROOT)]

import torch  # noqa: E402
from framewright.demo.evaluate import evaluate  # noqa: E402
from framewright.demo.evaluate_control import evaluate_controls  # noqa: E402
from framewright.demo.fit import Run  # noqa: E402
from framewright.demo.training import RECIPES, train  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    trains = commands.add_parser(
        "train", help="train a model from a seed; taken up again where it was stopped"
    )
    trains.add_argument("model", choices=["all", *RECIPES])
    trains.add_argument("--seed", type=int, default=1)
    trains.add_argument("--steps", type=int, help="other than the recipe's")
    trains.add_argument("--scale", type=int, default=1, help="times as many clips a step; for a GPU")
    trains.add_argument("--checkpoints", type=Path, default=ROOT / "build" / "training")
    judges = commands.add_parser("evaluate", help="judge what the models render from held-out prompts")
    judges.add_argument("--seed", type=int, default=1)
    judges.add_argument("--prompts", type=int, default=96, help="held-out ones; fewer take less time")
    controls = commands.add_parser("evaluate-controls", help="judge how videos keep to their controls")
    controls.add_argument("--seed", type=int, default=1)
    controls.add_argument("--clips", type=int, default=64, help="held-out ones, of each control")
    controls.add_argument("--few", type=int, default=16, help="of these, rendered at 0.25, 0.5 and 0.75 too")
    options = parser.parse_args()
    if options.command == "evaluate-controls":
        for record in evaluate_controls(options.seed, options.clips, (0.25, 0.5, 0.75), options.few):
            print(json.dumps(record), flush=True)
        return
    if options.command == "evaluate":
        for record in evaluate(options.seed, options.prompts):
            print(json.dumps(record), flush=True)
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for name in RECIPES if options.model == "all" else [options.model]:
        steps = options.steps or RECIPES[name].steps
        print(*train(Run(name, options.seed, steps, options.checkpoints, device, options.scale)), sep="\n")


main()
