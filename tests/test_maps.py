"""Maps of pictures: edges, depth, and what is put right about them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from framewright.bridge.maps import depth_maps, edge_maps, refined_depth
from framewright.controls.canny import canny
from framewright.controls.edges import KINDS, edges
from framewright.embedded.core import registry
from framewright.errors import FramewrightError

STEP, COLUMN = 0.4, 32  # a step of brightness, and the first column of its brighter side


@pytest.fixture(autouse=True, scope="module")
def built_in_host() -> None:
    registry()


@pytest.fixture(scope="module")
def steps() -> torch.Tensor:
    """Three frames [3, 48, 64, 3]: a step of 0.4, one of 0.05, none."""
    frames = torch.full((3, 48, 64, 3), 0.3)
    frames[0, :, COLUMN:] += STEP
    frames[1, :, COLUMN:] += 0.05
    return frames


@pytest.mark.parametrize("thresholds", [(0.1, 0.2), (0.4, 0.8)])
def test_canny_is_opencvs_where_they_mean_the_same(thresholds: tuple[float, float]) -> None:
    """OpenCV's rounds what is blurred and its gradients to integers: alike to a pixel, not the same."""
    rng = np.random.default_rng(0)
    picture = np.full((96, 96, 3), 60, np.uint8)
    for _ in range(6):
        corner = rng.integers(0, 80, 2)
        cv2.rectangle(picture, corner.tolist(), (corner + 30).tolist(), rng.integers(0, 255, 3).tolist(), -1)
    ours = next(canny(torch.from_numpy(picture[None] / np.float32(255)), *thresholds))[0].numpy() > 0
    blurred = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (5, 5), 1)
    low, high = (255 * one for one in thresholds)
    theirs = cv2.Canny(blurred, low, high, L2gradient=True) > 0
    assert theirs.sum() > 100 and _alike(ours, theirs) > 0.95


