"""Take the pictures of the docs: `make pictures`, or `make pictures ARGS="log home"`.

Opens a shop on a Penstock of its own, which uses the ports 8000 and 8001 of loopback, and takes a
screenshot of each page of the table with Chromium. --dark, --width, --whole and --into take
pictures that differ from those of the docs.
"""

import argparse
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import django
from django.core.management import call_command
from django.utils import timezone
from playwright.sync_api import Page, sync_playwright

from tests.pictures.table import PICTURES, Picture
from tests.support.processes import ROOT, RunningCommand, environment
from tests.support.services import find_chromium

WEB, VENDOR = "127.0.0.1:8000", "127.0.0.1:8001"
IMAGES = ROOT / "docs" / "images"
HOST = "app-1"  # replaces the name of this machine in the pictures

SETTINGS = {
    "SECRET_KEY": "only-for-pictures" * 3,
    "PENSTOCK_SECRETS_KEYS": "dGVzdHMtdGVzdHMtdGVzdHMtdGVzdHMtdGVzdHMtdGU=",
    "PENSTOCK_ADMIN_PASSWORD": "correct-horse-5b1",
    "PENSTOCK_WRITE_KEY": "wk_webshop-0123456789",
    "PENSTOCK_API_TOKEN": "pst_pictures-0123456789-0123456789",
    "PENSTOCK_WEB_BIND": WEB,
    "PENSTOCK_SANDBOX_URL": f"http://{VENDOR}",
    "PENSTOCK_CLUSTER_WORKERS": "2",
    "PENSTOCK_ALARM_EMAILS": "",
    "PENSTOCK_ALARM_WEBHOOK_URL": "",
    "DJANGO_SETTINGS_MODULE": "config.settings",
    "LOG_LEVEL": "ERROR",
    "DEBUG": "",
}
RENAME_HOST_JS = """([old, name]) => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replaceAll(old, name);
}"""


def main() -> None:
    options = read_options()
    with tempfile.TemporaryDirectory() as folder, running_penstock(Path(folder)) as ids:
        options.into.mkdir(parents=True, exist_ok=True)
        with logged_in_page() as page:
            for name in options.names or PICTURES:
                take_picture(
                    page, with_options(PICTURES[name], options), ids, options.into / f"{name}.png"
                )


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="pictures to take; all by default")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int)
    parser.add_argument("--whole", action="store_true", help="to the end of the page")
    parser.add_argument("--into", type=Path, default=IMAGES)
    options = parser.parse_args()
    if unknown := set(options.names) - set(PICTURES):
        parser.error(
            f"no such picture: {', '.join(sorted(unknown))}; there are {', '.join(PICTURES)}"
        )
    return options


def with_options(picture: Picture, options: argparse.Namespace) -> Picture:
    return replace(
        picture,
        is_dark=picture.is_dark or options.dark,
        width=options.width or picture.width,
        height=0 if options.whole else picture.height,
    )


@contextmanager
def running_penstock(folder: Path) -> Iterator[dict[str, int]]:
    """Open the shop, then start the servers; yield the ids that the addresses of pages need."""
    os.environ.update(environment(f"sqlite:///{folder}/penstock.sqlite3", **SETTINGS))
    shop = open_shop()
    from tests.pictures.shop import set_vendor_faults

    with RunningCommand(dict(os.environ), "up") as up:
        up.wait_for("Penstock is ready", 60.0)
        set_vendor_faults(shop.faults)
        shop.send_traffic(0)  # otherwise the newest minute would be empty
        yield shop.ids
        up.stop()


def open_shop() -> Any:
    """Run the shop's day in this process, with the vendor in a thread; return the shop."""
    clock = timezone.now = Clock()  # before other modules import it
    django.setup()
    clock.ahead = -timedelta(days=1, hours=1)  # before the first event of the shop
    logging.disable(logging.WARNING)  # rejected messages are part of the day
    from integrations.destinations.heap.sandbox import serve
    from tests.pictures.shop import Shop

    call_command("migrate", verbosity=0)
    call_command("bootstrap", stdout=StringIO())
    host, _, port = VENDOR.partition(":")
    with serve(host, int(port)):
        shop = Shop(clock)
        shop.open()
    return shop


class Clock:
    """A clock that continues from the time to which it was set."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def set(self, moment: datetime) -> None:
        self.ahead = moment - datetime.now(UTC)


@contextmanager
def logged_in_page() -> Iterator[Page]:
    """Yield a page of a browser that is logged in."""
    from tests.conftest import CHROMIUM_ARGUMENTS

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=CHROMIUM_ARGUMENTS
        )
        where = f"http://localhost:{WEB.partition(':')[2]}"
        page = browser.new_page(base_url=where, timezone_id="UTC", locale="en-GB")
        page.goto("/admin/")
        page.get_by_label("Username").fill("admin")
        page.get_by_label("Password").fill(SETTINGS["PENSTOCK_ADMIN_PASSWORD"])
        page.get_by_role("button", name="Log in").click()
        page.get_by_text("Needs your attention").wait_for()
        yield page
        browser.close()


def take_picture(page: Page, picture: Picture, ids: dict[str, int], path: Path) -> None:
    page.set_viewport_size({"width": picture.width, "height": picture.height or 900})
    page.emulate_media(color_scheme="dark" if picture.is_dark else "light", reduced_motion="reduce")
    answer = page.goto(picture.address.format_map(ids))
    assert answer is not None
    assert answer.status == 200, page.url
    page.get_by_text(picture.shows).filter(visible=True).first.wait_for()
    page.evaluate("document.fonts.ready")
    page.wait_for_load_state("networkidle")
    page.evaluate(RENAME_HOST_JS, [socket.gethostname(), HOST])
    page.screenshot(path=path, full_page=not picture.height, animations="disabled", caret="hide")
    sys.stdout.write(f"{path.name}: {path.stat().st_size / 1_000:.0f} KB\n")


if __name__ == "__main__":
    sys.exit(main())
