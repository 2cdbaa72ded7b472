"""A demo from its first check to its last line."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path

from qrmd.errors import PreconditionFailed, QrmdError
from qrmd.process import find_program
from qrmd.testing.demo import ending, handout
from qrmd.testing.demo.clients import Client
from qrmd.testing.demo.doors import Doors, open_doors
from qrmd.testing.demo.ending import Ended
from qrmd.testing.demo.handout import Handout
from qrmd.testing.demo.job import Job, Result
from qrmd.testing.demo.options import Options
from qrmd.testing.demo.screen import Screen
from qrmd.testing.demo.service import Service
from qrmd.testing.demo.turn import Turn
from qrmd.testing.lab import LabAccess, lab, preconditions

ADMIN = "admin"
KEPT = ("daemon.log", ".demo")
WATCH_SECONDS = 1.0
PROGRAMS = {"sshpass": "sshpass", "ip": "iproute2"}
"""Debian package by program, beyond what the lab needs."""


def run(options: Options) -> int:
    """Act a demo; returns the exit status."""
    screen = Screen()
    show = Show(options, screen)
    status = 1
    try:
        ending.listen()
        if options.tethered:
            ending.tether()
        status = show.run()
    except Ended as ended:
        status = 0 if show.finished else 128 + ended.number
    except QrmdError as error:
        tell_fault(error, show)
    finally:
        ending.ignore()
        show.end()
    if options.once:
        print(json.dumps(asdict(show.result)), flush=True)  # noqa: T201 - the last line
    return status


def tell_fault(error: QrmdError, show: Show) -> None:
    """One line for each fault, on standard error, and where to read on."""
    sys.stdout.flush()
    for line in str(error).splitlines():
        print(f"demo: {line}", file=sys.stderr)  # noqa: T201
    if show.service is not None:
        print(f"demo: the daemon's log is {show.service.log}", file=sys.stderr)  # noqa: T201
    sys.stderr.flush()


class Show:
    """One demo, with everything that it has to end.

    Attributes:
        finished: everything asked for was done; what follows is staying up.
        service: the daemon, once there is one.
        result: of the job.
    """

    def __init__(self, options: Options, screen: Screen) -> None:
        self.finished = False
        self.service: Service | None = None
        self.result = Result()
        self._options = options
        self._screen = screen
        self._turn = Turn(options.lab)
        self._doors: Doors | None = None
        self._lab_is_ours = False
        self._access_file = options.directory / "access.json"

    def run(self) -> int:
        """Everything up to the end of the job, and staying up. Raises QrmdError; ``end`` cleans up."""
        options = self._options
        access, service, doors = self._set_up()
        admin = Client(f"https://{doors.address('admin')}/rpc", ADMIN, service.password, service.ca_file)
        job = Job(self._screen, access, options.directory, admin)
        job.prepare()
        if options.job:
            self.result = job.result
            job.act(f"https://{doors.address('admin')}/rpc", service.ca_file)
        self.finished = True
        if not options.once:
            self._stay(access, service, doors, job)
        return 0

    def end(self) -> None:
        """Stop the daemon and the lab; nothing is left but the log."""
        if self._lab_is_ours:
            self._turn.announce_end()
            self._access_file.unlink(missing_ok=True)
            self._screen.head("Ending")
        if self.service is not None:
            self._screen.tell("the daemon")
            self.service.stop()
        if self._doors is not None:
            self._doors.close()
        if self._lab_is_ours:
            lab.down(self._options.lab, self._screen.tell)
            left = lab.sweep(self._options.lab)
            self._screen.tell(f"left of the lab: {left}" if left else "nothing is left of the lab")
            self._remove_state()
        self._turn.give_up()

    def _set_up(self) -> tuple[LabAccess, Service, Doors]:
        options, screen = self._options, self._screen
        check_machine()
        self._turn.take(screen.tell)
        self._access_file.unlink(missing_ok=True)  # of one that was killed
        self._lab_is_ours = True
        screen.head("A lab, and a daemon in it")
        lab.down(options.lab, lambda _line: screen.tell("ending what an earlier demo left"))
        self._doors = open_doors(options.ports)
        make_directory(options.directory)
        access = lab.up(options.lab, screen.tell)
        self.service = Service(options.directory, access, self._doors)
        self.service.configure()
        screen.tell(f"starting qrmd, log in {self.service.log}")
        self.service.start()
        screen.tell(f"qrmd is ready on https://{self._doors.address('admin')}")
        return access, self.service, self._doors

    def _stay(self, access: LabAccess, service: Service, doors: Doors, job: Job) -> None:
        """Until a signal. Raises StepFailed when the daemon ends."""
        given = Handout(
            rpc_url=f"https://{doors.address('admin')}/rpc",
            admin_url=f"https://{doors.address('admin')}/",
            portal_url=f"https://{doors.address('portal')}/",
            boot_url=f"http://{doors.address('boot')}/",
            admin_user=ADMIN,
            admin_password=service.password,
            cloud_user=job.account.name,
            cloud_password=job.account.password,
            ca_file=str(service.ca_file),
            pid=os.getpid(),
            namespace=access.namespace,
        )
        handout.write(self._access_file, given)
        self._screen.head("Up until Ctrl-C")
        users = [("administration", given.admin_url, given.admin_user, given.admin_password)]
        if given.cloud_user:
            users.append(("portal", given.portal_url, given.cloud_user, given.cloud_password))
        self._screen.table("", ("", "URL", "user", "password"), users)
        self._screen.tell(f"the same for programs: {self._access_file}; the certificate: {given.ca_file}")
        while True:
            time.sleep(WATCH_SECONDS)
            service.check()

    def _remove_state(self) -> None:
        """The log stays, where there is something to read in it."""
        for path in self._options.directory.glob("*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name not in KEPT:
                path.unlink(missing_ok=True)


def check_machine() -> None:
    """Raises PreconditionFailed with one line for each thing that is missing."""
    faults = list(map(str, preconditions.find_faults()))
    faults += [
        f"{name} is missing: apt-get install {package}" for name, package in PROGRAMS.items() if not find_program(name)
    ]
    if faults:
        raise PreconditionFailed("\n".join(faults))


def make_directory(directory: Path) -> None:
    """Make it anew; only what a demo made is removed."""
    if directory.exists() and any(directory.iterdir()) and not (directory / ".demo").exists():
        raise PreconditionFailed(f"{directory} is not a demo's directory", hint="move it away")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700, parents=True)
    (directory / ".demo").touch()
