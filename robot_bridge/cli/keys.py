"""`acclimate keys`: who the bridge is, who may connect to it over tcp, and who vouches for bundles.

The folder is --folder, else $ACCLIMATE_KEYS, else ~/.config/acclimate/keys.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from adapt.private import check_folder
from robot_bridge.transport.curve_keys import certificates, fingerprint, folder_of, read_server
from robot_bridge.transport.key_store import KeyFolder


def main(argv: list[str]) -> int:
    """Run the command; returns its exit code. Raises KeyFileError, PrivacyError, SignerError."""
    parser = argparse.ArgumentParser(
        prog="acclimate keys",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, help="of the keys")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("server", help="make the bridge's key")
    for role in ("robot", "operator"):
        made = actions.add_parser(role, help=f"make a key that lets one {role} in")
        made.add_argument("name", help="letters, digits, '_', '.', '-'")
    made = actions.add_parser("signer", help="make a key that vouches for bundles")
    made.add_argument("name", help="letters, digits, '_', '.', '-'")
    actions.add_parser("list", help="who may connect, who may no more, with fingerprints")
    revoked = actions.add_parser("revoke", help="let a key in no more, a connected peer's too")
    revoked.add_argument("name", help="of a robot or an operator")
    arguments = parser.parse_args(argv)
    folder = KeyFolder(folder_of(arguments.folder))
    if arguments.action == "server":
        public = folder.make_server()
        print(f"{folder.path}: server key {fingerprint(public)}")
    elif arguments.action == "signer":
        secret, public_file = folder.make_signer(arguments.name)
        print(f"{secret}: keep it where bundles are signed")
        print(f"{public_file}: name it in the bridge's signers=[...]")
    elif arguments.action == "list":
        print("\n".join(listing(folder)))
    elif arguments.action == "revoke":
        print(f"revoked: {folder.revoke(arguments.name)}")
    else:
        path = folder.make_client(arguments.action, arguments.name)
        print(f"{path}: move it to the same folder on the {arguments.action}'s machine")
    return 0


def listing(folder: KeyFolder) -> list[str]:
    """A page about a folder for a person: of a bridge's machine, or of a robot's."""
    check_folder(folder.path)
    lines = [f"keys in {folder.path}"]
    if (folder.path / "server.key").exists():
        lines.append(f"server    {fingerprint(read_server(folder.path).public)}")
    for identity in folder.clients():
        lines.append(f"{identity.role:<9} {fingerprint(identity.public)}  {identity.name}")
    for _, held in certificates(folder.path):
        lines.append(
            f"held here {fingerprint(held.public)}  certificate of {held.role} {held.name}, for "
            f"server {fingerprint(held.server)}"
        )
    lines += [f"revoked   {name}" for name in folder.revoked()]
    signers = sorted((folder.path / "signers").glob("*.signer.pub"))
    return lines + [f"signer    {path}" for path in signers]
