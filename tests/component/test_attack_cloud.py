"""What a cloud user tries against the daemon, other users and the network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qrmd.auth.limits import CHANGES
from qrmd.cli.connection import CallFailed
from qrmd.testing.attack import Target, refusal, target
from qrmd.testing.web import web_client


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with target(tmp_path_factory.mktemp("cloud")) as running:
        running.daemon.run_plugins("dir-storage")
        yield running


def test_nobody_touches_anothers_objects(attacked: Target) -> None:
    request = attacked.order("alice", hostname="hers")
    server = attacked.activate(request)["servers"][0]["id"]
    bob, before = attacked.login("bob"), attacked.daemon.call("cloud.request.get", request)
    token = attacked.login("alice").call("token.create", "hers")["id"]
    for verb in ("get", "cancel", "deprovision", "extend"):
        assert refusal(bob, f"cloud.request.{verb}", request).code == 404
    for verb in ("get", "start", "stop", "restart", "console_log"):
        assert refusal(bob, f"cloud.server.{verb}", server).code == 404
    for verb in ("cancel", "deprovision"):
        assert refusal(bob, f"cloud.request.{verb}", request, {"dry_run": True}).code == 404
    assert refusal(bob, "cloud.request.plan", {"id": request}).code == 404
    assert refusal(bob, "cloud.account.get", "alice").code == 404
    assert refusal(bob, "cloud.account.transactions", {}, "alice").code == 404
    assert refusal(bob, "cloud.request.create", {"image": "im", "user": "alice"}).code == 404
    assert refusal(bob, "token.revoke", token).code == 404
    assert bob.call("cloud.request.list", {"where": {"user_id": 1}}) == []
    assert bob.call("cloud.server.list", {"where": {"user_id": 1}}) == []
    assert bob.call("token.list") == []
    assert attacked.daemon.call("cloud.request.get", request) == before


@pytest.mark.parametrize("field", ["price_micro", "state", "id", "user_id", "approved_by", "created_at", "active_at"])
def test_an_order_sets_no_field_of_ours(attacked: Target, field: str) -> None:
    assert refusal(attacked.login("alice"), "cloud.request.create", {"image": "im", field: 1}).code == 400


def test_only_verbs_for_cloud_users_answer_them(attacked: Target) -> None:
    alice = attacked.login("alice")
    for each in attacked.daemon.call("system.describe"):
        granted = "cloud" in each["roles"]
        assert refusal(alice, each["name"], *[0] * 20).code == (400 if granted else 403), each["name"]


def test_readers_change_nothing_of_plugins_either(attacked: Target) -> None:
    reader = attacked.login("readonly")
    for each in attacked.daemon.call("system.describe"):
        granted = "readonly" in each["roles"]
        assert refusal(reader, each["name"], *[0] * 20).code == (400 if granted else 403), each["name"]
        assert not (granted and each["changes"]) or each["name"].startswith("token."), each["name"]


def test_keys_are_each_ones_own(attacked: Target) -> None:
    first = attacked.login("alice").call("cloud.request.create", {"image": "im"}, {"key": "same"})
    second = attacked.login("bob").call("cloud.request.create", {"image": "im"}, {"key": "same"})
    assert first != second
    assert refusal(attacked.login("alice"), "cloud.request.cancel", first, {"key": "same"}).code == 409


@pytest.mark.parametrize("name", ["ignore", "infinite", "1d", "5", "7200s", "localhost", "wpad", "isatap", "0x7f"])
def test_host_names_that_mean_something_else_are_refused(attacked: Target, name: str) -> None:
    assert refusal(attacked.login("alice"), "cloud.request.create", {"image": "im", "hostname": name}).code == 400
    operator = attacked.login("operator")
    assert refusal(operator, "appliance.add", {"name": "fine", "hostname": name, "image": "im"}).code == 400
    assert refusal(operator, "appliance.add", {"name": name, "image": "im"}).code == 400


def test_a_host_name_is_one_users_only(attacked: Target) -> None:
    attacked.order("alice", hostname="shop")
    assert refusal(attacked.login("bob"), "cloud.request.create", {"image": "im", "hostname": "shop"}).code == 409


def test_names_of_our_choice_can_not_be_used_up(attacked: Target) -> None:
    """Who guesses the number of the next request holds all names that are easily guessed."""
    attacked.daemon.call("settings.set", {"cloud.max_quantity": 120})
    attacked.daemon.call("cloud.user.set_ccus", "alice", "+100000")
    latest = attacked.order("alice", hostname="guess")
    assert attacked.order("alice", hostname=f"cloud-{latest + 3}-1") == latest + 1
    attacked.order("alice", hostname=f"cloud-{latest + 3}-1", quantity=120, memory_mb=32)
    mine = attacked.order("bob")
    assert mine == latest + 3
    (name,) = (each["hostname"] for each in attacked.daemon.call("cloud.request.get", mine)["servers"])
    assert name.startswith(f"cloud-{mine}-1-")


@pytest.mark.parametrize(("name", "site"), [("mallory", "portal"), ("mallory-too", "admin")])
def test_who_may_only_ask_fills_no_disk(attacked: Target, name: str, site: str) -> None:
    """What somebody changes is kept as events: so many in ten minutes, then the door is shut for a while."""
    if site == "portal":
        user = {"name": name, "email": "m@example.org", "password": f"{name}-password"}
        attacked.daemon.call("cloud.user.add", user)
    else:
        attacked.daemon.call("user.add", name, "readonly", f"{name}-password")
    mallory = attacked.login(name)
    codes = [refusal(mallory, "token.revoke", 999_999).code for _ in range(CHANGES[0] + 1)]
    assert (codes.count(404), codes[-1]) == (CHANGES[0], 429)
    assert mallory.call("token.list") == []
    client = web_client(attacked.daemon, site)
    client.login(name, f"{name}-password")
    assert client.submit("/tokens", "create", {"name": "more"}).status == 429
    attacked.login("operator").call("token.create", name)


def test_a_token_makes_none_that_outlives_it(attacked: Target) -> None:
    expires = "2099-12-31T00:00:00Z"
    secret = attacked.login("bob").call("token.create", "short", expires)["token"]
    short = attacked.daemon.login("bob", secret)
    assert refusal(short, "token.create", "long", "2100-01-01T00:00:00Z").code == 403
    short.call("token.create", "endless")
    short.call("token.create", "shorter", "2099-01-01T00:00:00Z")
    kept = {each["name"]: each["expires_at"] for each in short.call("token.list")}
    assert kept == {"short": expires, "endless": expires, "shorter": "2099-01-01T00:00:00Z"}


def test_tokens_and_open_requests_of_one_user_are_bounded(attacked: Target) -> None:
    bob = attacked.login("bob")

    def repeat(most: int, method: str, *arguments: object) -> None:
        for number in range(most):
            bob.call(method, *(f"{each}-{number}" if isinstance(each, str) else each for each in arguments))

    with pytest.raises(CallFailed, match="100 tokens") as caught:
        repeat(101, "token.create", "more")
    assert caught.value.code == 409
    with pytest.raises(CallFailed, match="200 open requests") as caught:
        repeat(201, "cloud.request.create", {"image": "im"})
    assert caught.value.code == 507


@pytest.mark.parametrize("verb", ["storage.add", "host.add"])
def test_what_operators_may_not_add_tells_them_nothing(attacked: Target, verb: str) -> None:
    """Locations are chosen by who answers for the server; a refusal does not say what is there."""
    field = {"storage.add": "location", "host.add": "uri"}[verb]
    operator = attacked.login("operator")
    told = {
        (each.code, str(each))
        for each in (
            refusal(operator, verb, {"name": "evil", field: place})
            for place in ("/root", "/root/nope", "qemu:///system")
        )
    }
    assert [code for code, _ in told] == [403]


@pytest.mark.parametrize("place", ["/", "/etc", "/etc/cron.d", "/proc", "/usr/lib", "/bin", "/srv/../etc"])
def test_no_volumes_are_kept_in_the_system(attacked: Target, tmp_path: Path, place: str) -> None:
    (tmp_path / "link").symlink_to(place)
    state = str(attacked.daemon.state_dir / "plugins")
    for location in (place, str(tmp_path / "link"), state):
        spec = {"name": "evil", "location": location}
        assert attacked.daemon.fault("storage.add", spec).code == 400


@pytest.mark.parametrize("name", ["vault.key", "qrmd.sqlite", "tls/tls.key", "plugins/../vault.key"])
def test_our_own_secrets_are_no_images_however_wide_the_directories_are(attacked: Target, name: str) -> None:
    """``images.import_dirs`` is ``/`` here, and an operator could read what an appliance has as its disk."""
    path, operator = str(attacked.daemon.state_dir / name), attacked.login("operator")
    assert (attacked.daemon.state_dir / name).exists()
    image = {"name": "stolen", "storage": "pool", "path": path, "format": "raw"}
    assert refusal(operator, "image.import", image).code == 400
    for each in ({"path": path}, {"path": __file__, "initrd": path}):
        assert refusal(operator, "kernel.add", {"name": "stolen", **each}).code == 400
