"""A process per measurement, so that none warms or burdens another: ``python -m tests.bench.child NAME JSON``."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor  # noqa: TID251 - a program of its own
from twisted.internet.defer import Deferred

from qrmd.process import run
from qrmd.testing.interpreter import module_argv, module_environment

reactor: Any = _reactor
ROOT = Path(__file__).parents[2]
MARK = "bench-answer "


def ask(module: str, options: Mapping[str, Any], timeout: float = 1800.0) -> Any:
    """What ``tests.bench.<module>.inside(reactor, options)`` answers, from a process of its own."""
    argv = module_argv("tests.bench.child", module, json.dumps(dict(options)))
    said = run(argv, timeout=timeout, cwd=ROOT, env=environment()).stdout
    line = next(line for line in said.splitlines() if line.startswith(MARK))
    return json.loads(line.removeprefix(MARK))


def environment() -> dict[str, str]:
    """Of a child: this tree can be imported, and bytecode is kept as an installation has it."""
    found = dict(module_environment())
    found.pop("PYTHONDONTWRITEBYTECODE", None)
    found["PYTHONPATH"] = f"{ROOT}:{found.get('PYTHONPATH', '')}"
    return found


def main(module: str, options: dict[str, Any]) -> None:
    """Run one measurement on the reactor and print its answer."""
    measure: Callable[[Any, dict[str, Any]], Awaitable[Any]] = import_module(f"tests.bench.{module}").inside

    async def go() -> None:
        print(MARK + json.dumps(await measure(reactor, options)), flush=True)  # noqa: T201 - the answer

    def begin() -> None:
        working = Deferred.fromCoroutine(go())
        working.addErrback(lambda failure: print(failure.getTraceback(), file=sys.stderr))  # noqa: T201
        working.addBoth(lambda _result: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.suggestThreadPoolSize(4)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
