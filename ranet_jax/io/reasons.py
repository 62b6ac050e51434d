"""What other libraries say about damaged files, in the space that one line has."""

_LONGEST = 120


def brief(error: BaseException) -> str:
    """The first line of an error's text, shortened, or the error's kind where it has none."""
    lines = str(error).splitlines()
    text = lines[0].strip() if lines else ""
    if not text:
        return type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
