"""Full disks, cut-off deeds, links that lead away, files that others put there."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qrmd.drivers import OwnerTag
from qrmd.errors import Conflict, InvalidInput, NoCapacity, NotFound, PreconditionFailed, QrmdError, StepFailed
from qrmd.model import Storage
from qrmd.process import run, spawn
from qrmd.testing.contracts.storage import BASE_TAG, INSTALLATION, STRANGER, TAG, MakeImage
from qrmd.testing.waiting import wait_until
from qrmd_dir_storage.config import Config
from qrmd_dir_storage.driver import DirDriver

MIB = 1 << 20


def written(path: Path, size: int) -> Path:
    """A file whose bytes are all there."""
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
        file.write(os.urandom(size % MIB))
        file.flush()
        os.fsync(file.fileno())
    return path


def files(storage: Storage) -> set[str]:
    return {path.name for path in Path(storage.location).iterdir() if path.name != "lost+found"}


def at(storage: Storage, place: Path) -> Storage:
    return dataclasses.replace(storage, location=str(place))


# ---------------------------------------------------------------- space


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_too_little_space_is_refused_naming_what_is_missing(
    driver: DirDriver, storage: Storage, mount: Any, tmp_path: Path, kind: str
) -> None:
    small = at(storage, mount(kind, 32))
    image = written(tmp_path / "big", 64 * MIB)
    with pytest.raises(NoCapacity) as caught:
        driver.import_file(small, "base", image, "raw", BASE_TAG)
    free = driver.usage(small).free_mb
    assert abs(caught.value.data["missing_mb"] - (64 - free)) <= 1
    assert files(small) == set()


def test_a_disk_that_runs_full_in_the_middle(driver: DirDriver, storage: Storage, mount: Any, tmp_path: Path) -> None:
    """Without extents the blocks that hold block numbers are not foreseen, so it always runs full near the end."""
    small = at(storage, mount("blocks", 64))
    space = os.statvfs(small.location)
    image = written(tmp_path / "big", space.f_bavail * space.f_frsize // 4096 * 4096)
    with pytest.raises(StepFailed, match=r"ran full: \d+ MiB are missing") as caught:
        driver.import_file(small, "base", image, "raw", BASE_TAG)
    assert caught.value.data["missing_mb"] >= 1
    assert files(small) == set()
    assert os.statvfs(small.location).f_bavail == space.f_bavail


def test_flattening_needs_the_space_of_the_chain(
    driver: DirDriver, storage: Storage, mount: Any, tmp_path: Path
) -> None:
    small = at(storage, mount("tmpfs", 48))
    driver.import_file(small, "base", written(tmp_path / "big", 30 * MIB), "raw", BASE_TAG)
    driver.clone(small, "base", "web", 30, TAG)
    with pytest.raises(NoCapacity):
        driver.copy(small, "web", "web-2", 30, TAG)
    assert driver.find(small, "web-2") is None


def test_sparse_files_stay_sparse(driver: DirDriver, storage: Storage, make_image: MakeImage) -> None:
    imported = driver.import_file(storage, "base", make_image("raw", 512), "raw", BASE_TAG)
    copied = driver.copy(storage, "base", "web", 1024, TAG)
    assert (imported.allocated_mb, copied.allocated_mb, copied.size_mb) == (1, 1, 1024)


# ---------------------------------------------------------------- what others put there


def test_links_are_not_followed(driver: DirDriver, storage: Storage, tmp_path: Path, make_image: MakeImage) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"\x11" * 4096)
    driver.import_file(storage, "base", make_image("raw", 1), "raw", BASE_TAG)
    place = Path(storage.location)
    (place / "link").symlink_to(outside)
    (place / ".link.owner").write_text(json.dumps(dataclasses.asdict(TAG) | {"format": "raw"}))
    assert driver.find(storage, "link") is None
    with pytest.raises(PreconditionFailed):
        driver.remove(storage, "link")
    for verb in (driver.clone, driver.copy):
        with pytest.raises(PreconditionFailed):
            verb(storage, "link", "web", 1, TAG)
        with pytest.raises(PreconditionFailed):
            verb(storage, "base", "link", 1, TAG)
    with pytest.raises(QrmdError):
        driver.import_file(storage, "web", place / "link", "raw", TAG)
    assert outside.read_bytes() == b"\x11" * 4096
    assert (place / "link").is_symlink()


def test_a_pipe_does_not_hold_us_up(driver: DirDriver, storage: Storage, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Conflict, match="not a plain file"):
        driver.inspect(storage, tmp_path / "pipe", "raw")
    with pytest.raises(NotFound):
        driver.inspect(storage, tmp_path / "nothing", "raw")


@pytest.mark.parametrize("tag", ["", "{", "[]", "{}", '{"installation": 1}', "\x00" * 100, "x" * 10_000])
def test_a_tag_that_can_not_be_read_makes_nothing_ours(driver: DirDriver, storage: Storage, tag: str) -> None:
    (Path(storage.location) / "web").write_bytes(b"precious")
    (Path(storage.location) / ".web.owner").write_text(tag)
    with pytest.raises(Conflict):
        driver.remove(storage, "web")
    assert driver.find(storage, "web") is None
    assert list(driver.owned(storage, INSTALLATION)) == []
    assert (Path(storage.location) / "web").read_bytes() == b"precious"


def test_half_made_parts_of_another_installation_stay(driver: DirDriver, storage: Storage) -> None:
    part = Path(storage.location) / f".web.{STRANGER}.{'0' * 32}.part"
    part.write_bytes(b"theirs")
    driver.remove(storage, "web")
    assert part.read_bytes() == b"theirs"
    assert [found.external_id for found in driver.owned(storage, STRANGER)] == ["web"]


def test_a_raw_disk_whose_guest_wrote_a_qcow2_header_stays_raw(
    driver: DirDriver, storage: Storage, make_image: MakeImage, tmp_path: Path
) -> None:
    """A guest writes the first bytes of its raw disk: they must not name files of the host."""
    driver.import_file(storage, "base", make_image("raw", 4), "raw", BASE_TAG)
    driver.copy(storage, "base", "web", 4, TAG)
    evil = tmp_path / "evil"
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "base", "-F", "raw", str(evil), "4M"], timeout=20)
    with (Path(storage.location) / "web").open("r+b") as disk:
        disk.write(evil.read_bytes())
    facts = driver.find(storage, "web")
    assert facts is not None
    assert (facts.format, facts.size_mb) == ("raw", 4)
    assert driver.export(storage, "web", "resource:1").format == "raw"
    assert driver.resize(storage, "web", 8).size_mb == 8
    driver.clone(storage, "web", "web-2", 8, TAG)
    said = run(["qemu-img", "info", "-f", "qcow2", str(Path(storage.location) / "web-2")], timeout=20, check=False)
    assert "backing file: base" not in said.stdout
    driver.remove(storage, "base")  # nothing lies over it, whatever the guest wrote


def test_an_image_is_checked_as_it_was_copied(driver: DirDriver, storage: Storage, make_image: MakeImage) -> None:
    with pytest.raises(InvalidInput):
        DirDriver(INSTALLATION, Config(max_size_mb=1)).import_file(
            storage, "base", make_image("raw", 4), "raw", BASE_TAG
        )
    assert files(storage) == set()


def test_another_installations_tag_is_not_written(driver: DirDriver, storage: Storage, make_image: MakeImage) -> None:
    with pytest.raises(InvalidInput):
        driver.import_file(storage, "base", make_image("raw", 4), "raw", OwnerTag(STRANGER, "image:1"))


# ---------------------------------------------------------------- chains


def test_a_source_names_what_lies_over_it(driver: DirDriver, storage: Storage, make_image: MakeImage) -> None:
    driver.import_file(storage, "base", make_image("raw", 4), "raw", BASE_TAG)
    made = driver.clone(storage, "base", "web", 8, TAG)
    if made.format == "raw":
        pytest.fail("this test wants a file system without reflink")
    driver.clone(storage, "web", "web-2", 8, TAG)
    for source, over in (("base", "web"), ("web", "web-2")):
        with pytest.raises(Conflict, match=f"lie over it: {over}") as caught:
            driver.remove(storage, source)
        assert caught.value.data["dependents"] == [over]
    for name in ("web-2", "web", "base"):
        driver.remove(storage, name)
    assert files(storage) == set()


def test_a_directory_may_move(driver: DirDriver, storage: Storage, make_image: MakeImage) -> None:
    driver.import_file(storage, "base", make_image("qcow2", 4), "qcow2", BASE_TAG)
    driver.clone(storage, "base", "web", 8, TAG)
    moved = Path(storage.location).rename(Path(storage.location).with_name("elsewhere"))
    copied = driver.copy(at(storage, moved), "web", "web-2", 8, TAG)
    assert copied.size_mb == 8


def test_a_volume_that_a_machine_has_open_does_not_grow(
    driver: DirDriver, storage: Storage, make_image: MakeImage
) -> None:
    driver.import_file(storage, "base", make_image("qcow2", 4), "qcow2", BASE_TAG)
    path = Path(storage.location) / "base"
    node = f"driver=qcow2,node-name=d,file.driver=file,file.filename={path}"
    export = "type=nbd,id=e,node-name=d,writable=on"
    socket = f"addr.type=unix,addr.path={path.parent.parent}/nbd"
    holder = spawn(["qemu-storage-daemon", "--blockdev", node, "--nbd-server", socket, "--export", export])
    wait_until((path.parent.parent / "nbd").exists, what="the machine")

    def refused() -> bool:
        with pytest.raises(Conflict, match="open in a machine"):
            driver.resize(storage, "base", 64)
        return True

    try:
        wait_until(refused, what="the refusal")
    finally:
        holder.kill()
    assert driver.resize(storage, "base", 64).size_mb == 64


# ---------------------------------------------------------------- being killed

PROGRAM = """
import sys
from collections.abc import Callable
from pathlib import Path
from qrmd.model import Storage
from qrmd.drivers import OwnerTag
from qrmd_dir_storage.config import Config
from qrmd_dir_storage.driver import DirDriver
place, image, installation = sys.argv[1:]
driver, storage = DirDriver(installation, Config()), Storage(2, "files", "dir", place)
while True:
    driver.import_file(storage, "base", Path(image), "raw", OwnerTag(installation, "image:3"))
    driver.clone(storage, "base", "web", 8, OwnerTag(installation, "appliance:12"))
    driver.copy(storage, "web", "web-2", 8, OwnerTag(installation, "appliance:12"))
    for name in ("web-2", "web", "base"):
        driver.remove(storage, name)
