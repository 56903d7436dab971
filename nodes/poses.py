"""People: keypoints drawn or read, put right over time, and drawn as skeletons."""

from comfy_api.v0_0_2 import io, ui
from torch import Tensor

from ..bridge.drawing import pose_maps
from ..controls.pose import EXAMPLE, SURE, PoseFrame, read_keys, read_poses, without_unsure, write_poses
from ..controls.pose_motion import fill_gaps, first_with_people, give_to, join_keys, smoothed
from .schema import Poses, schema


def _confidence() -> io.Float.Input:
    return io.Float.Input(
        "confidence", default=SURE, min=0.0, max=1.0, step=0.01, optional=True,
        tooltip="Joints that a detector was less sure of count as not found.",
    )  # fmt: skip


def _found(poses: object, confidence: float) -> list[PoseFrame]:
    return without_unsure(read_poses(poses), confidence)


class PoseKeys(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightPoses",
            display_name="Poses",
            category="Framewright/control",
            description="Pose people by hand: drag joints at key frames, the frames between follow. Or paste "
            "the JSON of OpenPose. What is drawn is text in the workflow, so that a shared file carries it.",
            search_aliases=["openpose editor", "pose editor", "keypoints", "animate skeleton"],
            inputs=[
                io.String.Input("poses", multiline=True, default=EXAMPLE,
                                tooltip="OpenPose's JSON, a list with a dict for each key frame; frame: its "
                                "number. Without it they are the frames from the first one on."),
                io.Int.Input("frames", default=16, min=1, max=4096, tooltip="Frames of the video."),
                io.Image.Input("image", optional=True, tooltip="Its frames are shown under the drawing."),
            ],
            outputs=[Poses.Output(display_name="POSE_KEYPOINT", tooltip="For Draw Poses, and other packs.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, poses: str, frames: int, image: Tensor | None = None) -> io.NodeOutput:
        joined = join_keys(read_keys(poses, frames), frames)
        shown = None if image is None else ui.PreviewImage(image[:frames], cls=cls)
        return io.NodeOutput(write_poses(joined), ui=shown)


class RefinePoses(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightRefinePoses",
            display_name="Refine Poses",
            category="Framewright/control",
            description="Puts detected poses right over time: fills gaps, smooths jitter, and gives the "
            "motion to a body of other proportions at another place.",
            search_aliases=["smooth pose", "retarget", "proportion transfer", "pose align", "body scale"],
            inputs=[
                Poses.Input("poses", tooltip="POSE_KEYPOINT of any pack, a frame each."),
                io.Int.Input("fill", default=4, min=0, max=4096,
                             tooltip="Frames at most for which a missing joint is drawn in between."),
                io.Float.Input("smooth", default=1.0, min=0.0, max=64.0, step=0.1,
                               tooltip="Frames of the Gaussian by which joints are averaged; 0: not."),
                Poses.Input("body", optional=True,
                            tooltip="The motion goes to the first person of these, as long in each limb, on "
                            "their canvas."),
                _confidence(),
            ],
            outputs=[Poses.Output(display_name="POSE_KEYPOINT", tooltip="For Draw Poses, and other packs.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, poses: object, fill: int, smooth: float, body: object = None, confidence: float = SURE
    ) -> io.NodeOutput:
        refined = smoothed(fill_gaps(_found(poses, confidence), fill), smooth)
        if body is not None:
            refined = give_to(refined, first_with_people(_found(body, confidence)))
        return io.NodeOutput(write_poses(refined))


class DrawPoses(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightDrawPoses",
            display_name="Draw Poses",
            category="Framewright/control",
            description="Draws people as the coloured skeletons of OpenPose, with hands and faces, that pose "
            "ControlNets read.",
            search_aliases=["openpose", "skeleton", "render pose", "dwpose"],
            inputs=[
                Poses.Input("poses", tooltip="POSE_KEYPOINT of any pack, a frame each."),
                io.Int.Input("width", default=64, min=8, max=8192, tooltip="Pixels; the canvas is scaled."),
                io.Int.Input("height", default=64, min=8, max=8192, tooltip="Pixels; the canvas is scaled."),
                _confidence(),
            ],
            outputs=[io.Image.Output(display_name="IMAGE", tooltip="A map a frame, for a pose ControlNet.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, poses: object, width: int, height: int, confidence: float = SURE) -> io.NodeOutput:
        maps = pose_maps(_found(poses, confidence), width, height)
        return io.NodeOutput(maps, ui=ui.PreviewImage(maps, cls=cls))


NODES = [PoseKeys, RefinePoses, DrawPoses]
