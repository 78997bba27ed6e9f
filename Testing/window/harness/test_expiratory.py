"""The expiratory CT in the window: chosen below the CT, refused in a sentence."""

from __future__ import annotations

from .driver import Driver, settle


def test_the_ct_itself_is_refused_as_its_expiratory_ct(window: Driver) -> None:
    ct = window.add_ct()
    assert window.ui.expiratorySelector.currentNode() is None
    window.ui.expiratorySelector.setCurrentNode(ct)
    settle()
    window.press("scanButton")
    assert "The expiratory CT is the inspiratory CT itself" in window.ui.statusLabel.text
    assert window.panel.logic.find(ct) is None
    window.ui.expiratorySelector.setCurrentNode(None)
    settle()
    window.scan()
    assert window.panel.logic.result(ct).expiration is None