"""


def test_killed_at_any_instant_nothing_is_lost_or_left(
    driver: DirDriver, storage: Storage, make_image: MakeImage
) -> None:
    image = make_image("raw", 4)
    foreign = Path(storage.location) / "foreign"
    foreign.write_bytes(b"precious")
    for instant in range(25):
        child = spawn([sys.executable, "-c", PROGRAM, storage.location, str(image), INSTALLATION])
        seen: set[frozenset[str]] = set()

        def moved(seen: set[frozenset[str]] = seen, wanted: int = 2 + instant) -> bool:
            seen.add(frozenset(name for name in files(storage) if name.startswith(".")))
            return len(seen) > wanted

        wait_until(moved, timeout=30, interval=0.0005, what="files to come and go")
        os.kill(child.pid, signal.SIGKILL)
        child.wait(10)
        listed = {found.external_id for found in driver.owned(storage, INSTALLATION)}
        assert files(storage) == {"foreign"} or listed
        for name in ("base", "web", "web-2"):
            facts = driver.find(storage, name)
            assert facts is None or name in listed
        for name in ("web-2", "web", "base"):
            driver.remove(storage, name)
        assert files(storage) == {"foreign"}
    assert foreign.read_bytes() == b"precious"


def cut_off(deed: Callable[[], object], count: int) -> bool:
    """Do it in a child that dies before its ``count``-th call to the file system; False: it came through."""
    child = os.fork()
    if child == 0:
        left = count

        def dying(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    os._exit(9)
                return function(*args, **kwargs)

            return call

        for name in ("open", "link", "unlink", "write", "pwrite", "ftruncate"):
            setattr(os, name, dying(getattr(os, name)))
        try:
            deed()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_cut_before_each_call_nothing_is_lost_or_left(
    driver: DirDriver, storage: Storage, make_image: MakeImage
) -> None:
    image = make_image("raw", 4)

    def make() -> None:
        driver.import_file(storage, "base", image, "raw", BASE_TAG)

    def remove() -> None:
        driver.remove(storage, "base")

    for deed in (make, remove):
        count, more = 0, True
        while more:
            if deed is remove:
                make()
            more = cut_off(deed, count)
            count += 1
            facts = driver.find(storage, "base")
            listed = [found.external_id for found in driver.owned(storage, INSTALLATION)]
            assert listed == (["base"] if facts or files(storage) else [])
            if facts and facts.complete:
                assert (Path(storage.location) / "base").read_bytes() == image.read_bytes()
            make()
            remove()
            assert files(storage) == set()
        assert count > 10


class Swapped(DirDriver):
    """Somebody changes the image between the look at it and its copy."""

    evil = b""
    image = Path()

    def _check(self, descriptor: int, fmt: str) -> int:
        size = super()._check(descriptor, fmt)
        self.image.write_bytes(self.evil)
        return size


def test_an_image_changed_meanwhile_is_refused(storage: Storage, make_image: MakeImage) -> None:
    driver = Swapped(INSTALLATION, Config())
    driver.evil = make_image("qcow2", 4).read_bytes()
    driver.image = make_image("raw", 4)
    with pytest.raises(InvalidInput, match="looks like qcow2"):
        driver.import_file(storage, "base", driver.image, "raw", BASE_TAG)
    assert files(storage) == set()


def test_each_cut_of_a_publication_and_of_a_removal(driver: DirDriver, storage: Storage, make_image: MakeImage) -> None:
    place = Path(storage.location)
    image = make_image("raw", 4)
    part = place / f".base.{INSTALLATION}.{'0' * 32}.part"

    def linked_without_tag() -> None:
        part.write_bytes(b"whole")
        os.link(part, place / "base")

    def tag_without_content() -> None:
        text = json.dumps(dataclasses.asdict(BASE_TAG) | {"format": "raw"})
        (place / ".base.owner").write_text(text)

    for cut in (linked_without_tag, tag_without_content):
        for again in (False, True):
            cut()
            facts = driver.find(storage, "base")
            assert facts is not None
            assert not facts.complete
            assert [found.external_id for found in driver.owned(storage, INSTALLATION)] == ["base"]
            if again:
                assert driver.import_file(storage, "base", image, "raw", BASE_TAG).size_mb == 4
            driver.remove(storage, "base")
            assert files(storage) == set()


def test_a_storage_that_is_away_is_named(driver: DirDriver, storage: Storage) -> None:
    away = at(storage, Path(storage.location) / "away")
    [problem] = driver.check(away)
    assert "away is not a directory" in problem
    with pytest.raises(StepFailed, match="away"):
        driver.usage(away)
    with pytest.raises(StepFailed, match="away"):
        driver.owned(away, INSTALLATION)


def test_what_a_cut_after_the_publication_left_is_swept_by_the_next_attempt(
    driver: DirDriver, storage: Storage, make_image: MakeImage
) -> None:
    place = Path(storage.location)
    image = make_image("raw", 4)
    for suffix, again in {
        "0": lambda: driver.import_file(storage, "base", image, "raw", BASE_TAG),
        "1": lambda: driver.copy(storage, "other", "base", 4, BASE_TAG),
        "2": lambda: driver.clone(storage, "other", "base", 4, BASE_TAG),
    }.items():
        driver.import_file(storage, "base", image, "raw", BASE_TAG)
        driver.import_file(storage, "other", image, "raw", BASE_TAG)
        os.link(place / "base", place / f".base.{INSTALLATION}.{suffix * 32}.part")
        os.link(place / ".base.owner", place / f".base.{INSTALLATION}.{'f' * 32}.part")
        again()
        assert files(storage) == {"base", ".base.owner", "other", ".other.owner"}
