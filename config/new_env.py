"""Prints a `.env` for this machine: `python -m config.new_env > .env`. Standard library only."""

import base64
import secrets


def new_env() -> str:
    sealing_key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return (
        "# Created by `make run` for this machine. Keep it: without PENSTOCK_SECRETS_KEYS, stored\n"
        "# secrets cannot be decrypted. All other settings are described in .env.example.\n"
        f"SECRET_KEY={secrets.token_urlsafe(48)}\n"
        f"PENSTOCK_SECRETS_KEYS={sealing_key}\n"
        "PENSTOCK_SANDBOX_URL=http://127.0.0.1:8085\n"
    )


if __name__ == "__main__":
    print(new_env(), end="")
