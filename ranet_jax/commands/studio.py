"""`ranet-jax studio`: mark, track and correct in the browser."""

import argparse
import importlib.util
import ipaddress
import pathlib
import socket
import sys
import threading
import webbrowser
from typing import Any

from ranet_jax.commands.common import AddCommand, add_cache_option, use_cache
from ranet_jax.errors import InputError

MODULES = ("scipy", "starlette", "uvicorn", "websockets")


def add_parser(add: AddCommand) -> None:
    """Declares the subcommand."""
    parser = add("studio", _studio, "Mark objects in a video, track and correct them in the browser.")
    parser.add_argument("video", nargs="?", help="video file or folder of frames; without it the page asks")
    parser.add_argument("--out", help="folder of the project (default: the video's name with -studio); goes on with it")
    parser.add_argument("--checkpoint", help="embedded name or checkpoint folder for new projects (default: shipped)")
    parser.add_argument("--projects", help="folder for videos that are opened from the page (default: the user's data)")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default 127.0.0.1: this machine only)")
    parser.add_argument("--port", type=int, default=0, help="port (default 0: a free one)")
    parser.add_argument("--no-browser", action="store_true", help="print the address, and open no browser")
    add_cache_option(parser)


def _studio(options: argparse.Namespace) -> None:
    """Serves the page until Ctrl-C.

    Raises:
        InputError: the extra is not installed, the video or project cannot be opened, or the address is taken.
    """
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"the studio needs {', '.join(missing)}: pip install 'ranet-jax[studio]'")
    import uvicorn

    from ranet_jax.studio.app import make_app
    from ranet_jax.studio.library import Library
    from ranet_jax.studio.pages import Pages
    from ranet_jax.studio.security import new_token
    from ranet_jax.studio.session import Session

    use_cache(options)
    session = Session(Library(options.projects), Pages(), checkpoint=options.checkpoint)
    listener = _listen(options.host, options.port)
    try:
        if options.video:
            _open(session, options.video, options.out)
        elif options.out:
            _open_folder(session, options.out)
        token, port = new_token(), listener.getsockname()[1]
        hosts, any_address = _known_hosts(options.host)
        app = make_app(session, token=token, hosts=hosts, any_address=any_address)
        shown = _address(options.host)
        address = f"http://{shown}:{port}/{token}/"
        print(f"studio: {address}\nCtrl-C ends it; all work is saved.", flush=True)
        if not options.no_browser:
            threading.Timer(0.5, webbrowser.open, (address,)).start()
        config = uvicorn.Config(
            app,
            log_level="warning" if options.debug else "critical",
            access_log=False,
            ws="websockets-sansio",
            timeout_graceful_shutdown=2,
        )
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        listener.close()
        session.close()
    print("studio ended", file=sys.stderr)


def _open(session: Any, video: str, out: str | None) -> None:
    from ranet_jax.studio.description import is_project
    from ranet_jax.studio.project import Project

    source = pathlib.Path(video)
    if not source.exists():
        raise InputError(f"there is no video {video}: check the path")
    folder = pathlib.Path(out) if out else pathlib.Path(f"{source.absolute().stem}-studio")
    session.open(Project(folder) if is_project(folder) else session.create(folder, source))


def _open_folder(session: Any, out: str) -> None:
    from ranet_jax.studio.project import Project

    session.open(Project(out))


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        InputError: the host is no address of this machine, or the port is taken or not from 0 to 65535.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"{port} is no port: give a number from 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)  # from now on: whoever is told the address is kept waiting, not refused
    except OSError as error:
        listener.close()
        raise InputError(f"cannot listen on {host}, port {port}: {error.strerror}; choose another") from error
    return listener


def _known_hosts(host: str) -> tuple[tuple[str, ...], bool]:
    """Names that pages may call this server by, and whether every numeric address is one, too."""
    names = {"127.0.0.1", "localhost", "::1", host.lower()}
    everywhere = host in ("0.0.0.0", "::")
    if everywhere:
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return tuple(sorted(names)), everywhere


def _address(host: str) -> str:
    """The host as it stands in an address."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    try:
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return host
