"""Every pattern against a masked softmax over all tokens of a clip, written from the published table."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from framewright.errors import FramewrightError
from framewright.temporal import pattern_attention
from framewright.temporal.parts import sdpa
from framewright.temporal.pattern_attention import attend
from framewright.temporal.pattern_cost import cost
from framewright.temporal.patterns import PATTERNS, Pattern
from torch import Tensor

# Query frame i reads key frame j; F frames, of which n at the end are images. Not the code's own path.
READS: dict[str, Callable[[int, int, int, int], bool]] = {
    "spatial": lambda i, j, F, n: i == j,
    "temporal": lambda i, j, F, n: True,
    "full": lambda i, j, F, n: True,
    "causal (as surveyed)": lambda i, j, F, n: j <= i,
    "causal temporal (MagicVideo)": lambda i, j, F, n: j <= i,
    "windowed causal (Make-Your-Video)": lambda i, j, F, n: max(0, i - 15) <= j <= i,
    "sparse causal (as surveyed)": lambda i, j, F, n: j == 0 or j == i - 1 or j == i,
    "sparse causal (as released)": lambda i, j, F, n: j == 0 or j == i - 1,
    "previous key frame (Rerender-A-Video)": lambda i, j, F, n: j == 0 or (j % 10 == 0 and 0 < i - j <= 10),
    "first frame": lambda i, j, F, n: j == 0,
    "key frames (ControlVideo)": lambda i, j, F, n: j in neighbours(i, F),
    "key frames (ControlVideo as released)": lambda i, j, F, n: (
        j in keys(F) if i in keys(F) else j in (neighbours(i, F)[0], neighbours(i, F)[1] - 1)
    ),
    "known frames": lambda i, j, F, n: j in (0, i),
    "windowed temporal (VideoLDM)": lambda i, j, F, n: abs(j - i) <= 8,
    "reference bank (AnimateAnyone)": lambda i, j, F, n: i == j,
    "joint image tail (VDM)": lambda i, j, F, n: i == j or (i < F - n and j < F - n),
}
PIXEL = {name for name in READS if any(word in name for word in ("temporal", "windowed", "tail"))}
CAUSAL = [
    name for name in READS if "causal" in name or "previous" in name or name in ("spatial", "first frame")
]


def keys(F: int) -> list[int]:
    step = max(1, math.floor(math.sqrt(F)) - 1)
    return sorted({*range(0, F, step), F - 1})


def neighbours(i: int, F: int) -> tuple[int, int]:
    at = keys(F)
    right = min((k for k in at if k > i), default=F - 1)
    return max((k for k in at if k < right), default=0), right


def brute(name: str, q: Tensor, k: Tensor, v: Tensor, heads: int, F: int, images: int, bank) -> Tensor:
    """All F·N tokens at once in float64, masked; a reference bank is appended to the keys."""
    N = q.shape[1]
    q, k, v = (t.double().reshape(-1, F * N, t.shape[-1]) for t in (q, k, v))
    frames = torch.tensor([[READS[name](i, j, F, images) for j in range(F)] for i in range(F)])
    pixels = torch.eye(N, dtype=torch.bool) if name in PIXEL else torch.ones(N, N, dtype=torch.bool)
    mask = torch.kron(frames.int(), pixels.int()).bool()
    same = torch.kron(torch.ones(F, F), pixels.float()).bool()
    if bank is not None:
        k, v = torch.cat([k, bank[0].double()], 1), torch.cat([v, bank[1].double()], 1)
        mask = torch.cat([mask, torch.ones(F * N, bank[0].shape[1], dtype=torch.bool)], 1)
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if name == "causal temporal (MagicVideo)":
        weights = scores.masked_fill(~same, -math.inf).softmax(-1) * mask
    else:
        weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
    return (weights @ v).transpose(1, 2).reshape(-1, N, q.shape[-1] * heads)


def tokens(name: str, F: int, N: int, C: int, clips: int, dtype: torch.dtype = torch.float32):
    generator = torch.Generator().manual_seed(F * 100 + N)
    q, k, v = (torch.randn(clips * F, N, C, generator=generator).to(dtype) for _ in range(3))
    bank = None
    if name.startswith("reference"):
        bank = tuple(torch.randn(clips, N + 2, C, generator=generator).to(dtype) for _ in range(2))
    return q, k, v, bank


def fitted(name: str, F: int) -> Pattern:
    return replace(PATTERNS[name], images=min(PATTERNS[name].images, F // 2))


def test_every_preset_has_its_row():
    assert READS.keys() == PATTERNS.keys()
    assert {name for name, p in PATTERNS.items() if p.scope == "pixel"} == PIXEL


@pytest.mark.parametrize("name", READS)
def test_equals_the_masked_softmax(name: str):
    for F in (*range(1, 18), 41):
        for N, heads, clips in ((5, 3, 2), (7, 1, 1)) if F <= 17 else ((3, 2, 2),):
            p = fitted(name, F)
            q, k, v, bank = tokens(name, F, N, heads * 4, clips)
            out = attend(p, q, k, v, heads, F, sdpa, bank)
            assert out.shape == q.shape
            assert (out - brute(name, q, k, v, heads, F, p.images, bank)).abs().max() <= 1e-5, (F, N)


@pytest.mark.parametrize("name", READS)
def test_keys_are_gathered_a_few_at_a_time(name: str, monkeypatch: pytest.MonkeyPatch):
    p = fitted(name, 41)
    q, k, v, bank = tokens(name, 41, 3, 8, 2)
    whole = Counter(q, k, v)
    all_at_once = attend(p, q, k, v, 2, 41, whole, bank)
    monkeypatch.setattr(pattern_attention, "CPU_KEYS", 2 * 3 * 4)  # four frames of two clips
    few = Counter(q, k, v)
    assert torch.allclose(attend(p, q, k, v, 2, 41, few, bank), all_at_once, atol=1e-6)
    assert few.entries == whole.entries and few.copied <= whole.copied
    if name.startswith(("sparse causal", "reference")):
        assert few.calls > whole.calls and few.copied < whole.copied / 5


@pytest.mark.parametrize("name", READS)
def test_bfloat16(name: str):
    q, k, v, bank = tokens(name, 17, 9, 16, 2, torch.bfloat16)
    p = fitted(name, 17)
    out = attend(p, q, k, v, 2, 17, sdpa, bank)
    assert out.dtype == torch.bfloat16
    truth = brute(name, q, k, v, 2, 17, p.images, bank)
    # A value keeps 8 bits, and so do the softmax weights before they meet the values.
    assert (out.double() - truth).abs().max() <= 2**-6 * truth.abs().max()


class Counter:
    """An attention function that counts score entries a head, calls, and the keys that were copied."""

    def __init__(self, *inputs: Tensor) -> None:
        self.entries, self.calls, self.copied, self.sequences = 0, 0, 0, 0
        self.storages = {t.untyped_storage().data_ptr() for t in inputs}

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
        self.calls += 1
        self.entries += q.shape[0] * q.shape[1] * k.shape[1]
        self.sequences = max(self.sequences, q.shape[0])
        here = sum(t.nbytes for t in (k, v) if t.untyped_storage().data_ptr() not in self.storages)
        self.copied = max(self.copied, here)
        return sdpa(q, k, v, heads, mask)


@pytest.mark.parametrize("name", [n for n in READS if "MagicVideo" not in n])
def test_counted_entries_and_copies_are_the_cost(name: str):
    for F in (1, 2, 3, 8, 16, 17, 33, 60):
        p = fitted(name, F)
        q, k, v, bank = tokens(name, F, 6, 8, 1)
        bank = bank and tuple(t[:, :6] for t in bank)
        counter = Counter(q, k, v)
        attend(p, q, k, v, 2, F, counter, bank)
        c = cost(p, F, 2, 3, 8, 2, 4)
        assert counter.entries == c.computed
        reads = sum(READS[name](i, j, F, p.images) for i in range(F) for j in range(F))
        expected = reads * (6 if name in PIXEL else 36) + (F * 36 if bank else 0)
        assert c.entries == expected
        if "windowed" not in name:
            assert c.computed == c.entries, "only windows may compute what they do not read"
        if name not in PIXEL:
            assert counter.copied == c.gathered_bytes
        assert counter.calls <= (F if name == "causal (as surveyed)" else 7 if "key frame" in name else 4)


def test_magicvideo_computes_the_square_and_renormalises_nothing():
    name = "causal temporal (MagicVideo)"
    q, k, _, _ = tokens(name, 6, 4, 8, 1)
    counter = Counter()
    kept = attend(PATTERNS[name], q, k, torch.ones_like(q), 2, 6, counter)
    assert counter.calls == 0 and cost(PATTERNS[name], 6, 2, 2, 8, 2, 4).computed == 6 * 6 * 4
    assert (kept[:5] < 1).all() and torch.allclose(kept[5], torch.ones_like(kept[5]))


def test_surveyed_and_released_differ_where_they_should():
    q, k, v, _ = tokens("", 6, 5, 8, 1)

    def run(name: str, **changes) -> Tensor:
        return attend(replace(PATTERNS[name], **changes), q, k, v, 2, 6, sdpa)

    surveyed, released = run("sparse causal (as surveyed)"), run("sparse causal (as released)")
    assert torch.allclose(surveyed[0], released[0], atol=1e-6)
    assert all((surveyed[i] - released[i]).abs().max() > 1e-2 for i in range(1, 6))
    # The release concatenates the first and the previous frame, frame 0 twice at i = 0 and i = 1.
    previous = [max(i - 1, 0) for i in range(6)]
    doubled = sdpa(q, *(torch.cat([t[[0] * 6], t[previous]], 1) for t in (k, v)), 2)
    assert torch.allclose(released, doubled, atol=1e-6)
    key_frames_only = run("previous key frame (Rerender-A-Video)", interval=1)
    assert torch.equal(key_frames_only, released)
    causal, magic = run("causal (as surveyed)"), run("causal temporal (MagicVideo)")
    assert (causal - magic).abs().max() > 1e-2
    assert torch.allclose(run("windowed causal (Make-Your-Video)", window=(0, 0)), v, atol=1e-6)
    pairs, keyed = (
        run("key frames (ControlVideo)", interval=4),
        run("key frames (ControlVideo as released)", interval=4),
    )
    assert (pairs - keyed).abs().max() > 1e-2


@pytest.mark.parametrize("name", CAUSAL)
def test_a_later_frame_never_reaches_an_earlier_one(name: str):
    F = 33
    q, k, v, _ = tokens(name, F, 4, 8, 1)
    for frame in (1, 7, 16, 32):
        before = attend(PATTERNS[name], q, k, v, 2, F, sdpa)
        q2, k2, v2 = (t.clone() for t in (q, k, v))
        for t in (q2, v2) if "MagicVideo" in name else (q2, k2, v2):
            t[frame] += 3
        after = attend(PATTERNS[name], q2, k2, v2, 2, F, sdpa)
        assert torch.equal(before[:frame], after[:frame])


def test_magicvideo_is_causal_in_values_only():
    """Keys of later frames take part in the softmax, so a weight of an earlier frame does feel them."""
    name = "causal temporal (MagicVideo)"
    q, k, v, _ = tokens(name, 6, 4, 8, 1)
    before = attend(PATTERNS[name], q, k, v, 2, 6, sdpa)
    k[5] += 3
    assert (attend(PATTERNS[name], q, k, v, 2, 6, sdpa)[:5] - before[:5]).abs().max() > 1e-3


@pytest.mark.parametrize("name", READS)
def test_conditions_in_a_batch_do_not_meet(name: str):
    F = 11
    p = fitted(name, F)
    q, k, v, bank = tokens(name, F, 3, 8, 3)
    whole = attend(p, q, k, v, 2, F, sdpa, bank)
    for clip in range(3):
        own = slice(clip * F, clip * F + F)
        alone = attend(
            p, q[own], k[own], v[own], 2, F, sdpa, bank and tuple(t[clip : clip + 1] for t in bank)
        )
        assert torch.allclose(whole[own], alone, atol=1e-6)


@pytest.mark.parametrize("name", READS)
def test_gradients_reach_what_is_read(name: str):
    p = fitted(name, 5)
    q, k, v, bank = tokens(name, 5, 3, 8, 1)
    for t in (q, k, v):
        t.requires_grad_()
    attend(p, q, k, v, 2, 5, sdpa, bank)[2].sum().backward()
    touched = [j for j in range(5) if v.grad[j].abs().max() > 0]
    assert touched == [j for j in range(5) if READS[name](2, j, 5, p.images)]


@pytest.mark.parametrize("name", ["temporal", "windowed temporal (VideoLDM)", "causal temporal (MagicVideo)"])
def test_more_sequences_than_a_kernel_takes(name: str, monkeypatch: pytest.MonkeyPatch):
    assert pattern_attention.SEQUENCES == 65_535
    q, k, v, _ = tokens(name, 20, 13, 8, 2)
    whole = attend(PATTERNS[name], q, k, v, 2, 20, sdpa)
    monkeypatch.setattr(pattern_attention, "SEQUENCES", 7)
    monkeypatch.setattr(pattern_attention, "SCORES", 2 * 20 * 20 * 7)
    counter = Counter()
    assert torch.allclose(attend(PATTERNS[name], q, k, v, 2, 20, counter), whole, atol=1e-6)
    assert counter.sequences <= 7


def test_errors_name_both_numbers():
    q = torch.zeros(10, 2, 4)
    for p, frames, bank, words in (
        (PATTERNS["full"], 4, None, ("10", "4 frames")),
        (PATTERNS["full"], 0, None, ("10", "0 frames")),
        (PATTERNS["joint image tail (VDM)"], 5, None, ("5", "8")),
        (PATTERNS["reference bank (AnimateAnyone)"], 5, None, ("reference", "none came")),
        (PATTERNS["full"], 5, (q, q), ("reference", "one came")),
        (PATTERNS["reference bank (AnimateAnyone)"], 5, (q[:1], q[:1]), ("of 1", "2 clips")),
    ):
        with pytest.raises(FramewrightError) as error:
            attend(p, q, q, q, 1, frames, sdpa, bank)
        assert all(word in str(error.value) for word in words)
