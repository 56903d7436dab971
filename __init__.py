"""Framewright: video diffusion wired out of its parts, for ComfyUI."""

from comfy_api.v0_0_2 import ComfyExtension, io

from .bridge.comfyui_routes import add_routes
from .embedded.ranges import ranged
from .nodes import (
    attention,
    camera,
    control,
    demo,
    flow,
    frames,
    image,
    layers,
    long_video,
    maps,
    motion,
    noise,
    poses,
    prompts,
    strokes,
    windows,
)

WEB_DIRECTORY = "./web"
NODES = [
    ranged(node)
    for node in (
        *demo.NODES,
        *prompts.NODES,
        *motion.NODES,
        *camera.NODES,
        *image.NODES,
        *maps.NODES,
        *control.NODES,
        *strokes.NODES,
        *poses.NODES,
        *flow.NODES,
        *layers.NODES,
        *attention.NODES,
        *windows.NODES,
        *noise.NODES,
        *long_video.NODES,
        *frames.NODES,
    )
]


class Framewright(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES


async def comfy_entrypoint() -> Framewright:
    add_routes()
    return Framewright()