def _alike(a: np.ndarray, b: np.ndarray) -> float:
    """F-score at one pixel."""
    near = [cv2.dilate(one.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0 for one in (a, b)]
    right, met = (a & near[1]).sum() / max(1, a.sum()), (b & near[0]).sum() / max(1, b.sum())
    return 2 * right * met / max(1e-9, right + met)


@pytest.mark.parametrize("scale", [0.6, 1.0, 2.5])
def test_soft_edges_are_as_high_as_the_contrast_and_on_the_edge(steps: torch.Tensor, scale: float) -> None:
    maps = torch.cat(list(edges(steps, "soft", scale, 0.0)))
    row = maps[0, 24]
    assert abs(float(row.max()) - STEP) < 0.06
    assert int(row.argmax()) in (COLUMN - 1, COLUMN)
    assert float(maps[2].max()) < 1e-5
    wide = int((row > STEP / 2).sum())
    assert wide <= 2 * round(1.2 * scale) + 3  # a Gaussian of that sigma, and the width of the filter


def test_lines_lie_on_the_darker_side_and_faint_edges_are_not_drawn(steps: torch.Tensor) -> None:
    maps = edge_maps(steps, "lineart", 1.0, 0.1)
    assert maps.shape == steps.shape
    drawn = torch.nonzero(maps[0, 24, :, 0] > 0.5).flatten().tolist()
    assert drawn and max(drawn) < COLUMN and min(drawn) >= COLUMN - 4
    assert float(maps[1:].max()) == 0


def test_scribbles_are_all_or_nothing_and_broader_than_lines(steps: torch.Tensor) -> None:
    scribble, lines = (edge_maps(steps, kind, 1.0, 0.1)[0, 24, :, 0] for kind in ("scribble", "lineart"))
    assert set(scribble.unique().tolist()) == {0.0, 1.0}
    assert int(scribble.sum()) > int((lines > 0.1).sum())


@pytest.mark.parametrize("kind", KINDS)
def test_a_frames_edges_do_not_depend_on_the_others(kind: str) -> None:
    frames = torch.rand(20, 32, 40, 3, generator=torch.Generator().manual_seed(0))
    whole = torch.cat(list(edges(frames, kind, 1.0, 0.1)))
    alone = torch.cat(list(edges(frames[18:19], kind, 1.0, 0.1)))
    assert torch.equal(whole[18:19], alone)


@pytest.mark.parametrize(
    ("kind", "scale", "threshold", "message"),
    [
        ("hed", 1.0, 0.1, "kind: 'hed' came"),
        ("soft", 0.0, 0.1, "scale, threshold: 0.0"),
        ("soft", 1.0, 1.0, "threshold: 1.0 and 1.0|1.0 and 1.0 came"),
        ("soft", 64.0, 0.1, "blur of 64 pixels came for a picture of 64 by 48"),
    ],
)
def test_edges_of_odd_settings(steps: torch.Tensor, kind: str, scale: float, threshold: float, message: str):
    with pytest.raises(FramewrightError, match=message):
        list(edges(steps, kind, scale, threshold))


def test_depth_has_one_range_for_a_clip_or_one_for_each_frame() -> None:
    ramp = torch.linspace(0, 1, 32).expand(24, 32)
    frames = torch.stack([2 + ramp, 2 + 3 * ramp])[..., None].repeat(1, 1, 1, 3)
    clip, frame = (refined_depth(frames, over, False, 0, "grey") for over in ("clip", "frame"))
    assert torch.allclose(clip[0].amax(), torch.tensor(1 / 3), atol=1e-5) and clip[1].amax() == 1
    assert torch.allclose(frame[0], frame[1], atol=1e-5)
    assert torch.allclose(refined_depth(frames, "clip", True, 0, "grey"), 1 - clip, atol=1e-6)
    flat = refined_depth(torch.full((2, 8, 8, 3), 5.0), "clip", False, 0, "grey")
    assert torch.equal(flat, torch.zeros_like(flat))


def test_blur_levels_keep_the_mean_and_take_ever_more_detail() -> None:
    noise = torch.rand(2, 64, 96, 3, generator=torch.Generator().manual_seed(1)).mean(-1, keepdim=True)
    frames = noise.repeat(1, 1, 1, 3)
    levels = [refined_depth(frames, "as it is", False, level, "grey")[..., 0] for level in range(5)]
    spread = [float(one.std()) for one in levels]
    assert all(finer > 1.5 * looser for finer, looser in zip(spread, spread[1:], strict=False))
    assert all(abs(float(one.mean() - levels[0].mean())) < 0.02 for one in levels)
    assert levels[4].shape == (2, 64, 96)
    with pytest.raises(FramewrightError, match="blur: 7 came for maps of 96 by 64, expected 0 to 6"):
        refined_depth(frames, "as it is", False, 7, "grey")


@pytest.mark.parametrize("level", range(1, 6))
def test_blur_leaves_things_where_they_are(level: int) -> None:
    frames = torch.zeros(1, 129, 200, 3)
    frames[:, 40:80, 70:130] = 1
    seen = refined_depth(frames, "as it is", False, level, "grey")[0, ..., 0]
    for side, middle in ((seen.sum(1), 59.5), (seen.sum(0), 99.5)):
        places = torch.arange(len(side), dtype=torch.float32)
        assert float(side @ places / side.sum()) == pytest.approx(middle, abs=0.5)


def test_colours_are_opencvs() -> None:
    ramp = torch.arange(256).float().div(255).view(1, 1, 256, 1).repeat(1, 1, 1, 3)
    ours = refined_depth(ramp, "as it is", False, 0, "turbo")
    theirs = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_TURBO)[..., ::-1] / 255
    assert np.abs(ours[0].numpy() - theirs).max() < 1e-6


def test_depths_that_are_no_numbers() -> None:
    with pytest.raises(FramewrightError, match="not finite"):
        refined_depth(torch.full((1, 8, 8, 3), float("nan")), "clip", False, 0, "grey")


