"""The packet that wakes a machine."""

from gpu_mesh.hosts import wake


def test_the_packet_is_six_bytes_of_ones_and_sixteen_times_the_address() -> None:
    made = wake.packet("a8:5e:45:12:34:56")
    card = b"\xa8\x5e\x45\x12\x34\x56"
    assert len(made) == 102
    assert made.startswith(b"\xff" * 6 + card)
    assert made.count(card) == 16
