"""Images come with the times at which they were taken, wherever they are from."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from radar_pose_ros.vision import video
from radar_pose_ros.vision.video import (
    Camera,
    GivenFrames,
    ImageFolder,
    VideoFile,
    open_video,
    read_times,
)

SIZE = (64, 48)
MP4_TICKS_HZ = 15360  # in which OpenCV's mp4 of 30 Hz counts
STEP = 6  # of the brightness, from frame to frame
DARKER = 1.5  # codecs take away up to 3, or nothing


def still(number):
    assert STEP * number < 256
    return np.full((SIZE[1], SIZE[0], 3), STEP * number, np.uint8)


def write(path, code="MJPG", rate_hz=30.0, count=40):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), rate_hz, SIZE)
    assert writer.isOpened()
    for number in range(count):
        writer.write(still(number))
    writer.release()
    return path


def find_box(content, *names):
    """Return where a box of an mp4 begins and ends, and all boxes around it."""
    start, end, around = 0, len(content), []
    for name in names:
        while True:
            size, found = struct.unpack(">I4s", content[start : start + 8])
            if found == name:
                break
            start += size
            assert start < end
        end = start + size
        around.append(start)
        start += 8
    return around[-1], end, around[:-1]


def with_durations(content, ticks):
    """Return an mp4 whose frames last so many ticks each."""
    start, end, around = find_box(content, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts")
    body = struct.pack(">II", 0, len(ticks)) + b"".join(struct.pack(">II", 1, t) for t in ticks)
    made = content[:start] + struct.pack(">I4s", 8 + len(body), b"stts") + body + content[end:]
    for place in around:
        size = struct.unpack(">I", made[place : place + 4])[0] + len(made) - len(content)
        made = made[:place] + struct.pack(">I", size) + made[place + 4 :]
    return made


def turned(content):
    """Return an mp4 to be shown turned by a quarter."""
    start, _, _ = find_box(content, b"moov", b"trak", b"tkhd")
    one = 1 << 16
    matrix = struct.pack(">9i", 0, one, 0, -one, 0, 0, SIZE[1] * one, 0, 1 << 30)
    return content[: start + 48] + matrix + content[start + 84 :]


def read(source):
    """Return the times, and which still each image is."""
    found = list(source.frames())
    assert all(image.dtype == np.uint8 for _, image in found)
    return np.array([time_s for time_s, _ in found]), [
        round((float(image.mean()) + DARKER) / STEP) for _, image in found
    ]


# --- video files ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code", "rate_hz", "rounded_s"),
    [
        ("a.mp4", "mp4v", 30.0, 1e-6),
        ("a.avi", "MJPG", 30.0, 1e-6),
        ("a.avi", "mp4v", 29.97, 1e-6),
        ("a.mkv", "MJPG", 30.0, 0.501e-3),  # counts milliseconds
    ],
)
def test_frames_have_the_containers_times(tmp_path, name, code, rate_hz, rounded_s):
    file = open_video(write(tmp_path / name, code, rate_hz))
    times_s, numbers = read(file)
    np.testing.assert_allclose(times_s, np.arange(40) / rate_hz, atol=rounded_s)
    assert numbers == list(range(40))
    assert (file.stamps, file.notes) == ("container", [])
    assert file.rate_hz == pytest.approx(rate_hz, rel=1e-3)
    again_s, _ = read(file)
    np.testing.assert_array_equal(again_s, times_s)


def test_uneven_frames_keep_their_own_times(tmp_path, rng):
    """As phones write them: each frame has a duration of its own."""
    ticks = rng.integers(300, 640, 39)
    rest = 40 * 512 - int(ticks.sum())  # the file is as long as it was
    assert rest > 0
    path = tmp_path / "uneven.mp4"
    even = write(tmp_path / "even.mp4", "mp4v").read_bytes()
    path.write_bytes(with_durations(even, [*ticks.tolist(), rest]))
    file = VideoFile(path)
    times_s, numbers = read(file)
    np.testing.assert_allclose(times_s[1:], np.cumsum(ticks) / MP4_TICKS_HZ, atol=1e-6)
    assert numbers == list(range(40))
    assert (file.stamps, file.notes) == ("container", [])


def test_a_file_may_say_how_it_is_turned(tmp_path):
    path = tmp_path / "turned.mp4"
    path.write_bytes(turned(write(tmp_path / "a.mp4", "mp4v").read_bytes()))
    _, image = next(VideoFile(path).frames())
    assert image.shape == (SIZE[0], SIZE[1], 3)


def test_a_given_rate_or_times_come_before_the_containers(tmp_path):
    path = write(tmp_path / "a.avi")
    file = open_video(path, rate_hz=15.0)
    np.testing.assert_allclose(read(file)[0], np.arange(40) / 15)
    assert (file.stamps, file.rate_hz) == ("frame rate", 15.0)

    stamps_s = 100 + np.arange(40) ** 1.5 / 60
    (tmp_path / "times.csv").write_text("time_s\n" + "\n".join(f"{t:.9f},x" for t in stamps_s))
    file = open_video(path, times=tmp_path / "times.csv")
    np.testing.assert_allclose(read(file)[0], stamps_s - 100, atol=1e-8)
    assert (file.stamps, file.notes) == ("times file", [])
    assert file.rate_hz == pytest.approx(39 / (39**1.5 / 60))


@pytest.mark.parametrize(
    ("count", "frames", "notes"),
    [
        (50, 40, ["50 times, but 40 frames"]),
        (30, 30, ["30 times, but 40 frames", "10 of 40 frames have no time"]),
    ],
)
def test_too_many_or_too_few_times_are_told(tmp_path, count, frames, notes):
    file = VideoFile(write(tmp_path / "a.avi"), times_s=np.arange(count) / 25)
    times_s, numbers = read(file)
    np.testing.assert_allclose(times_s, np.arange(frames) / 25)
    assert numbers == list(range(frames))
    assert len(file.notes) == len(notes)
    assert all(want in said for want, said in zip(notes, file.notes, strict=True))


@pytest.mark.parametrize(("name", "code"), [("a.avi", "MJPG"), ("a.mkv", "MJPG")])
def test_a_file_that_breaks_off_gives_what_comes_before(tmp_path, name, code):
    content = write(tmp_path / name, code).read_bytes()
    path = tmp_path / f"cut_{name}"
    path.write_bytes(content[: int(0.6 * len(content))])
    file = VideoFile(path)
    times_s, numbers = read(file)
    assert 5 <= len(numbers) < 35
    assert numbers == list(range(len(numbers)))
    np.testing.assert_allclose(times_s, np.arange(len(numbers)) / 30, atol=0.501e-3)
    read(file)  # and again, which tells it once
    [note] = file.notes
    assert note.startswith(f"{path}: it breaks off: {len(numbers)} of 40 frames can be read")


def test_leaving_early_tells_nothing_wrong(tmp_path):
    file = VideoFile(write(tmp_path / "a.avi"))
    frames = file.frames()
    next(frames)
    frames.close()
    assert file.notes == []


@pytest.mark.parametrize("content", [b"", bytes(range(256)) * 40, b"no video\n"])
def test_what_is_no_video_is_refused(tmp_path, content):
    path = tmp_path / "a.avi"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.avi: it cannot be read as a video"):
        open_video(path)


def test_an_mp4_without_its_end_is_refused(tmp_path):
    """Its list of frames comes last."""
    content = write(tmp_path / "a.mp4", "mp4v").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="cannot be read as a video"):
        open_video(tmp_path / "cut.mp4")


def test_times_in_milliseconds_are_refused(tmp_path):
    path, times = write(tmp_path / "a.avi"), tmp_path / "times.csv"
    times.write_text("\n".join(f"{1000 * k / 30:.1f}" for k in range(40)))
    with pytest.raises(ValueError, match=r"times\.csv: .* 33\.3 s apart .* given in seconds\?"):
        open_video(path, times=times)
    times.write_text("7.0")
    assert read(open_video(path, times=times))[1] == [0]
    times.write_text("\n".join(map(str, [0.0, 0.1, 0.2, 900.0])))  # a pause is none
    np.testing.assert_allclose(read(open_video(path, times=times))[0], [0.0, 0.1, 0.2, 900.0])


def test_images_of_another_size_are_left_out_and_told(tmp_path):
    for number in range(6):
        image = still(number)
        cv2.imwrite(str(tmp_path / f"{number}.png"), image[:24] if number in (3, 4) else image)
    folder = ImageFolder(tmp_path, rate_hz=10.0)
    times_s, numbers = read(folder)
    assert numbers == [0, 1, 2, 5]
    np.testing.assert_allclose(times_s, [0.0, 0.1, 0.2, 0.5])
    assert folder.notes == [
        f"{tmp_path}: 2 of 6 images are not of the first one's size, 64 x 48 pixels, 3.png "
        "(64 x 24) first: left out"
    ]


def test_wrong_options_are_named(tmp_path):
    path = write(tmp_path / "a.avi")
    with pytest.raises(FileNotFoundError, match=r"b\.avi: there is no such file"):
        open_video(tmp_path / "b.avi")
    with pytest.raises(ValueError, match="which one is true"):
        open_video(path, rate_hz=30.0, times=path)
    with pytest.raises(ValueError, match=r"a\.avi: want up to 1000 frames .* got -3"):
        open_video(path, rate_hz=-3.0)
    with pytest.raises(ValueError, match="times of their arrival"):
        open_video("0", rate_hz=30.0)
    with pytest.raises(ValueError, match=r"have to increase.*number 3 first: 1 s, then 0\.5 s"):
        VideoFile(path, times_s=[0.0, 1.0, 0.5, 2.0])


class Fake:
    """A capture of OpenCV's whose file or camera says what a test wants."""

    def __init__(self, stamps_ms=(), rate_hz=0.0, count=0.0, opened=True, damaged=()):
        self.damaged = damaged  # frames that cannot be decoded
        self.stamps_ms, self.opened, self.place, self.released = stamps_ms, opened, 0, False
        self.values = {cv2.CAP_PROP_FPS: rate_hz, cv2.CAP_PROP_FRAME_COUNT: count}

    def __call__(self, source):
        self.place, self.released = 0, False
        return self

    def isOpened(self):  # noqa: N802
        return self.opened

    def grab(self):
        self.place += 1
        return self.place <= len(self.stamps_ms)

    def retrieve(self):
        if self.place - 1 in self.damaged:
            return False, None
        return True, still(self.place - 1)

    def get(self, what):
        if what == cv2.CAP_PROP_POS_MSEC:
            return self.stamps_ms[self.place - 1]
        return self.values[what]

    def release(self):
        self.released = True


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """Put a capture in the place of OpenCV's; return a path that is there."""

    def put(**options):
        monkeypatch.setattr(video.cv2, "VideoCapture", Fake(**options))
        path = tmp_path / "fake.avi"
        path.touch()
        return path

    return put


