"""What Nova is asked for a create."""

from uuid import UUID

from contracts.vm.commands import Create
from drivers.base import Mark
from drivers.openstack.orders import new_server

MARK = Mark(UUID("6a0a2d50-86b3-4b6e-92ef-a4617e530bcc"), "p1")


def test_the_mark_goes_out_with_the_request_that_creates() -> None:
    wanted = Create(name="n", flavor="f", image="i", tags=["t"])
    assert new_server(MARK, wanted) == {
        "server": {
            "name": "n",
            "flavorRef": "f",
            "imageRef": "i",
            "networks": "auto",
            "metadata": {},
            "tags": [
                "t",
                "hostler:vm:6a0a2d50-86b3-4b6e-92ef-a4617e530bcc",
                "hostler:project:p1",
            ],
        }
    }


def test_everything_that_is_given_goes_out() -> None:
    wanted = Create(
        name="n",
        flavor="f",
        image="i",
        networks=["a", "b"],
        key_name="k",
        user_data="IyE=",
        security_groups=["s"],
        availability_zone="z",
        metadata={"m": "1"},
        description="",
    )
    server = new_server(MARK, wanted)["server"]
    assert isinstance(server, dict)
    assert server["networks"] == [{"uuid": "a"}, {"uuid": "b"}]
    assert (server["key_name"], server["user_data"]) == ("k", "IyE=")
    assert server["security_groups"] == [{"name": "s"}]
    assert (server["availability_zone"], server["metadata"]) == ("z", {"m": "1"})
    assert server["description"] == ""


def test_no_networks_are_none() -> None:
    wanted = Create(name="n", flavor="f", image="i", networks=[])
    assert '"networks": "none"' in repr(new_server(MARK, wanted)).replace("'", '"')
