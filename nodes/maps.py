"""Maps of a video's frames: edges, depth, people."""

from comfy_api.v0_0_2 import io, ui
from torch import Tensor

from ..bridge.host import host
from ..bridge.maps import depth_maps, detected_poses, edge_maps, refined_depth
from ..controls.depth import COLOURS, RANGES
from ..controls.edges import KINDS
from ..controls.pose import SURE
from .schema import Poses, chosen, schema

_MAPS = "A map a frame, for a ControlNet."
_WHOLE = "the whole picture"


class Edges(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightEdges",
            display_name="Edges",
            category="Framewright/control",
            description="Soft edges, lines or scribbles of a video, white on black, without a network. An "
            "edge is drawn by its contrast alone, so that maps do not flicker. Hard edges are the Canny "
            "node's.",
            search_aliases=["softedge", "hed", "pidinet", "lineart", "scribble", "xdog", "sketch"],
            inputs=[
                io.Image.Input("image", tooltip="The video's frames."),
                io.Combo.Input("kind", options=list(KINDS), default="soft",
                               tooltip="soft: slopes as bright as the edge is strong; lineart: lines on its "
                               "darker side; scribble: broad ones, all or nothing."),
                io.Float.Input("scale", default=1.0, min=0.3, max=64.0, step=0.1,
                               tooltip="Pixels of detail below which nothing is drawn; lines grow with it."),
                io.Float.Input("threshold", default=0.1, min=0.0, max=0.99, step=0.01,
                               tooltip="Contrast below which nothing is drawn; 1 is black beside white."),
            ],
            outputs=[io.Image.Output(display_name="IMAGE", tooltip=_MAPS)],
        )  # fmt: skip

    @classmethod
    def execute(cls, image: Tensor, kind: str, scale: float, threshold: float) -> io.NodeOutput:
        maps = edge_maps(image, kind, scale, threshold)
        return io.NodeOutput(maps, ui=ui.PreviewImage(maps, cls=cls))


class Depth(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightDepth",
            display_name="Depth",
            category="Framewright/control",
            description="How near each pixel of a video is, by a depth model of your own: a folder in "
            "models/depth as transformers writes it (Depth Anything, DPT, ZoeDepth, …). One range for the "
            "whole clip: what does not move keeps its grey.",
            search_aliases=["depth anything", "midas", "dpt", "zoe", "depth estimation"],
            inputs=[
                io.Image.Input("image", tooltip="The video's frames."),
                io.Combo.Input("name", options=list(host().depth_models()),
                               tooltip="A folder in models/depth with config.json, preprocessor_config.json "
                               "and safetensors."),
            ],
            outputs=[io.Image.Output(display_name="IMAGE", tooltip="White is near. " + _MAPS)],
        )  # fmt: skip

    @classmethod
    def execute(cls, image: Tensor, name: str) -> io.NodeOutput:
        maps = depth_maps(image, chosen(host().depth_models(), name, "depth model"))
        return io.NodeOutput(maps, ui=ui.PreviewImage(maps, cls=cls))


class RefineDepth(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightRefineDepth",
            display_name="Refine Depth",
            category="Framewright/control",
            description="Puts depth maps of any node right: one range for the clip, near and far turned "
            "about, less detail for a looser structure (the blur levels of Gen-1, Esser et al. 2023), "
            "colours to look at.",
            search_aliases=["normalize depth", "invert depth", "blur depth", "colorize depth", "gen-1"],
            inputs=[
                io.Image.Input("image", tooltip="Depth maps."),
                io.Combo.Input("range", options=list(RANGES), default="clip",
                               tooltip="What is brought to 0 to 1: the clip as one, or each frame alone."),
                io.Boolean.Input("invert", default=False, tooltip="For maps that are white where it is far."),
                io.Int.Input("blur", default=0, min=0, max=12,
                             tooltip="How often the maps are halved and blurred; 0 keeps all detail."),
                io.Combo.Input("colours", options=list(COLOURS), default="grey",
                               tooltip="ControlNets read grey."),
            ],
            outputs=[io.Image.Output(display_name="IMAGE", tooltip=_MAPS)],
        )  # fmt: skip

    @classmethod
    def execute(cls, image: Tensor, range: str, invert: bool, blur: int, colours: str) -> io.NodeOutput:
        maps = refined_depth(image, range, invert, blur, colours)
        return io.NodeOutput(maps, ui=ui.PreviewImage(maps, cls=cls))


class DetectPoses(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightDetectPoses",
            display_name="Detect Poses",
            category="Framewright/control",
            description="Finds the people of a video by ONNX models of your own in models/onnx: DWPose or "
            "RTMPose, with YOLOX for where people are.",
            search_aliases=["dwpose", "openpose detector", "rtmpose", "pose estimation", "keypoints"],
            inputs=[
                io.Image.Input("image", tooltip="The video's frames."),
                io.Combo.Input("pose", options=list(host().onnx_files()),
                               tooltip="DWPose's or RTMPose's file; with 133 keypoints, hands and face too."),
                io.Combo.Input("people", options=[_WHOLE, *host().onnx_files()], default=_WHOLE,
                               tooltip="YOLOX's file; without it one person fills the picture."),
                io.Float.Input("confidence", default=SURE, min=0.01, max=1.0, step=0.01,
                               tooltip="From which a person or a joint counts as found."),
            ],
            outputs=[
                Poses.Output(display_name="POSE_KEYPOINT", tooltip="For Refine and Draw Poses, other packs."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, image: Tensor, pose: str, people: str, confidence: float) -> io.NodeOutput:
        files = host().onnx_files()
        finder = None if people == _WHOLE else chosen(files, people, "ONNX model", "people")
        joints = chosen(files, pose, "ONNX model", "pose")
        return io.NodeOutput(detected_poses(image, finder, joints, confidence))


NODES = [Edges, Depth, RefineDepth, DetectPoses]