@pytest.mark.parametrize("stamps_ms", [[0.0] * 20, [float("nan")] * 20, [0.0, 40.0, 20.0] * 7])
def test_without_usable_times_frames_are_taken_for_even(fake, stamps_ms):
    path = fake(stamps_ms=stamps_ms, rate_hz=20.0, count=-1.9e14)
    file = VideoFile(path)
    np.testing.assert_allclose(read(file)[0], np.arange(len(stamps_ms)) / 20)
    assert file.stamps == "frame rate"
    assert file.notes == [
        f"{path}: it does not say when each frame was taken; taken for even, 20 per second"
    ]


@pytest.mark.parametrize("rate_hz", [0.0, float("nan"), 90_000.0])
def test_without_times_and_rate_a_rate_is_asked_for(fake, rate_hz):
    path = fake(stamps_ms=[0.0] * 20, rate_hz=rate_hz)
    with pytest.raises(ValueError, match="give their rate, or a file with the time of each"):
        VideoFile(path)
    assert VideoFile(path, rate_hz=10.0).stamps == "frame rate"


def test_frames_without_a_later_time_are_left_out(fake):
    stamps_ms = np.arange(40.0, 40 + 40 * 40, 40)
    stamps_ms[33] = stamps_ms[32]
    stamps_ms[36] = 0
    file = VideoFile(fake(stamps_ms=stamps_ms.tolist(), rate_hz=25.0, count=40.0))
    kept = np.delete(np.arange(40), [33, 36])
    times_s, numbers = read(file)
    np.testing.assert_allclose(times_s, kept / 25, atol=1e-12)
    assert numbers == kept.tolist()
    assert file.notes == [
        f"{file.source}: 2 of 40 frames have no time after the frame before: left out"
    ]


