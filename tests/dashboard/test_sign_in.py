"""Sign-in with an OpenID Connect provider, with a stand-in for the signed-in person."""

from __future__ import annotations

from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard import state
from rnp_core import JobEngine
from tests.dashboard.conftest import APP
from tests.dashboard.test_pages import words

PROVIDER = {
    "redirect_uri": "http://localhost:8501/oauth2callback", "cookie_secret": "a long random text",
    "client_id": "scanner", "client_secret": "secret",
    "server_metadata_url": "http://localhost:1/.well-known/openid-configuration",
}


class Person(dict[str, Any]):
    """What ``st.user`` is: claims, and whether somebody is signed in."""

    @property
    def is_logged_in(self) -> bool:
        return bool(self)


def open_page(
    monkeypatch: pytest.MonkeyPatch, name: str, person: Person, **address: str
) -> AppTest:
    monkeypatch.setattr(st, "user", person)
    test = AppTest.from_file(APP, default_timeout=60)
    test.secrets["auth"] = PROVIDER
    for key, value in address.items():
        test.query_params[key] = value
    if name != "scan":
        test.switch_page(f"app_pages/{name}.py")
    return test.run()


@pytest.mark.parametrize("name", ["scan", "history", "verdict", "fleet", "compare", "live", "help"])
def test_nothing_is_shown_before_the_sign_in(
    scans: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    test = open_page(monkeypatch, name, Person(), scan=scans["backdoored"])
    assert not test.exception
    assert [button.label for button in test.button] == ["Sign in"]
    assert not test.dataframe and "backdoor" not in words(test).lower()


def test_the_name_of_the_account_is_the_reviewer(
    scans: dict[str, str], engine: JobEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = Person(name="Ada <b>Lovelace</b>", email="ada@example.org")
    test = open_page(monkeypatch, "verdict", person, scan=scans["backdoored"])
    field = next(item for item in test.text_input if item.label == "Your name")
    assert field.disabled and field.value == person["name"]
    assert "Sign out" in [button.label for button in test.button]
    assert "<b>" not in words(test)
    field.proto.disabled = False  # as a changed browser could send it
    field.set_value("Somebody else")
    next(b for b in test.button if b.label == "Save the decision").click().run()
    (decision,) = engine.dispositions(scans["backdoored"])
    assert decision.reviewer == person["name"]


@pytest.mark.parametrize(
    ("person", "name"),
    [(Person(name="Ada", email="a@b.c"), "Ada"), (Person(email="a@b.c"), "a@b.c"),
     (Person(sub="17"), "signed-in user")],
)
def test_a_name_is_found_in_what_the_provider_sends(
    monkeypatch: pytest.MonkeyPatch, person: Person, name: str
) -> None:
    monkeypatch.setattr(st, "user", person)
    monkeypatch.setattr(state, "sign_in_configured", lambda: True)
    assert state.reviewer() == name
