"""What the page asks of the pack while a graph is edited."""

from aiohttp import web
from server import PromptServer

from ..errors import FramewrightError
from .windows import timeline_on_node


def add_routes() -> None:
    @PromptServer.instance.routes.get("/framewright/windows")
    async def windows(request: web.Request) -> web.Response:
        """The windows of a node's settings, which are the query, as a picture, or as text what is wrong.

        Text is no failed request either: settings are wrong for a moment while somebody types.
        """
        try:
            return web.Response(body=timeline_on_node(request.query), content_type="image/png")
        except FramewrightError as error:
            return web.Response(text=str(error))
