"""Reads results back without the help of the program that made them."""

import re

# ISO 11172-3 and 13818-3, Layer III: what four bits of a frame's header mean.
KBPS_MPEG1 = (None, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, None)
KBPS_MPEG2 = (None, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, None)
HZ_MPEG1 = (44100, 48000, 32000, None)

CUE_TIMES = re.compile(r"(\d+):(\d+):(\d+),(\d+) --> (\d+):(\d+):(\d+),(\d+)")


def mp3_duration_ms(data):
    """How long an mp3 lasts: its frames are counted one by one. The first one holds no sound
    but the LAME tag, which says how many samples the encoder has added at both ends."""
    position, frames, added = _id3_bytes(data), -1, 0
    while position + 4 <= len(data):
        length, samples_in_frame, hz = _mp3_frame(data, position)
        if frames < 0:
            added = _samples_added_by_lame(data[position:position + length])
        position += length
        frames += 1
    return (frames * samples_in_frame - added) * 1000 / hz


def _id3_bytes(data):
    """How long the tag with the title and so on is, which stands before the first frame."""
    if data[:3] != b"ID3":
        return 0
    size = 0
    for seven_bits in data[6:10]:
        size = size << 7 | seven_bits
    return 10 + size


def _mp3_frame(data, position):
    """The length in bytes, the samples and the sample rate of the frame at `position`."""
    first, second, third = data[position], data[position + 1], data[position + 2]
    if first != 0xFF or second & 0xE6 != 0xE2:
        raise ValueError(f"no mp3 frame at byte {position}")
    is_mpeg1 = second & 0x18 == 0x18
    kbps = (KBPS_MPEG1 if is_mpeg1 else KBPS_MPEG2)[third >> 4]
    divisor = {0x18: 1, 0x10: 2, 0x00: 4}[second & 0x18]
    hz = HZ_MPEG1[third >> 2 & 3] // divisor
    samples = 1152 if is_mpeg1 else 576
    padding = third >> 1 & 1
    return samples // 8 * kbps * 1000 // hz + padding, samples, hz


def _samples_added_by_lame(frame):
    """Twelve bits each for the start and the end, 21 bytes after the tag's name."""
    tag = frame.find(b"LAME")
    if tag < 0:
        raise ValueError("the first frame has no LAME tag")
    first, second, third = frame[tag + 21:tag + 24]
    return (first << 4 | second >> 4) + ((second & 15) << 8 | third)


def srt_cues(text):
    """The cues of an SRT file, each as (start in ms, end in ms, text)."""
    cues = []
    for block in text.strip().split("\n\n"):
        _number, times, *lines = block.splitlines()
        found = [int(group) for group in CUE_TIMES.fullmatch(times).groups()]
        cues.append((_milliseconds(*found[:4]), _milliseconds(*found[4:]), " ".join(lines)))
    return cues


def _milliseconds(hours, minutes, seconds, milliseconds):
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + milliseconds
