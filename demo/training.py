"""Every demo model's recipe by its name, in the order in which they build on one another."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from ..temporal.control_net import ControlNet
from ..temporal.motion import MotionModel
from ..temporal.unet import SpaceTimeUNet
from . import files
from .fit import Run
from .recipes import train_decoder, train_image, train_vae
from .recipes_control import train_control, train_follow, train_guider
from .recipes_flow import train_completion
from .recipes_known import train_known
from .recipes_motion import Frozen, train_drift, train_long, train_motion
from .recipes_sparse import train_sparse
from .text import WordEncoder
from .vae import SmallVAE

Made = tuple[dict[str, Mapping[str, Tensor]], dict]  # files by name, and the record of the run


@dataclass(frozen=True)
class Recipe:
    """How many steps suit two CPU cores, and what makes the model."""

    steps: int
    make: Callable[[Run], Made]


def train(run: Run, folder: Path = files.FOLDER) -> list[Path]:
    """Make a model by its recipe, and save it with the record of the run; returns the model's files."""
    made, record = RECIPES[run.name].make(run)
    saved = [files.save(name, tensors, folder) for name, tensors in made.items()]
    (folder / f"{run.name}.json").write_text(json.dumps({"device": run.device, **record}) + "\n")
    return saved


def _shipped_vae(run: Run) -> SmallVAE:
    return files.load("vae", SmallVAE()).to(run.device)


def _frozen(run: Run) -> Frozen:
    unet = files.load("image", SpaceTimeUNet(files.UNET)).to(run.device)
    return Frozen(_shipped_vae(run), unet, files.load("text", WordEncoder()).to(run.device), run.device)


def _shipped_motion(run: Run) -> MotionModel:
    return files.load("motion", MotionModel(files.MOTION)).to(run.device)


def _vae(run: Run) -> Made:
    vae, record = train_vae(run)
    return {"vae": vae.state_dict()}, record


def _decoder(run: Run) -> Made:
    record = train_decoder(run, vae := _shipped_vae(run))
    return {"vae": vae.state_dict()}, record


def _image(run: Run) -> Made:
    unet, words, record = train_image(run, _shipped_vae(run))
    return {"image": unet.state_dict(), "text": words.state_dict()}, record


def _motion(run: Run) -> Made:
    motion, record = train_motion(run, _frozen(run))
    return {"motion": motion.state_dict()}, record


def _long(run: Run) -> Made:
    record = train_long(run, _frozen(run), motion := _shipped_motion(run))
    return {"motion": motion.state_dict()}, record


def _known(run: Run) -> Made:
    known, record = train_known(run, _frozen(run), _shipped_motion(run))
    return {"known": known.tensors()}, record


def _drift(run: Run) -> Made:
    lora, record = train_drift(run, _frozen(run), _shipped_motion(run))
    return {"drift": lora.tensors()}, record


def _control(run: Run) -> Made:
    net, record = train_control(run, run.name, _frozen(run))
    return {run.name: net.state_dict()}, record


def _follow(control: str, run: Run) -> Made:
    net = files.load(control, ControlNet(files.CONTROL)).to(run.device)
    record = train_follow(run, control, net, _frozen(run), _shipped_motion(run))
    return {control: net.state_dict()}, record


def _sparse(run: Run) -> Made:
    net, record = train_sparse(run, _frozen(run), _shipped_motion(run))
    return {files.SPARSELY: net.state_dict()}, record


def _completion(run: Run) -> Made:
    completion, record = train_completion(run)
    return {"completion": completion.state_dict()}, record


def _guider(run: Run) -> Made:
    guider, record = train_guider(run, _frozen(run))
    return {"guider": guider.state_dict()}, record


RECIPES = {
    "vae": Recipe(1500, _vae),
    "decoder": Recipe(1500, _decoder),
    "image": Recipe(2200, _image),
    "motion": Recipe(3400, _motion),
    "long": Recipe(1500, _long),
    "known": Recipe(2000, _known),
    "drift": Recipe(400, _drift),
    "canny": Recipe(1500, _control),
    "depth": Recipe(1500, _control),
    "pose": Recipe(1500, _control),
    "stroke": Recipe(3000, _control),
    "follow-stroke": Recipe(1000, partial(_follow, "stroke")),
    "follow-canny": Recipe(450, partial(_follow, "canny")),
    files.NEXT: Recipe(1500, _control),
    files.SPARSELY: Recipe(3000, _sparse),
    "completion": Recipe(9000, _completion),
    "guider": Recipe(3000, _guider),
}
