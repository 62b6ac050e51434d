"""The projects that a user can open from the page, by numbers: the page never names a path."""

import json
import os
import re
from pathlib import Path
from typing import Any

import platformdirs

from ranet_jax.io.atomic import atomic_file
from ranet_jax.studio.description import is_project

MOST_RECENT = 20


class Library:
    """Recently used projects, kept in the user's data folder, and the place for new ones."""

    def __init__(self, folder: str | Path | None = None):
        """Opens the library.

        Args:
            folder: for new projects and the list; by default `ranet-jax/studio` in the user's data folder.
        """
        self.folder = Path(folder) if folder else Path(platformdirs.user_data_path("ranet-jax")) / "studio"
        self._list = self.folder / "recent.json"
        self._tour = self.folder / ".tour-seen"

    def recent(self) -> list[Path]:
        """Folders of projects, the last used first; those that are gone are left out."""
        try:
            paths = json.loads(self._list.read_text(encoding="utf-8"))
            return [Path(path) for path in paths if is_project(path)]
        except (OSError, ValueError, TypeError):
            return []

    def remember(self, folder: Path) -> None:
        """Puts a project at the head of the list."""
        others = [path for path in self.recent() if path != folder]
        with atomic_file(self._list) as temporary:
            temporary.write_text(json.dumps([str(path) for path in [folder, *others[: MOST_RECENT - 1]]]))

    def for_page(self) -> list[dict[str, Any]]:
        """The list as the page shows it; a project's place in it is what the page asks for it by."""
        home = str(Path.home())
        return [
            {"id": number, "name": path.name, "place": str(path.parent).replace(home, "~", 1)}
            for number, path in enumerate(self.recent())
        ]

    @property
    def tour_seen(self) -> bool:
        """Whether the first tour was shown to this user."""
        return self._tour.exists()

    def remember_tour(self) -> None:
        """The tour was shown."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._tour.touch()

    def new_folder(self, file_name: str) -> Path:
        """A folder that does not exist yet, named after an uploaded file; made with nothing in it."""
        stem = re.sub(r"[^\w-]+", "-", Path(file_name.replace("\\", "/")).stem).strip("-_")[:40] or "video"
        self.folder.mkdir(parents=True, exist_ok=True)
        for number in range(1, 10_000):
            folder = self.folder / (stem if number == 1 else f"{stem}-{number}")
            try:
                os.mkdir(folder)
            except FileExistsError:
                continue
            return folder
        raise AssertionError("ten thousand projects of one name")
