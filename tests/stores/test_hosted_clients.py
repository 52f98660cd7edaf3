"""The vendors' own Python clients against the stand-ins, beside keyform.

As far as those clients go, the stand-ins are no invention of ours. Of the vendors' servers it
shows nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from keyform.model import Place, Secret
from keyform.stores.doppler import DopplerStore
from keyform.stores.onepassword import OnePasswordStore
from tests.servers import python_programs
from tests.stores.standins import served
from tests.stores.standins.connect import VAULT, Connect
from tests.stores.standins.doppler import Doppler
from tests.stores.standins.infisical import PROJECT, Infisical

pytestmark = pytest.mark.integration

SECRET = "sk_live_0123456789abcdef"


@pytest.fixture(scope="module")
def python() -> Path:
    packages = ("onepasswordconnectsdk==2.1.0", "doppler-sdk==1.3.0", "infisicalsdk==1.0.17")
    return python_programs("hosted-clients", *packages) / "python"


def ran(python: Path, code: str, **given: str) -> Any:
    """What a program prints as JSON; ``given`` is its dictionary of the same name."""
    program = f"import json, sys\ngiven = json.load(sys.stdin)\n{code}"
    done = subprocess.run(
        [python, "-c", program],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


CONNECT = """
from onepasswordconnectsdk.client import Client
from onepasswordconnectsdk.models import Field, Item, ItemVault
client = Client(given["url"], "good-token")
vault = client.get_vault_by_title("Keys").id
item = client.get_item_by_title("prod/checkout", vault)
made = Item(vault=ItemVault(id=vault), title="by/1password", category="API_CREDENTIAL",
            fields=[Field(id="credential", type="CONCEALED", label="credential", value="theirs")])
client.create_item(vault, made)
print(json.dumps({field.label: field.value for field in item.fields}))
"""


def test_1passwords_client_and_keyform_read_each_other(python: Path) -> None:
    app = Connect()
    with served(app) as url:
        store = OnePasswordStore("op", url, Secret("good-token"), VAULT, os.environ)
        store.put(Place("op", "prod/checkout"), Secret(SECRET), {"key_id": "key_1"})
        shown = ran(python, CONNECT, url=url)
        assert shown["credential"] == SECRET
        assert json.loads(shown["keyform credential"]) == {"key_id": "key_1"}
        assert store.get(Place("op", "by/1password")) == Secret("theirs")
    app.blame()


DOPPLER = """
from dopplersdk import DopplerSDK
client = DopplerSDK()
client.set_access_token("dp.sa.good")
client.set_base_url(given["url"])
secret = client.secrets.get(name="CHECKOUT", config="prd", project="payments")
print(json.dumps(vars(secret), default=vars))
"""


def test_dopplers_client_reads_what_keyform_wrote(python: Path) -> None:
    app = Doppler()
    with served(app) as url:
        store = DopplerStore("dp", url, Secret("dp.sa.good"), "payments", "prd")
        store.put(Place("dp", "CHECKOUT"), Secret(SECRET), {})
        assert ran(python, DOPPLER, url=url)["value"]["raw"] == SECRET
    app.blame()


INFISICAL = """
from infisical_sdk import InfisicalSDKClient
client = InfisicalSDKClient(host=given["url"])
login = client.auth.universal_auth.login("keyform", "good-client-secret")
folder = client.folders.create_folder(name="shop", environment_slug="prod", project_id=given["project"])
print(json.dumps([login.expiresIn, folder.name]))
"""


def test_infisicals_client_logs_in_and_makes_folders(python: Path) -> None:
    app = Infisical()
    with served(app) as url:
        assert ran(python, INFISICAL, url=url, project=PROJECT) == [app.life, "shop"]
    assert ("prod", "/shop") in app.folders
    app.blame()
