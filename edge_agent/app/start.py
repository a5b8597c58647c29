"""The verb `run`: from a site file to an exit code that tells the service manager what happened."""

from __future__ import annotations

import asyncio
import faulthandler
import signal
import sys
from pathlib import Path

import structlog

from edge_agent.app.agent import EXIT_AGAIN, Agent
from edge_agent.audit.release import ReleaseError
from edge_agent.holding import HeldLinks, LinkHeld
from edge_agent.listing import sentence
from edge_agent.logs import set_up_logs
from edge_agent.settings import Site, SiteError, digest, load_site
from edge_agent.store import StoreError

log = structlog.get_logger()
EXIT_SITE, EXIT_STORE, EXIT_USAGE = 78, 74, 64  # sysexits: EX_CONFIG, EX_IOERR, EX_USAGE
PATIENCE_S = 15.0
"""A verb that reads a device has its link for seconds; who has it longer is another agent."""


def run_agent(site_path: Path) -> int:
    """Exit code 0 after a clean stop; 78: mistakes in the site file; 74: no store; 75: try again."""
    faulthandler.enable()
    try:
        site = load_site(site_path)
    except SiteError as error:
        for mistake in error.mistakes:
            print(mistake.sentence(), file=sys.stderr)
        return EXIT_SITE
    set_up_logs(site.log.level, as_json=site.log.json)
    return asyncio.run(_run(site, site_path))


async def _run(site: Site, site_path: Path) -> int:
    try:
        agent = Agent(site, digest(site_path.read_text(encoding="utf-8")))
    except (ReleaseError, SiteError) as error:
        log.error("cannot start", reason=str(error))
        return EXIT_SITE
    except StoreError as error:
        log.error("cannot start", reason=sentence(error))
        return error.exit_code if error.exit_code == EXIT_AGAIN else EXIT_STORE
    except OSError as error:
        log.error("cannot start", reason=str(error))
        return EXIT_STORE
    try:
        links = await hold_links(site, PATIENCE_S)
    except LinkHeld as held:
        log.error("cannot start", reason=f"{held}: stop it first, or give this agent links of its own")
        agent.store.close()
        return EXIT_AGAIN
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, agent.stop)
    try:
        return await agent.run()
    finally:
        if links is not None:
            links.close()


async def hold_links(site: Site, patience_s: float) -> HeldLinks | None:
    """The site's links for this process alone; None where the runtime folder cannot be used. Raises `LinkHeld`."""
    deadline_s = asyncio.get_running_loop().time() + patience_s
    said = False
    while True:
        try:
            return HeldLinks(Path(site.paths.runtime), [link.id for link in site.link])
        except OSError as cause:
            log.warning("links are not locked against others", folder=site.paths.runtime, cause=str(cause))
            return None
        except LinkHeld as held:
            if asyncio.get_running_loop().time() >= deadline_s:
                raise
            if not said:
                log.warning("waiting for a link", link=held.link, holder=held.holder)
            said = True
            await asyncio.sleep(0.25)
