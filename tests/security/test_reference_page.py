"""The page of the API's reference runs what came with the gateway, and nothing else."""

from html.parser import HTMLParser

from services.gateway.reference_page import PATH
from tests.unit.gateway.conftest import NewGateway, client
from tests.unit.gateway.world import Clients

ORIGIN = "https://console.example.org"


class Loads(HTMLParser):
    """What a page loads, and the scripts and handlers that stand in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.addresses += [at for name in ("src", "href") if (at := said.get(name))]
        if tag == "script" and "src" not in said:
            self.inline.append(tag)
        self.inline += [name for name in said if name.startswith("on")]


def policy(header: str) -> dict[str, set[str]]:
    parts = [each.split() for each in header.split(";")]
    return {name: set(sources) for name, *sources in parts}


async def test_nothing_is_loaded_from_elsewhere(clients: Clients) -> None:
    page = await clients.nobody.get(PATH)
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    loads = Loads(page.text)
    assert loads.inline == []
    scripts = 0
    for address in loads.addresses:
        if address == "data:,":
            continue
        assert address.startswith("docs/"), address
        loaded = await clients.nobody.get(f"/{address}")
        kind = "text/javascript" if address.endswith(".js") else "text/css"
        assert loaded.status_code == 200, address
        assert loaded.headers["Content-Type"] == f"{kind}; charset=utf-8"
        assert loaded.headers["X-Content-Type-Options"] == "nosniff"
        scripts += kind == "text/javascript"
    assert scripts == 2
    assert (await clients.nobody.get("/openapi.json")).json()["openapi"].startswith("3.")


async def test_its_policy_lets_no_other_script_run_and_nothing_be_sent_elsewhere(
    clients: Clients,
) -> None:
    allowed = policy((await clients.nobody.get(PATH)).headers["Content-Security-Policy"])
    assert allowed["default-src"] == {"'none'"}
    assert allowed["script-src"] == allowed["connect-src"] == {"'self'"}
    assert allowed["frame-ancestors"] == allowed["base-uri"] == allowed["form-action"] == {"'none'"}
    named = {source for sources in allowed.values() for source in sources}
    assert named == {"'none'", "'self'", "'unsafe-inline'", "data:"}


async def test_it_can_be_left_out_and_keeps_nothing_of_who_asked(new_gateway: NewGateway) -> None:
    async with client(await new_gateway(docs_page=False), "") as using:
        for path in (PATH, f"{PATH}/start.js"):
            assert (await using.get(path)).status_code == 404
    async with client(await new_gateway(cors_origins=[ORIGIN]), "") as using:
        seen = await using.get(PATH, headers={"Origin": ORIGIN})
        assert seen.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "Access-Control-Allow-Origin" not in (await using.get(PATH)).headers