def test_frames_that_cannot_be_decoded_are_told(fake):
    stamps_ms = np.arange(20) * 40.0
    file = VideoFile(fake(stamps_ms=stamps_ms.tolist(), rate_hz=25.0, count=20.0, damaged=(4, 11)))
    kept = np.delete(np.arange(20), [4, 11])
    for _ in range(2):
        times_s, numbers = read(file)
        np.testing.assert_allclose(times_s, kept / 25, atol=1e-12)
        assert numbers == kept.tolist()
        assert file.notes == [f"{file.source}: 2 of 20 frames cannot be decoded: left out"]


# --- folders -------------------------------------------------------------------------------------


def write_images(folder, names):
    folder.mkdir()
    for number, name in enumerate(names):
        assert cv2.imwrite(str(folder / name), still(number))
    return folder


def test_names_say_when_images_were_taken(tmp_path):
    stamps_ns = [1392643993642815000, 1392643993676160000, 1392643993742825000]
    folder = write_images(tmp_path / "images", [f"Image{stamp}.png" for stamp in stamps_ns])
    (folder / "Thumbs.db").write_bytes(b"x")
    source = open_video(folder)
    times_s, numbers = read(source)
    np.testing.assert_allclose(times_s, [0, 0.033345, 0.100010], atol=1e-12)
    assert (numbers, source.stamps, source.notes) == ([0, 1, 2], "names", [])
    assert source.rate_hz == pytest.approx(2 / 0.10001)


