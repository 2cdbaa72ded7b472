"""Clients of the daemon's XML-RPC interface, as anybody writes them."""

from __future__ import annotations

import ssl
import xmlrpc.client
from pathlib import Path
from typing import Any
from urllib.parse import quote

from qrmd.errors import StepFailed

ENDED = ("done", "undone", "stuck", "abandoned")


class Client:
    """Somebody who is logged in. ``url``: of ``/rpc``, without credentials."""

    def __init__(self, url: str, name: str, password: str, ca_file: Path) -> None:
        scheme, _, rest = url.partition("://")
        context = ssl.create_default_context(cafile=ca_file)
        whole = f"{scheme}://{quote(name, safe='')}:{quote(password, safe='')}@{rest}"
        self.name = name
        self._proxy = xmlrpc.client.ServerProxy(whole, context=context, allow_none=True)

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method.

        Raises:
            StepFailed: the fault, or the connection's.
        """
        try:
            return getattr(self._proxy, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            raise StepFailed(f"fault {fault.faultCode}: {fault.faultString}", subject=method) from None
        except (OSError, xmlrpc.client.ProtocolError) as error:
            raise StepFailed(f"the daemon does not answer: {error}", subject=method) from error

    def finish(self, method: str, *arguments: Any, seconds: float = 120.0) -> dict[str, Any]:
        """Call a method that starts a workflow and wait until that is done.

        Raises:
            StepFailed: it ended otherwise, or takes too long.
        """
        found: dict[str, Any] = self.call("workflow.wait", self.call(method, *arguments), seconds)
        check_done(found)
        return found


def check_done(workflow: dict[str, Any]) -> None:
    """Raises StepFailed unless the workflow is done, naming the step that failed."""
    if workflow["state"] == "done":
        return
    fault = workflow.get("fault") or {}
    steps = [step for step in workflow.get("steps", []) if step.get("fault")]
    titles = "; ".join(f"{step['title']}: {(step['fault'] or {}).get('message', '')}" for step in steps)
    raise StepFailed(
        f"it is {workflow['state']}: {fault.get('message') or titles or 'no reason is given'}",
        subject=f"workflow:{workflow['id']} ({workflow['operation']})",
        hint=str(fault.get("hint", "")),
    )
