"""Three monitors that share a mesh through a real etcd: one leads, the others take over."""

import json

from gpu_mesh.domain.cluster import Role
from gpu_mesh.standin.server import Standin
from monitors import Monitors
from sites import Receiver


def roles(mesh: Monitors) -> list[Role]:
    return [json.loads(each.run("cluster", "--json").stdout)["role"] for each in mesh.all.values()]


def test_the_first_leads_and_the_others_show_what_it_saw(mesh: Monitors, node: Standin) -> None:
    assert roles(mesh) == ["leader", "standby", "standby"]
    for each in mesh.all.values():
        assert each.status()["nodes"][0]["status"] == "healthy"
    asked = len(node.paths)
    mesh["attic"].check()
    assert len(node.paths) == asked, "who stands by asks no node"
    assert "desk" in mesh["attic"].ok("cluster")


def test_when_the_leader_dies_in_an_incident_another_one_goes_on_where_it_was(
    mesh: Monitors, node: Standin, receiver: Receiver
) -> None:
    node.close()
    mesh["desk"].tick()
    mesh["desk"].tick()
    assert receiver.levels("iceland") == ["WARNING"]
    mesh["desk"].loses_its_lease()
    for _ in range(3):
        mesh["attic"].tick()
    assert roles(mesh)[1] == "leader"
    assert mesh["attic"].state().node("iceland").failures == 5, "the failures go on, and are not counted anew"
    assert receiver.levels("iceland") == ["WARNING", "ERROR", "CRITICAL"]
    assert any("The monitor desk is gone: attic leads the mesh now" in title for title in receiver.titles)
    mesh["porch"].tick()
    assert mesh["porch"].status()["nodes"][0]["status"] == "offline"
    assert len(receiver.titles) == 4, "and nobody else tells of it"


def test_who_was_replaced_meanwhile_writes_and_sends_nothing(
    mesh: Monitors, node: Standin, receiver: Receiver
) -> None:
    mesh["desk"].loses_its_lease()
    assert mesh["attic"].leads()
    mesh["attic"].check()
    known = mesh.written()
    node.close()
    mesh["desk"].check()  # it believes that it leads: its lead timer has not run since
    mesh["desk"].check()
    mesh["desk"].ok("deliver")
    assert mesh.written() == known
    assert receiver.levels("iceland") == []
    assert mesh["desk"].state().node("iceland").failures == 0
    assert any("event=check_not_counted" in line for line in mesh["desk"].log())


def test_a_silence_of_any_monitor_counts_for_all_at_once(
    mesh: Monitors, node: Standin, receiver: Receiver
) -> None:
    mesh["porch"].ok("silence", "add", "iceland", "--for", "1h", "--reason", "a new card")
    node.close()
    mesh["desk"].tick()
    mesh["desk"].tick()
    assert receiver.titles == []
    assert "a new card" in mesh["desk"].ok("silence", "list")


def test_while_etcd_is_away_the_leader_goes_on_and_nothing_is_lost_when_it_is_back(
    mesh: Monitors, node: Standin, receiver: Receiver
) -> None:
    mesh.etcd.stop()
    node.close()
    assert "etcd is away: " in mesh["desk"].run("lead").stderr
    mesh["desk"].check()
    mesh["desk"].hears_nothing_for(60)
    mesh["desk"].run("lead")
    assert roles(mesh)[0] == "leader_alone"
    mesh["desk"].tick()
    assert receiver.levels("iceland") == ["WARNING"]
    said = mesh["porch"].ok("silence", "add", "iceland", "--for", "1h", "--reason", "a new card")
    assert "This counts on porch alone until etcd takes it" in said
    mesh.etcd.start()
    for each in mesh.all.values():
        each.tick()
    mesh["desk"].tick()
    assert roles(mesh) == ["leader", "standby", "standby"], "who led last leads again"
    assert mesh["desk"].state().node("iceland").failures >= 3
    assert "a new card" in mesh["desk"].ok("silence", "list")
    assert not mesh["desk"].state().shared.apart_since


def test_who_stood_by_watches_alone_once_etcd_is_away_for_long_and_says_so(
    mesh: Monitors, node: Standin, receiver: Receiver
) -> None:
    mesh.etcd.stop()
    mesh["attic"].run("lead")
    mesh["attic"].hears_nothing_for(60)
    mesh["attic"].run("lead")
    assert roles(mesh)[1] == "standby", "each waits for its turn"
    mesh["attic"].hears_nothing_for(60)
    mesh["attic"].run("lead")
    assert roles(mesh)[1] == "alone"
    node.close()
    mesh["attic"].tick()
    mesh["attic"].tick()
    about_etcd, about_node = receiver.bodies
    assert "attic watches alone, and repairs nothing: desk, which led, may do so, too" in about_etcd
    assert "seen by attic alone: etcd is away" in about_node
    assert "stands by" in mesh["attic"].run("recover", "iceland").stderr


def test_a_tunnel_that_does_not_stand_on_a_monitor_is_named(mesh: Monitors, closed_port: int) -> None:
    tunnel = {"mesh_tunnel_host": "pod.example.net", "mesh_tunnel_local_port": closed_port}
    mesh.describe({"pod": {"recovery": "none", **tunnel}})
    for each in mesh.all.values():
        each.leads()
    assert mesh["attic"].ok("cluster").count("without a tunnel to pod") == 3


def test_a_monitor_whose_inventory_differs_leads_only_if_no_other_one_can(mesh: Monitors) -> None:
    known = mesh["attic"].inventory.read_text()
    mesh["attic"].inventory.write_text(known.replace("iceland", "norway"))
    mesh["desk"].loses_its_lease()
    assert not mesh["attic"].leads()
    shown = mesh["porch"].run("cluster").stdout
    assert "its inventory says something else than that of desk, which led last" in shown
    assert mesh["porch"].leads()
    mesh["porch"].loses_its_lease()
    assert mesh["attic"].leads(), "the only one that lives"


def test_a_person_has_another_one_lead_and_is_told_where_to_ask_for_that(
    mesh: Monitors, receiver: Receiver
) -> None:
    assert (
        "desk leads the mesh, not this one; do it there" in mesh["attic"].run("cluster", "hand-over").stderr
    )
    mesh["desk"].ok("cluster", "hand-over")
    assert not mesh["desk"].leads()
    assert mesh["attic"].leads()
    mesh["attic"].tick()
    assert any(
        "attic leads the mesh now, in place of desk, which lives" in title for title in receiver.titles
    )
    mesh["desk"].loses_its_lease()
    mesh["porch"].loses_its_lease()
    refused = mesh["attic"].run("cluster", "hand-over").stderr
    assert "no other monitor could lead: no other one lives" in refused


def test_a_monitor_that_is_alone_again_goes_on_with_what_it_knows_and_speaks_of_no_others(
    mesh: Monitors,
) -> None:
    known = mesh["attic"].inventory.read_text()
    mesh["attic"].inventory.write_text(known.replace('"mesh_cluster_endpoints"', '"mesh_monitor_canary"'))
    mesh["attic"].inventory.write_text(
        mesh["attic"].inventory.read_text().replace(mesh.etcd.url, mesh.etcd.url.removeprefix("http://"))
    )
    mesh["attic"].check()
    assert mesh["attic"].state().node("iceland").status == "healthy"
    assert mesh["attic"].state().shared is None
    assert "leads the mesh" not in mesh["attic"].run("status").stdout
