"""The page on a port of this machine."""

import errno
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import nn

from captum_cnn_ext._numbers import as_count
from captum_cnn_ext.errors import ArgumentError, needing
from captum_cnn_ext.evidence import TopPatches
from captum_cnn_ext.insights.audited_model import ClassNames
from captum_cnn_ext.insights.explorer.code_snippets import IN_MEMORY, Setup, Snippets
from captum_cnn_ext.insights.explorer.computing.session import ExplorerSession
from captum_cnn_ext.insights.explorer.limits import MOST_BYTES, judge_host
from captum_cnn_ext.insights.explorer.views import Views
from captum_cnn_ext.insights.inputs import Preprocess
from captum_cnn_ext.models import LoadedModel

# what a browser may load for the page: nothing from elsewhere
POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; "
    "frame-ancestors 'self' http://localhost:* http://127.0.0.1:*; base-uri 'self'; "
    "form-action 'self'"
)


class Explorer:
    """A page that is being served.

    Attributes:
        url: where.
        session: what it computes.
    """

    def __init__(self, url: str, session: ExplorerSession, blocks: Any) -> None:
        self.url, self.session, self._blocks = url, session, blocks

    def __repr__(self) -> str:
        return f"Explorer({self.url!r})"

    def close(self) -> None:
        """Stop serving."""
        self._blocks.close(verbose=False)

    def wait(self) -> None:
        """Serve until Ctrl-C."""
        try:
            threading.Event().wait()
        finally:
            self.close()


def require_gradio() -> Any:
    """Gradio, which only the explorer needs.

    Raises:
        ImportError: it is not installed; the message names the extra that brings it.
    """
    with needing("the explorer needs Gradio, which is not installed", "explorer"):
        import gradio
    return gradio


def explore(
    model: nn.Module | LoadedModel,
    images: Mapping[str, Image.Image] | Sequence[Image.Image] | None = None,
    *,
    preprocess: Preprocess | None = None,
    class_names: ClassNames | None = None,
    top_patches: TopPatches | Sequence[TopPatches] = (),
    patch_images: Any = None,
    cache: str | Path | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    allow_remote: bool = False,
    open_browser: bool = False,
    sources: Mapping[str, str] | None = None,
    setup: Setup = IN_MEMORY,
) -> Explorer:
    """A page on this machine on which a network is looked at, unit by unit and class by class.

    Needs the extra ``explorer`` (Gradio). The page asks for nothing outside this machine; other
    machines cannot open it unless ``allow_remote``. In a notebook it appears below the cell.

    Cost: a forward pass for each image and layer looked at, stopped at the layer; what a view
    asks for besides, when it is looked at.

    Args:
        model: a network in evaluation mode that gives class scores (N, classes), boxes or maps of
            classes; or what `captum_cnn_ext.models.load_model` returns.
        images: a dict of names and PIL images, or a list of PIL images, to begin with; None takes
            the packaged photos. Visitors may bring their own.
        preprocess: from a PIL image to a tensor (C, H, W); None takes the loaded model's.
        class_names: the name of each class.
        top_patches: what `evidence.top_patches` found for a layer, or several of these.
        patch_images: the data set or folder that was ranked.
        cache: a folder for synthesised images; None keeps them until the page is closed.
        host: the address to listen at.
        port: None takes the first free one from 7860.
        allow_remote: serve to other machines where ``host`` says so. There is no password.
        open_browser: open the page in the browser.
        sources: for each name a Python expression that reads the image, for copied code.
        setup: how copied code gets the model.

    Returns:
        the running page; ``wait()`` serves until Ctrl-C, ``close()`` ends it.

    Raises:
        ImportError: Gradio is not installed.
        ArgumentError: a host that others can reach, a port in use, no image, a model that gives
            none of these; a ``ValueError``.
        TypeError: arguments of a wrong type.

    Example::

        >>> from captum_cnn_ext.insights import explore
        >>> explore("resnet18")
        Traceback (most recent call last):
        TypeError: model: expected a torch.nn.Module or a LoadedModel, got str
    """
    hosts = judge_host(host, allow_remote)
    port = None if port is None else as_count("port", port, 1, 65535)
    if images is None:
        from captum_cnn_ext.photos import demo_photos

        images = demo_photos()
        sources = {name: f"demo_photos()[{name!r}]" for name in images}
    session = ExplorerSession(
        model,
        images,
        preprocess=preprocess,
        class_names=class_names,
        top_patches=top_patches,
        patch_images=patch_images,
        cache=cache,
        sources=sources,
    )
    require_gradio()
    from captum_cnn_ext.insights.explorer.page_events import Page
    from captum_cnn_ext.insights.explorer.page_layout import asset, theme

    blocks = Page(session, Views(session, Snippets(session, setup))).build()
    try:
        _, url, _ = blocks.launch(
            server_name=host,
            server_port=port,
            share=False,
            prevent_thread_lock=True,
            inbrowser=open_browser,
            quiet=True,
            show_error=False,
            footer_links=[],
            allowed_paths=[],
            max_file_size=MOST_BYTES,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            theme=theme(),
            css=asset("explorer.css"),
            app_kwargs={"middleware": _middleware(hosts), "docs_url": None, "redoc_url": None},
        )
    except OSError as error:
        if error.errno in (None, errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
            raise ArgumentError(
                f"port={port}: cannot be listened at on {host} ({' '.join(str(error).split())})"
            ) from error
        raise
    return Explorer(url, session, blocks)


def _middleware(hosts: Sequence[str]) -> list[Any]:
    """Refuse requests under other names; tell the browser to load nothing from elsewhere."""
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    return [
        Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
        Middleware(Policy),
    ]


class Policy:
    """Adds the headers that keep a page to itself."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"content-security-policy", POLICY.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    (b"referrer-policy", b"no-referrer"),
                ]
            await send(message)

        await self.app(scope, receive, with_headers if scope["type"] == "http" else send)