@pytest.mark.parametrize(("per_s", "atol"), [(10**3, 0.51e-3), (10**6, 1e-6)])
def test_names_may_count_milliseconds_or_microseconds(tmp_path, per_s, atol):
    names = [f"{round((1700000000.25 + number / 30) * per_s)}.png" for number in range(4)]
    times_s, _ = read(open_video(write_images(tmp_path / "images", names)))
    np.testing.assert_allclose(times_s, np.arange(4) / 30, atol=2 * atol)


def test_a_rate_takes_images_in_the_order_of_their_numbers(tmp_path):
    folder = write_images(tmp_path / "images", [f"frame{number}.png" for number in range(12)])
    source = open_video(folder, rate_hz=25.0)
    times_s, numbers = read(source)
    assert numbers == list(range(12))
    np.testing.assert_allclose(times_s, np.arange(12) / 25)
    assert (source.stamps, source.rate_hz) == ("frame rate", 25.0)


def test_a_file_of_times_goes_with_a_folder(tmp_path):
    folder = write_images(tmp_path / "images", [f"{number}.png" for number in range(3)])
    (tmp_path / "times.txt").write_text("5.0\n5.1\n5.4\n")
    source = open_video(folder, times=tmp_path / "times.txt")
    np.testing.assert_allclose(read(source)[0], [0, 0.1, 0.4])
    assert source.stamps == "times file"
    (tmp_path / "times.txt").write_text("5.0\n5.1\n")
    with pytest.raises(ValueError, match="2 times, but 3 images"):
        open_video(folder, times=tmp_path / "times.txt")