@pytest.fixture(scope="module")
def depth_anything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Depth Anything with random weights, as transformers writes it."""
    import transformers

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("depth") / "small"
    stages = ["stage1", "stage2", "stage3", "stage4"]
    backbone = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, image_size=28, patch_size=14,
        out_features=stages, reshape_hidden_states=False, apply_layernorm=True,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=32, neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=16, head_hidden_size=8, patch_size=14,
    )  # fmt: skip
    transformers.DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    transformers.DPTImageProcessor(
        size={"height": 56, "width": 56}, keep_aspect_ratio=True, ensure_multiple_of=14
    ).save_pretrained(folder)
    return folder


def test_depth_is_what_transformers_own_pipeline_says(depth_anything: Path) -> None:
    import transformers

    frames = torch.rand(3, 40, 60, 3, generator=torch.Generator().manual_seed(2)).mul(255).round() / 255
    ours = depth_maps(frames, depth_anything)
    assert ours.shape == frames.shape and ours.amin() == 0 and ours.amax() == 1
    prepare = transformers.AutoImageProcessor.from_pretrained(depth_anything)
    net = transformers.AutoModelForDepthEstimation.from_pretrained(depth_anything)
    pictures = [(frame.numpy() * 255).round().astype(np.uint8) for frame in frames]
    with torch.no_grad():
        out = net(**prepare(images=pictures, return_tensors="pt"))
    done = prepare.post_process_depth_estimation(out, target_sizes=[(40, 60)] * 3)
    theirs = torch.stack([one["predicted_depth"] for one in done])
    theirs = (theirs - theirs.min()) / (theirs.max() - theirs.min())
    assert float((ours[..., 0] - theirs).abs().max()) < 1e-4


def _depth_pro(folder: Path) -> None:
    import transformers

    eye = {
        "model_type": "dinov2", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "patch_size": 4, "image_size": 32, "mlp_ratio": 2,
    }  # fmt: skip
    config = transformers.DepthProConfig(
        fusion_hidden_size=16, patch_size=32, intermediate_hook_ids=[1, 0], intermediate_feature_dims=[8, 8],
        scaled_images_ratios=[0.5, 1.0], scaled_images_overlap_ratios=[0.0, 0.25],
        scaled_images_feature_dims=[8, 8], image_model_config=eye, patch_model_config=eye,
        fov_model_config=eye, use_fov_model=False, merge_padding_value=3,
    )  # fmt: skip
    transformers.DepthProForDepthEstimation(config).half().save_pretrained(folder)
    # Its own preparing asks for torchvision, which hosts have.
    transformers.DPTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)


def _zoe_depth(folder: Path) -> None:
    import transformers

    backbone = transformers.BeitConfig(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, image_size=32,
        patch_size=16, reshape_hidden_states=False, out_features=[f"stage{one}" for one in range(1, 5)],
    )  # fmt: skip
    config = transformers.ZoeDepthConfig(
        backbone_config=backbone, reassemble_factors=[4, 2, 1, 0.5], neck_hidden_sizes=[8] * 4,
        fusion_hidden_size=8, bottleneck_features=8, num_relative_features=4, bin_embedding_dim=4,
        num_attractors=[4, 2, 2, 1], bin_configurations=[{"n_bins": 8, "min_depth": 0.5, "max_depth": 8.0}],
    )  # fmt: skip
    net = transformers.ZoeDepthForDepthEstimation(config)
    for weight in net.parameters():  # some begin at zero
        torch.nn.init.normal_(weight, std=0.2)
    net.save_pretrained(folder)
    transformers.ZoeDepthImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)


def raw_depth(frames: torch.Tensor, folder: Path) -> torch.Tensor:
    """What a model says, before anything is done with it."""
    import transformers

    prepare = transformers.AutoImageProcessor.from_pretrained(folder)
    net = transformers.AutoModelForDepthEstimation.from_pretrained(folder).float()
    pictures = [(frame.numpy() * 255).round().astype(np.uint8) for frame in frames]
    with torch.no_grad():
        return net(**prepare(images=pictures, return_tensors="pt")).predicted_depth[:, None]


def test_depth_pro_says_nearness_in_half_precision_too(tmp_path: Path) -> None:
    frames = torch.rand(2, 40, 60, 3, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(0)
    _depth_pro(tmp_path)
    theirs = torch.nn.functional.interpolate(raw_depth(frames, tmp_path), (40, 60), mode="bicubic")[:, 0]
    assert theirs.std() > 0.01 * theirs.mean()
    theirs = (theirs - theirs.min()) / (theirs.max() - theirs.min())
    assert float((depth_maps(frames, tmp_path)[..., 0] - theirs).abs().max()) < 1e-4


def test_zoedepth_says_metres_and_its_padding_is_taken_off(tmp_path: Path) -> None:
    frames = torch.rand(2, 40, 60, 3, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(0)
    _zoe_depth(tmp_path)
    theirs = 1 / raw_depth(frames, tmp_path)
    theirs = torch.nn.functional.interpolate(theirs, (40 + 2 * 13, 60 + 2 * 16), mode="bicubic")
    theirs = theirs[:, 0, 13:-13, 16:-16]
    assert theirs.std() > 0.01 * theirs.mean()
    theirs = (theirs - theirs.min()) / (theirs.max() - theirs.min())
    assert float((depth_maps(frames, tmp_path)[..., 0] - theirs).abs().max()) < 1e-4


def test_a_folder_that_is_no_depth_model_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FramewrightError, match="name: .* cannot be read as a depth model"):
        depth_maps(torch.rand(1, 16, 16, 3), tmp_path)
