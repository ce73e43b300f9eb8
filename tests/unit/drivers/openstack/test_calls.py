"""Requests as they go out."""

import pytest

from drivers.openstack.calls import Call
from tests.unit.drivers.openstack.answers import answer


def test_an_id_cannot_leave_its_place_in_the_path() -> None:
    call = Call("compute", "GET", "/servers/{id}", ids={"id": "../x?a=b#c/{id}"})
    assert call.path == "/servers/..%2Fx%3Fa%3Db%23c%2F%7Bid%7D"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("req-6a0a2d50-86b3-4b6e-92ef-a4617e530bcc", True),
        ("6a0a2d50-86b3-4b6e-92ef-a4617e530bcc", False),
        ("req-6a0a2d50-86b3-4b6e-92ef-a4617e530bcc\r\nX-Auth-Token: x", False),
        ("req-6a0a2d50-86b3-4b6e-92ef-a4617e530bcc\n", False),
        ("", False),
    ],
)
def test_a_request_id_goes_out_only_in_the_form_that_openstack_takes(
    given: str, sent: bool
) -> None:
    call = Call("compute", "GET", "/servers", request_id=given)
    assert call.global_request_id == (given if sent else None)


def test_the_clouds_request_id_is_found_under_either_name() -> None:
    assert answer(200, x_compute_request_id="req-1").cloud_request_id == "req-1"
    assert answer(200, X_Openstack_Request_Id="req-2").cloud_request_id == "req-2"
    assert answer(200).cloud_request_id is None
