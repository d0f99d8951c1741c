"""Makes text from outside storable. Pure."""


def storable_text(text: str, limit: int | None = None) -> str:
    """Return the text without characters that PostgreSQL or UTF-8 cannot store: NUL, surrogates.

    limit  characters that are kept; a longer text is cut, and says so
    """
    text = text.replace("\x00", "�").encode(errors="replace").decode()
    if limit is None or len(text) <= limit:
        return text
    return f"{text[:limit]}… (cut; it has {len(text):,} characters)"
