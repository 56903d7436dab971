"""Small prompts of the demo model, for tests to run and to break."""

from typing import Any

Prompt = dict[str, dict[str, Any]]


def text_to_video(frames: int = 4, steps: int = 2, text: str = "a red circle moving right") -> Prompt:
    """Prompt → model → motion module → attention pattern → windows → sampler → decode → sheet and video."""
    nodes = {
        "model": ("FramewrightLoadDemoModel", {}),
        "prompt": ("FramewrightDemoPrompt", {"words": ["model", 1], "text": text}),
        "empty": ("FramewrightDemoPrompt", {"words": ["model", 1], "text": ""}),
        "motion": ("FramewrightLoadMotionModule", {"name": "demo"}),
        "moving": ("FramewrightApplyMotionModule", {"model": ["model", 0], "motion": ["motion", 0]}),
        "pattern": ("FramewrightAttentionPattern", {"pattern": "sparse causal (as surveyed)"}),
        "reading": ("FramewrightApplyAttentionPattern", {"model": ["moving", 0], "pattern": ["pattern", 0]}),
        "windows": ("FramewrightContextWindows", {
            "model": ["reading", 0], "length": 8, "overlap": 4, "schedule": "uniform", "fuse": "pyramid"}),
        "latent": ("FramewrightEmptyFrames", {
            "vae": ["model", 2], "width": 64, "height": 64, "frames": frames}),
        "sampler": ("KSampler", {
            "model": ["windows", 0], "seed": 5, "steps": steps, "cfg": 3.0, "sampler_name": "euler",
            "scheduler": "karras", "positive": ["prompt", 0], "negative": ["empty", 0],
            "latent_image": ["latent", 0], "denoise": 1.0}),
        "decode": ("VAEDecode", {"samples": ["sampler", 0], "vae": ["model", 2]}),
        "save": ("SaveImage", {"images": ["decode", 0], "filename_prefix": "frame"}),
        "video": ("CreateVideo", {"images": ["decode", 0], "fps": 8.0}),
        "file": ("SaveVideo", {
            "video": ["video", 0], "filename_prefix": "clip", "format": "mp4", "codec": "h264"}),
    }  # fmt: skip
    return {key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in nodes.items()}


def long_video(workers: int, backend: str = "processes") -> Prompt:
    """25 frames in a hierarchy of 4 segments."""
    nodes = {
        "model": ("FramewrightLoadDemoModel", {}),
        "prompt": ("FramewrightDemoPrompt", {"words": ["model", 1], "text": "a red circle moving right"}),
        "motion": ("FramewrightLoadMotionModule", {"name": "demo known frames"}),
        "moving": ("FramewrightApplyMotionModule", {"model": ["model", 0], "motion": ["motion", 0]}),
        "noise": ("RandomNoise", {"noise_seed": 3}),
        "guider": ("CFGGuider", {
            "model": ["moving", 0], "positive": ["prompt", 0], "negative": ["prompt", 0], "cfg": 1.0}),
        "sampler": ("KSamplerSelect", {"sampler_name": "euler"}),
        "sigmas": ("BasicScheduler", {
            "model": ["moving", 0], "scheduler": "karras", "steps": 2, "denoise": 1.0}),
        "frames": ("FramewrightEmptyFrames", {
            "vae": ["model", 2], "width": 64, "height": 64, "frames": 25}),
        "plan": ("FramewrightLongVideoPlan", {"kind": "hierarchy", "length": 9, "overlap": 0}),
        "long": ("FramewrightSampleLongVideo", {
            "noise": ["noise", 0], "guider": ["guider", 0], "sampler": ["sampler", 0],
            "sigmas": ["sigmas", 0], "latent_image": ["frames", 0], "plan": ["plan", 0], "name": "video",
            "workers": workers, "backend": backend}),
        "end": ("PreviewAny", {"source": ["long", 0]}),
    }  # fmt: skip
    return {key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in nodes.items()}
