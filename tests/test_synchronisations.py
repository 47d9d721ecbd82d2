"""The host does not wait for a device more often where there is more to do."""

import pretend_device
import pytest
import synchronisations as counted
import torch

from captum_cnn_ext.attr.cams import score_cam

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", counted.NAMES)
def test_waiting_does_not_grow_with_the_work(name):
    found = counted.table(name)
    assert len(set(found.values())) == 1, found


@pytest.mark.parametrize("name", [name for name in counted.OTHERS if "more steps" in name])
def test_waiting_does_not_grow_with_the_steps(name):
    assert counted.counts(name) == counted.counts(name.split(",")[0])


def test_a_question_in_a_loop_is_seen(monkeypatch):
    right = score_cam.unit_range

    def asking(maps):
        assert bool(maps.isfinite().all())
        return right(maps)

    monkeypatch.setattr(score_cam, "unit_range", asking)
    found = counted.table("LayerScoreCam")
    assert found["examples"] > found["base"]


def test_what_is_sent_without_waiting_is_what_was_there():
    from captum_cnn_ext._engine.to_device import to_device

    with pretend_device.pretend() as device, pretend_device.synchronisations() as counter:
        sent = to_device(torch.arange(3), device, torch.float64)
        assert sent.held.tolist() == [0, 1, 2]
        assert not counter
        torch.arange(3).to(device)
        assert counter == {"to the device": 1}
