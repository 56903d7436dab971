"""Camera moves for motion modules."""

from comfy_api.v0_0_2 import io

from ..bridge.host import host
from ..bridge.motion import Motion as MotionModule
from ..bridge.motion import control_camera
from ..temporal.camera_path import MOVES, moved, read_poses
from ..temporal.camera_path import CameraPath as Path
from .schema import Camera, Motion, chosen, schema


class CameraPath(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightCameraPath",
            display_name="Camera Path",
            category="Framewright/motion",
            description="Where the camera is in each frame: an even move by name, or the poses of a "
            "RealEstate10K file.",
            search_aliases=["camera motion", "plucker", "camera poses", "trajectory", "zoom", "pan"],
            inputs=[
                io.Combo.Input("move", options=list(MOVES), default="zoom in",
                               tooltip="What the camera does; pan, tilt and roll turn it where it stands."),
                io.Int.Input("frames", default=16, min=1, max=4096, tooltip="Frames of the video."),
                io.Float.Input("speed", default=1.0, min=-10.0, max=10.0, step=0.05,
                               tooltip="1: a metre, 20 degrees, or 30 of roll, from first to last frame."),
                io.String.Input("poses", optional=True, default="", multiline=True,
                                tooltip="Lines of a RealEstate10K pose file, one a frame, in its place."),
            ],
            outputs=[Camera.Output(display_name="CAMERA", tooltip="For Camera Control.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, move: str, frames: int, speed: float, poses: str = "") -> io.NodeOutput:
        return io.NodeOutput(read_poses(poses) if poses.strip() else moved(move, frames, speed))


class CameraControl(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightCameraControl",
            display_name="Camera Control",
            category="Framewright/motion",
            description="Lets a motion module follow a camera path, by a camera control trained for it "
            "(CameraCtrl, He et al. 2024). The path passes its encoder once a render.",
            search_aliases=["cameractrl", "camera motion", "view control"],
            inputs=[
                Motion.Input("motion", tooltip="From Load Motion Module; CameraCtrl's is AnimateDiff v3."),
                Camera.Input("camera", tooltip="From Camera Path."),
                io.Combo.Input("name", options=list(host().motion_files()),
                               tooltip="The camera control's file, from the motion modules' folders."),
                io.Float.Input("strength", default=1.0, min=0.0, max=4.0, step=0.01,
                               tooltip="1 as trained, 0 nothing."),
            ],
            outputs=[Motion.Output(display_name="MOTION", tooltip="For Apply Motion Module.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, motion: MotionModule, camera: Path, name: str, strength: float) -> io.NodeOutput:
        file = chosen(host().motion_files(), name, "camera control")
        return io.NodeOutput(control_camera(motion, file, camera, strength))


NODES = [CameraPath, CameraControl]