def test_folders_without_images_or_times_are_refused(tmp_path):
    folder = write_images(tmp_path / "images", ["a1.png", "a2.png"])
    with pytest.raises(ValueError, match=r"names do not say when .* give their rate"):
        open_video(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: there is no image in it"):
        open_video(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        ImageFolder(tmp_path / "none")


def test_a_broken_image_leaves_a_gap(tmp_path):
    folder = write_images(tmp_path / "images", [f"{number}.png" for number in range(4)])
    for name in ("0.png", "2.png"):
        (folder / name).write_bytes((folder / name).read_bytes()[:30])
    source = open_video(folder, rate_hz=10.0)
    times_s, numbers = read(source)
    np.testing.assert_allclose(times_s, [0.1, 0.3])
    assert numbers == [1, 3]
    assert source.notes == [f"{folder}: 2 of 4 images cannot be read, 0.png first: left out"]
    for name in ("1.png", "3.png"):
        (folder / name).write_bytes(b"")
    with pytest.raises(ValueError, match="4 of 4 images cannot be read"):
        read(source)


# --- cameras and programs ------------------------------------------------------------------------


def test_a_camera_gives_times_of_arrival(fake, monkeypatch):
    fake(stamps_ms=[0.0] * 5, rate_hz=30.0)
    clock = iter([7.0, 7.03, 7.1, 7.13, 7.2])
    monkeypatch.setattr(video.time, "monotonic", lambda: next(clock))
    source = open_video("2")
    assert isinstance(source, Camera)
    times_s, numbers = read(source)
    np.testing.assert_allclose(times_s, [0, 0.03, 0.1, 0.13, 0.2], atol=1e-12)
    assert numbers == [0, 1, 2, 3, 4]
    assert (source.stamps, source.rate_hz) == ("arrival", 30.0)
    assert source.notes == ["camera 2: it gave no more images after 5"]
    assert video.cv2.VideoCapture.released


def test_a_camera_s_frames_that_cannot_be_decoded_are_told(fake):
    fake(stamps_ms=[0.0] * 5, rate_hz=30.0, damaged=(0, 3))
    source = Camera(0)
    assert read(source)[1] == [1, 2, 4]
    assert source.notes == [
        "camera 0: 2 of 5 frames cannot be decoded: left out",
        "camera 0: it gave no more images after 5",
    ]


def test_a_camera_that_is_not_there_is_named(fake):
    fake(opened=False)
    with pytest.raises(ValueError, match="camera 3: it cannot be opened"):
        open_video(3)


def test_a_camera_is_let_go_when_nobody_listens(fake):
    fake(stamps_ms=[0.0] * 5, rate_hz=30.0)
    frames = Camera(0).frames()
    next(frames)
    assert not video.cv2.VideoCapture.released
    frames.close()
    assert video.cv2.VideoCapture.released


def test_given_frames_come_again():
    source = GivenFrames(lambda: ((5 + n / 10, still(n)) for n in (0, 1, 1, 2)), "made", "names")
    for _ in range(2):
        times_s, numbers = read(source)
        np.testing.assert_allclose(times_s, [0, 0.1, 0.2])
        assert numbers == [0, 1, 2]
        assert source.notes == [
            "made: 1 of 4 frames have no time after the frame before: left out"
        ]


# --- files of times ------------------------------------------------------------------------------


def test_times_are_read_in_their_unit(tmp_path):
    path = tmp_path / "time.txt"
    path.write_text("\ufeff0\n33\n\n67\n100\n")
    np.testing.assert_allclose(read_times(path, 1e-3), [0, 0.033, 0.067, 0.1])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no number in it"),
        ("time\n", "no number in it"),
        ("0\n0.1\nhalf\n", r"line 3: want a number, got 'half'"),
        ("0\n0.1\nnan\n", r"line 3: want a number, got 'nan'"),
        ("3\n2\n1\n", "have to increase"),
        ("\udcff", "no text"),
        ("0\n0.1" + "0" * 140_000 + "\n", "field larger than field limit"),
    ],
)
def test_wrong_times_are_named(tmp_path, text, sentence):
    path = tmp_path / "times.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=sentence) as error:
        read_times(path)
    assert str(path) in str(error.value)
