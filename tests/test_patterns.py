"""The presets as integers: what each reads, what it costs, how it is drawn."""

import copy
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from framewright.errors import FramewrightError
from framewright.temporal.pattern_cost import cost
from framewright.temporal.pattern_picture import matrix, picture
from framewright.temporal.pattern_plan import plan
from framewright.temporal.patterns import PATTERNS, Pattern, key_frames

LENGTHS = range(1, 18)


def fitted(pattern: Pattern, frames: int) -> Pattern:
    return replace(pattern, images=min(pattern.images, frames // 2))


def test_names_and_words_are_for_readers():
    assert len(PATTERNS) == 16
    assert all(name == p.name for name, p in PATTERNS.items())
    for p in PATTERNS.values():
        assert p.description.endswith(".") and p.description.count(".") == 1
        assert any(year in p.paper for year in ("2022", "2023"))
    assert len({p.description for p in PATTERNS.values()}) == len(PATTERNS)
    assert {"sparse causal (as surveyed)", "sparse causal (as released)"} < PATTERNS.keys()


def test_patterns_are_values():
    p = PATTERNS["full"]
    assert hash(p) == hash(copy.deepcopy(p)) and pickle.loads(pickle.dumps(p)) == p
    with pytest.raises(FrozenInstanceError):
        p.interval = 3


def test_integers_need_no_torch():
    code = (
        "import sys, types; p = types.ModuleType('framewright'); p.__path__ = [sys.argv[1]]\n"
        "t = types.ModuleType('framewright.temporal'); t.__path__ = [sys.argv[1] + '/temporal']\n"
        "sys.modules.update({'framewright': p, 'framewright.temporal': t})\n"
        "import framewright.temporal.pattern_cost\n"
        "sys.exit('torch' in sys.modules)"
    )
    root = sys.modules["framewright"].__path__[0]
    assert subprocess.run([sys.executable, "-c", code, root]).returncode == 0


@pytest.mark.parametrize(
    ("name", "frames", "expected"),
    [
        ("spatial", 3, [(0,), (1,), (2,)]),
        ("full", 2, [(0, 1), (0, 1)]),
        ("causal (as surveyed)", 3, [(0,), (0, 1), (0, 1, 2)]),
        ("sparse causal (as surveyed)", 5, [(0,), (0, 1), (0, 1, 2), (0, 2, 3), (0, 3, 4)]),
        ("sparse causal (as released)", 5, [(0,), (0,), (0, 1), (0, 2), (0, 3)]),
        ("first frame", 3, [(0,)] * 3),
        (
            "key frames (ControlVideo)",
            10,
            [(0, 2)] * 2 + [(2, 4)] * 2 + [(4, 6)] * 2 + [(6, 8)] * 2 + [(8, 9)] * 2,
        ),
        ("key frames (ControlVideo as released)", 6, [(0, 1, 2, 3, 4, 5)] * 6),
    ],
)
def test_reads(name: str, frames: int, expected: list[tuple[int, ...]]):
    assert key_frames(PATTERNS[name], frames) == expected


def test_parameters():
    previous = PATTERNS["previous key frame (Rerender-A-Video)"]
    assert [key_frames(previous, 24)[i] for i in (0, 9, 10, 11, 20, 21)] == [(0,)] * 3 + [(0, 10)] * 2 + [
        (0, 20)
    ]
    # Where the batch holds key frames only, as in the release, the previous key frame is the previous frame.
    released = PATTERNS["sparse causal (as released)"]
    assert key_frames(replace(previous, interval=1), 12) == key_frames(released, 12)
    assert previous.sites == ("output",)
    keys = replace(PATTERNS["key frames (ControlVideo)"], interval=4)
    assert key_frames(keys, 7) == [(0, 4)] * 4 + [(4, 6)] * 3
    keys = replace(PATTERNS["key frames (ControlVideo as released)"], interval=4)
    assert key_frames(keys, 7) == [(0, 4, 6), (0, 3), (0, 3), (0, 3), (0, 4, 6), (4, 5), (0, 4, 6)]
    window = replace(PATTERNS["windowed temporal (VideoLDM)"], window=(1, 2))
    assert key_frames(window, 5) == [(0, 1, 2), (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4), (3, 4)]
    tail = replace(PATTERNS["joint image tail (VDM)"], images=2)
    assert key_frames(tail, 4) == [(0, 1), (0, 1), (2,), (3,)]


@pytest.mark.parametrize("name", PATTERNS)
def test_a_plan_computes_what_is_read_and_each_frame_once(name: str):
    for frames in (*LENGTHS, 40, 97):
        p = fitted(PATTERNS[name], frames)
        read = {}
        for call in plan(p, frames):
            low, high = call.band or (-frames, frames)
            for queries, keys in zip(call.queries, call.keys, strict=True):
                for a, i in enumerate(queries):
                    assert i not in read
                    read[i] = tuple(j for b, j in enumerate(keys) if low <= b - a <= high)
        assert [read[i] for i in range(frames)] == key_frames(p, frames)
        if p.windowed and name != "causal (as surveyed)":
            assert len(plan(p, frames)) <= 4


F, N = 16, 24
ENTRIES = {
    "spatial": F * N**2,
    "temporal": N * F**2,
    "full": F**2 * N**2,
    "causal (as surveyed)": N**2 * F * (F + 1) // 2,
    "causal temporal (MagicVideo)": N * F * (F + 1) // 2,
    "windowed causal (Make-Your-Video)": N * F * (F + 1) // 2,  # 16 frames fill the window for the first time
    "sparse causal (as surveyed)": 3 * F * N**2 - 3 * N**2,  # frame 0 reads one frame, frame 1 reads two
    "sparse causal (as released)": 2 * F * N**2 - 2 * N**2,  # frames 0 and 1 read one frame
    "previous key frame (Rerender-A-Video)": (F + 5) * N**2,  # frames 11 to 15 read two frames
    "first frame": F * N**2,
    "key frames (ControlVideo)": 2 * F * N**2,
    "key frames (ControlVideo as released)": (6 * 6 + 10 * 2) * N**2,  # keys 0, 3, …, 15 and ten others
    "known frames": (2 * F - 1) * N**2,
    "windowed temporal (VideoLDM)": (17 * F - 2 * 36) * N,  # each end lacks 8 + 7 + … + 1 frames
    "reference bank (AnimateAnyone)": 2 * F * N**2,
    "joint image tail (VDM)": (8 * 8 + 8) * N,
}


@pytest.mark.parametrize("name", PATTERNS)
def test_entries_follow_the_table(name: str):
    c = cost(PATTERNS[name], F, 4, 6, 64, 8, 2)
    assert c.entries == ENTRIES[name]
    assert c.attention_flops == 4 * c.computed * 64
    frames = F + (0.5 if name.startswith("reference") else 0)  # the reference needs two of four projections
    assert c.projection_flops == 8 * frames * N * 64**2
    assert c.line().startswith(f"{name}: ") and "\n" not in c.line()


def test_order_of_cost_and_long_windows():
    def of(name: str, frames: int):
        return cost(PATTERNS[name], frames, 32, 32, 320, 8, 2)

    entries = [
        of(name, 24).entries for name in ("full", "causal (as surveyed)", "sparse causal (as surveyed)")
    ]
    assert entries == sorted(entries, reverse=True) and of("temporal", 24).entries < entries[-1]
    # The surveyed causal pattern never holds more scores at once than its last frame does.
    assert of("causal (as surveyed)", 24).score_bytes == of("full", 24).score_bytes // 24
    assert of("windowed temporal (VideoLDM)", 1000).computed < 33 * 1000 * 1024
    assert of("windowed causal (Make-Your-Video)", 1000).computed < 31 * 1000 * 1024
    assert of("windowed causal (Make-Your-Video)", 1000).entries <= 16 * 1000 * 1024


def test_a_line_of_numbers():
    line = cost(PATTERNS["sparse causal (as released)"], 16, 64, 64, 320, 8, 2).line()
    assert line == (
        "sparse causal (as released): 503 M score entries a head; 644 GFLOP attention, "
        "53.7 GFLOP projections; 7.52 GB of scores if kept, 147 MB of keys and values copied"
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: key_frames(PATTERNS["full"], 0), ("frames", "0", "1")),
        (lambda: key_frames(PATTERNS["joint image tail (VDM)"], 5), ("5", "8")),
        (lambda: plan(PATTERNS["temporal"], -1), ("-1", "1")),
        (lambda: replace(PATTERNS["full"], interval=0), ("interval", "0", "1")),
        (lambda: replace(PATTERNS["temporal"], window=(-1, 2)), ("window", "-1")),
        (lambda: replace(PATTERNS["temporal"], scope="frame"), ("scope", "frame", "pixel")),
        (lambda: replace(PATTERNS["full"], renormalise=False), ("renormalise",)),
        (lambda: cost(PATTERNS["full"], 4, 0, 8, 8, 1, 4), ("0x8",)),
    ],
)
def test_errors_name_what_came(make, words: tuple[str, ...]):
    with pytest.raises(FramewrightError) as error:
        make()
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize("name", PATTERNS)
def test_matrix_and_picture(name: str):
    for frames in (1, 16, 100):
        p = fitted(PATTERNS[name], frames)
        rows = matrix(p, frames)
        values = {value for row in rows for value in row} - {0}
        assert values == {1 if p.scope == "all" else 2}
        assert [tuple(np.flatnonzero(row)) for row in rows] == key_frames(p, frames)
        image = picture(p, frames)
        assert image.dtype == np.float32 and image.ndim == 3 and image.shape[2] == 3
        assert 0 <= image.min() < 0.5 < image.max() <= 1
