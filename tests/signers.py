"""Two people with keys, and a site whose gateway has them pinned."""

from __future__ import annotations

from pathlib import Path

from edge_agent.package import Keyset, PrivateKey, keyset_from, new_private_key, private_key_from
from edge_agent.releases import Shelf
from edge_agent.settings import config_files

FACTORY = Path(__file__).parent.parent / "config/examples/factory.toml"


class Signers:
    """alice writes, bob approves, and mallory is pinned nowhere."""

    def __init__(self) -> None:
        made = {name: new_private_key() for name in ("alice", "bob", "mallory")}
        self.table = "".join(f'[[key]]\nid = "{n}"\npublic = "{made[n][1]}"\n' for n in ("alice", "bob"))
        self.pem = {name: pem for name, (pem, _) in made.items()}
        self.keyset: Keyset = keyset_from({"key": [{"id": n, "public": made[n][1]} for n in ("alice", "bob")]})
        self.alice: PrivateKey = private_key_from(self.pem["alice"], self.keyset)
        self.bob: PrivateKey = private_key_from(self.pem["bob"], self.keyset)
        self.mallory = PrivateKey("alice", self.pem["mallory"])

    def shelf(self, folder: Path, gateway: str = "gw-1") -> Shelf:
        return Shelf(folder, self.keyset, gateway, config_files().named("releases").values())

    def site(self, folder: Path) -> Path:
        """The factory's site file, with its state, its signers and both keys beside it."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, pem in self.pem.items():
            (folder / f"{name}.pem").write_bytes(pem)
        (folder / "signers.toml").write_text(self.table, encoding="utf-8")
        paths = f'state = "{folder}/state"\nruntime = "{folder}/run"\nsigners = "signers.toml"'
        text = FACTORY.read_text(encoding="utf-8")
        text = text.replace('state = "/var/lib/edge-agent"\nruntime = "/run/edge-agent"', paths)
        assert "signers" in text
        site = folder / "site.toml"
        site.write_text(text, encoding="utf-8")
        return site
