"""All nodes of the built-in host: the pack's own and the core's that shipped workflows use."""

from ..bridge.host import use
from . import comfy_api
from .host import EmbeddedHost
from .ranges import ranged
from .registry import Registry


def registry(host: EmbeddedHost | None = None) -> Registry:
    """Declares every node; from here on the nodes of this process run in the built-in host."""
    comfy_api.install()
    use(host or EmbeddedHost())
    from ..nodes import (
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
    from . import nodes_control, nodes_files, nodes_sampling, nodes_video

    controls = (maps, control, strokes, poses, flow)
    layered = (demo, prompts, motion, camera, image, *controls, layers, attention, windows, noise)
    ours = [ranged(node) for file in (*layered, long_video, frames) for node in file.NODES]
    core = (nodes_control, nodes_sampling, nodes_files, nodes_video)
    return Registry([*ours, *(node for file in core for node in file.NODES)])
