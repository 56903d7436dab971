"""Camera paths as rays, and a camera control in a motion module: numbers, windows, files, errors."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from framewright.bridge.motion import Motion, control_camera
from framewright.errors import FramewrightError
from framewright.sampling.window_plan import Windows
from framewright.temporal.camera import CameraControl, CameraInput, load_camera
from framewright.temporal.camera_path import MOVES, CameraPath, moved, read_poses
from framewright.temporal.checkpoint import MotionFile
from framewright.temporal.motion import MotionModel, MotionParams
from framewright.temporal.motion_settings import AppliedMotion, MotionSettings
from framewright.temporal.parts import Parts
from framewright.temporal.slots import FRAMES, NUMBERS
from framewright.tests.foreign_keys import as_released
from safetensors.torch import save_file
from torch import nn

PARAMS = MotionParams(channels=(32, 64), res_blocks=1, positions=12)
SITE, KEY = ("input", 1), "down_blocks.0.motion_modules.0.temporal_transformer"
OPTIONS = {FRAMES: 4, "original_shape": [4, 4, 6, 6]}


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.1)
    return module.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def motion() -> MotionModel:
    return randomised(MotionModel(PARAMS))


@pytest.fixture(scope="module")
def control(motion: MotionModel) -> CameraControl:
    merges = {motion.key(site): width for site, width in motion.channels.items()}
    return randomised(CameraControl((32, 64), 2, 8, merges, Parts()), 1)


def applied(motion: MotionModel, control: CameraControl, path: CameraPath, strength: float = 1.0, **settings):
    camera = CameraInput(control, motion, path, strength)
    return AppliedMotion(motion, MotionSettings(**settings), (), camera)


def test_rays_of_a_camera_that_moves_and_turns() -> None:
    path = moved("move right", 3, 2.0)
    rays = path.rays(8, 16)
    assert rays.shape == (3, 6, 8, 16)
    torch.testing.assert_close(rays[:, 3:].norm(dim=1), torch.ones(3, 8, 16))
    middle = (rays[:, 3:, 3, 7] + rays[:, 3:, 4, 8]) / 2
    torch.testing.assert_close(middle[0], torch.tensor([0.0, 0.0, 1.0]), atol=1e-2, rtol=0)  # straight ahead
    # The moment is the place times the direction: at the last frame the camera is 2 m to the right.
    expected = torch.linalg.cross(torch.tensor([2.0, 0, 0]).expand(8, 16, 3), rays[2, 3:].movedim(0, -1))
    torch.testing.assert_close(rays[2, :3].movedim(0, -1), expected)
    turned = moved("pan right", 2, 1.0).rays(8, 16)[1, 3:, 4, 8]
    assert turned[0] > 0.3  # it looks to the right
    assert moved("tilt up", 2, 1.0).rays(8, 16)[1, 4, 4, 8] < -0.2  # y is down
    for move in MOVES:
        torch.testing.assert_close(moved(move, 5, 0.0).poses, torch.eye(4).repeat(5, 1, 1))


def test_a_move_is_of_a_lens_that_is_as_strong_both_ways() -> None:
    for height, width in ((8, 8), (8, 12), (12, 8)):
        seen = moved("static", 1, 1.0).rays(height, width)[0, 3:]
        seen = seen[:2] / seen[2]
        assert torch.allclose(seen[0].diff(dim=1), seen[1].diff(dim=0)[0, 0].expand(height, width - 1))
        assert float(seen[0].diff(dim=1)[0, 0]) == pytest.approx(1 / (0.7 * max(height, width)))


def test_a_pose_file_is_read_relative_to_its_first_camera() -> None:
    first = "0 0.5 0.9 0.5 0.5 0 0  1 0 0 0.3  0 1 0 0  0 0 1 0"
    second = "1 0.5 0.9 0.5 0.5 0 0  1 0 0 0.1  0 1 0 0  0 0 1 -1"
    path = read_poses(f"\ufeffhttps://clip\n{first}\n{second}\n")
    torch.testing.assert_close(path.poses[0], torch.eye(4))
    torch.testing.assert_close(path.poses[1, :3, 3], torch.tensor([0.2, 0.0, 1.0]))
    torch.testing.assert_close(path.lens[1], torch.tensor([0.5, 0.9, 0.5, 0.5]))
    assert len(read_poses(f"\ufeff{first}\n{second}").poses) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [("https://clip", "no line of numbers"), ("1 2 3", "line 1 holds 3 numbers, expected 19"),
     ("0 0.5 0.9 0.5 0.5 0 0 " + "0 " * 12, "without an inverse"),
     ("x " * 19, "line 1 holds 0 numbers, expected 19"), ("1,2,3", "line 1 holds 0 numbers"),
     ("0 0.5 0.9 0.5 0.5 0 0 1 0 0 1e39 0 1 0 0 0 0 1 0", "too large"),
     ("0 0.5 0.9 0.5 0.5 0 0 " + "nan " * 12, "expected 19")],
)  # fmt: skip
def test_other_text_is_one_error(text: str, message: str) -> None:
    with pytest.raises(FramewrightError, match=f"poses: .*{message}"):
        read_poses(text)


def test_features_join_the_first_attention_as_released(motion: MotionModel, control: CameraControl) -> None:
    """Against the same done by hand, a pixel at a time."""
    x, path = torch.randn(4, 32, 6, 6), moved("zoom in", 4, 1.0)
    given = applied(motion, control, path, 0.7)(SITE, x, OPTIONS)
    layer, merge = motion.at(SITE), control.merges[KEY.replace(".", "|")]
    features = control.encoder(path.rays(48, 48))[0]
    block, first = layer.transformer_blocks[0], layer.transformer_blocks[0].attention_blocks[0]
    tokens = layer.proj_in(layer.norm(x).flatten(2).transpose(1, 2))[None]  # [1, F, N, C]
    placed = first.pos_encoder(block.norms[0](tokens))
    joined = placed + 0.7 * merge(placed + features.flatten(2).transpose(1, 2))
    q, k, v = (
        (joined @ weight.T).unflatten(-1, (8, -1)).permute(0, 2, 3, 1, 4)
        for weight in first.to_qkv.weight.chunk(3)
    )
    read = F.scaled_dot_product_attention(q, k, v).permute(0, 3, 1, 2, 4).flatten(3)
    tokens = tokens + first.to_out(read)
    tokens = tokens + block.attention_blocks[1](block.norms[1](tokens))
    tokens = layer.proj_out(tokens + block.ff(block.ff_norm(tokens)))[0]
    torch.testing.assert_close(given, x + tokens.transpose(1, 2).unflatten(2, (6, 6)), atol=1e-5, rtol=1e-5)


def test_it_acts_by_strength_in_every_condition_window_and_view(
    motion: MotionModel, control: CameraControl
) -> None:
    x, path = torch.randn(4, 32, 6, 6), moved("pan left", 6, 1.0)
    plain = AppliedMotion(motion, MotionSettings())(SITE, x, OPTIONS)
    layers = applied(motion, control, path)
    once = layers(SITE, x, OPTIONS)
    assert (once - plain).abs().max() > 1e-3
    torch.testing.assert_close(applied(motion, control, path, 0.0)(SITE, x, OPTIONS), plain)
    both = layers(SITE, x.repeat(2, 1, 1, 1), OPTIONS)
    torch.testing.assert_close(both, once.repeat(2, 1, 1, 1))
    numbers = torch.tensor([0, 1, 2, 3, 2, 3, 4, 5])
    windows = layers(SITE, x.repeat(2, 1, 1, 1), {**OPTIONS, NUMBERS: numbers})
    torch.testing.assert_close(windows[:4], once)
    assert not torch.allclose(windows[4:], once, atol=1e-4)
    views = applied(motion, control, path, views=Windows(4, 2))(
        SITE, torch.randn(6, 32, 6, 6), {**OPTIONS, FRAMES: 6}
    )
    assert torch.isfinite(views).all()


def test_a_picture_that_another_node_makes_smaller_keeps_its_camera(
    motion: MotionModel, control: CameraControl
) -> None:
    for size in ((3, 3), (4, 2), (12, 12)):
        x = torch.randn(4, 32, *size)
        led = applied(motion, control, moved("zoom in", 4, 1.0))(SITE, x, OPTIONS)
        assert led.isfinite().all()
        assert not torch.allclose(led, AppliedMotion(motion, MotionSettings())(SITE, x, OPTIONS), atol=1e-4)


def test_the_path_is_encoded_once(motion: MotionModel, control: CameraControl, monkeypatch) -> None:
    calls, encode = [], control.encoder.forward
    monkeypatch.setattr(control.encoder, "forward", lambda rays: calls.append(1) or encode(rays))
    layers = applied(motion, control, moved("zoom out", 4, 1.0))
    for site, width in motion.channels.items():
        size = 6 if width == 32 else 3
        layers(site, torch.randn(4, width, size, size), OPTIONS)
    assert len(calls) == 1


def test_more_windows_in_a_call_than_are_kept_are_encoded_once_each(
    motion: MotionModel, control: CameraControl, monkeypatch
) -> None:
    calls, encode = [], control.encoder.forward
    monkeypatch.setattr(control.encoder, "forward", lambda rays: calls.append(1) or encode(rays))
    layers = applied(motion, control, moved("zoom out", 24, 1.0))
    numbers = torch.cat([torch.arange(first, first + 4) for first in range(0, 20, 2)])
    for _ in range(2):
        for site, width in motion.channels.items():
            size = 6 if width == 32 else 3
            layers(site, torch.randn(40, width, size, size), {**OPTIONS, NUMBERS: numbers})
    assert len(calls) == 10


def test_a_pose_files_lens_is_of_wide_pictures_cut_to_the_video() -> None:
    """As CameraCtrl takes them: what is seen of a 16:9 picture is its middle."""
    line = "0 0.474 0.843 0.5 0.5 0 0 1 0 0 0 0 1 0 0 0 0 1 0"
    slopes = {}
    for width, height in ((64, 64), (128, 72), (192, 64)):
        directions = read_poses(line).rays(height, width)[0, 3:]
        slopes[width] = [
            float((directions[0] / directions[2])[0, -1]) * width / (width - 1),
            float((directions[1] / directions[2])[-1, 0]) * height / (height - 1),
        ]
    across, down = 0.5 / 0.474, 0.5 / 0.843
    assert slopes[128] == pytest.approx([across, down], rel=1e-4)
    assert slopes[64] == pytest.approx([across * 9 / 16, down], rel=1e-4)
    assert slopes[192] == pytest.approx([across, down * 16 / 9 / 3], rel=1e-4)


def test_a_file_gives_the_same_control_or_one_error(
    motion: MotionModel, control: CameraControl, tmp_path: Path
) -> None:
    whole, file = as_released(control.state_dict()), tmp_path / "camera.safetensors"
    save_file(whole, file)
    loaded = load_camera(file, Parts())
    loaded.check(motion, "camera.safetensors")
    for key, value in control.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)
    with pytest.raises(FramewrightError, match="is for 64 channels at .* module has (96|no such layer)"):
        loaded.check(MotionModel(MotionParams(channels=(32, 96), res_blocks=1)), "camera.safetensors")
    for cut, message in (
        (r"block2", "lacks"),
        ("qkv_merge", "expected encoder_conv_in"),
        ("pe", "expected enc"),
    ):
        save_file({key: value for key, value in whole.items() if cut not in key}, file)
        with pytest.raises(FramewrightError, match=message):
            load_camera(file, Parts())


def test_too_few_cameras_or_positions_are_one_error(motion: MotionModel, control: CameraControl) -> None:
    x = torch.randn(9, 32, 6, 6)
    with pytest.raises(
        FramewrightError, match="camera: 9 frames came, .* positions for 8; add Context Windows"
    ):
        applied(motion, control, moved("static", 9, 1.0))(SITE, x, {**OPTIONS, FRAMES: 9})
    with pytest.raises(FramewrightError, match="camera: a path of 3 frames came, the video has at least 4"):
        applied(motion, control, moved("static", 3, 1.0))(SITE, x[:4], OPTIONS)


def test_a_second_camera_is_refused(motion: MotionModel) -> None:
    file = MotionFile(motion, "AnimateDiff type", "F32", 0)
    led = Motion(file, "demo + camera", (), camera=CameraInput.__new__(CameraInput))
    with pytest.raises(FramewrightError, match="motion: demo \\+ camera came, which has a camera"):
        control_camera(led, Path("other.safetensors"), moved("zoom in", 4, 1.0), 1.0)
