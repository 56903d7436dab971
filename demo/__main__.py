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
from framewright.demo import files, recipes  # noqa: E402
from framewright.demo.evaluate import evaluate  # noqa: E402
from framewright.demo.evaluate_control import evaluate_controls  # noqa: E402
from framewright.demo.fit import Run  # noqa: E402
from framewright.demo.recipes_control import train_control, train_follow, train_guider  # noqa: E402
from framewright.demo.recipes_flow import train_completion  # noqa: E402
from framewright.demo.recipes_known import train_known  # noqa: E402
from framewright.demo.recipes_motion import Frozen, train_drift, train_long, train_motion  # noqa: E402
from framewright.demo.recipes_sparse import train_sparse  # noqa: E402
from framewright.demo.text import WordEncoder  # noqa: E402
from framewright.demo.vae import SmallVAE  # noqa: E402
from framewright.temporal.control_net import ControlNet  # noqa: E402
from framewright.temporal.motion import MotionModel  # noqa: E402
from framewright.temporal.unet import SpaceTimeUNet  # noqa: E402


def train(run: Run) -> None:
    name, device = run.name, run.device
    if name == "vae":
        vae, record = recipes.train_vae(run)
        made = {"vae": vae.state_dict()}
    elif name == "completion":
        completion, record = train_completion(run)
        made = {"completion": completion.state_dict()}
    else:
        vae = files.load("vae", SmallVAE()).to(device)
    if name == "decoder":
        record = recipes.train_decoder(run, vae)
        made = {"vae": vae.state_dict()}
    if name == "image":
        unet, words, record = recipes.train_image(run, vae)
        made = {"image": unet.state_dict(), "text": words.state_dict()}
    if name not in ("vae", "completion", "decoder", "image"):
        unet = files.load("image", SpaceTimeUNet(files.UNET)).to(device)
        frozen = Frozen(vae, unet, files.load("text", WordEncoder()).to(device), device)
    if name == "motion":
        motion, record = train_motion(run, frozen)
        made = {"motion": motion.state_dict()}
    elif name == "long":
        motion = files.load("motion", MotionModel(files.MOTION)).to(device)
        record = train_long(run, frozen, motion)
        made = {"motion": motion.state_dict()}
    elif name == "drift":
        motion = files.load("motion", MotionModel(files.MOTION)).to(device)
        lora, record = train_drift(run, frozen, motion)
        made = {"drift": lora.tensors()}
    elif name == "known":
        known, record = train_known(run, frozen, files.load("motion", MotionModel(files.MOTION)))
        made = {"known": known.tensors()}
    elif name in (files.NEXT, *files.CONTROLS):
        control, record = train_control(run, name, frozen)
        made = {name: control.state_dict()}
    elif name == "guider":
        guider, record = train_guider(run, frozen)
        made = {name: guider.state_dict()}
    elif name == files.SPARSELY:
        motion = files.load("motion", MotionModel(files.MOTION)).to(device)
        control, record = train_sparse(run, frozen, motion)
        made = {name: control.state_dict()}
    elif name.startswith("follow-"):
        control = name.removeprefix("follow-")
        net = files.load(control, ControlNet(files.CONTROL)).to(device)
        motion = files.load("motion", MotionModel(files.MOTION)).to(device)
        record = train_follow(run, control, net, frozen, motion)
        made = {control: net.state_dict()}
    for part, tensors in made.items():
        print(files.save(part, tensors))
    (files.FOLDER / f"{name}.json").write_text(json.dumps({"device": device, **record}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    trains = commands.add_parser(
        "train", help="train a model from a seed; taken up again where it was stopped"
    )
    trains.add_argument("model", choices=["all", *recipes.STEPS])
    trains.add_argument("--seed", type=int, default=1)
    trains.add_argument("--steps", type=int, help="other than the recipe's")
    trains.add_argument("--scale", type=int, default=1, help="times as many clips a step; for a GPU")
    trains.add_argument("--checkpoints", type=Path, default=ROOT / "build" / "training")
    judges = commands.add_parser("evaluate", help="judge what the models render from held-out prompts")
    judges.add_argument("--seed", type=int, default=1)
    judges.add_argument("--prompts", type=int, default=96)
    judges.add_argument("--long-prompts", type=int, default=16, help="of these, rendered with 64 frames too")
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
        for record in evaluate(options.seed, options.prompts, options.long_prompts):
            print(json.dumps(record), flush=True)
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for name in recipes.STEPS if options.model == "all" else [options.model]:
        steps = options.steps or recipes.STEPS[name]
        train(Run(name, options.seed, steps, options.checkpoints, device, options.scale))


main()
